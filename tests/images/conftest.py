"""What the tests of several kinds of sources share."""

from __future__ import annotations

import os

import pytest

from fastvbow.errors import ImageError


@pytest.fixture
def not_skipped_when_exhausted(monkeypatch):
    """Check that calls which open files take an exhausted machine for no fault of the file."""

    def fails(*_):
        raise OSError(24, "Too many open files")

    def check(*calls):
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", fails)
            for call in calls:
                with pytest.raises(OSError, match="Too many") as caught:
                    call()
                assert not isinstance(caught.value, ImageError)

    return check
