"""Photographs among texts by a classifier, against loops."""

from __future__ import annotations

import numpy as np
import pytest
from naive_semantic import softmax, unit

from fastvbow.errors import UsageError
from fastvbow.semantic import _rows
from fastvbow.semantic.conse import centred, conse


@pytest.mark.parametrize("cells", [1 << 21, 1])
@pytest.mark.parametrize("top", [1, 3, 20])
def test_conse(cells, top, monkeypatch):
    monkeypatch.setattr(_rows, "CELLS", cells)
    rng = np.random.default_rng(0)
    logits, texts = 3 * rng.normal(size=(150, 20)).astype(np.float32), unit(rng.normal(size=(20, 6)))
    found = conse(logits, texts, top=top)
    assert found.dtype == np.float32
    for row, p in zip(found, softmax(logits.astype(np.float64)), strict=True):
        kept = sorted(range(20), key=lambda k: -p[k])[:top]
        np.testing.assert_allclose(row, unit(sum(p[k] * texts[k] for k in kept)), atol=1e-6)


def test_centred():
    rows = np.random.default_rng(0).normal(size=(50, 4)) + 5
    found = centred(rows)
    np.testing.assert_allclose(found, unit(unit(rows) - unit(rows).mean(axis=0)), atol=1e-5)
    np.testing.assert_allclose(centred(rows * np.arange(1, 51)[:, None]), found, atol=1e-6)
    assert not centred(np.ones((3, 2))).any()


def test_what_does_not_fit():
    logits, texts = np.zeros((3, 4), np.float32), np.eye(4, dtype=np.float32)
    with pytest.raises(UsageError, match="a text for each class"):
        conse(logits, texts[:3])
    with pytest.raises(UsageError, match="top=5 of 4 classes"):
        conse(logits, texts, top=5)
    logits[2, 1] = np.nan
    with pytest.raises(UsageError, match="row 2 of the logits"):
        conse(logits, texts, top=2)
