"""One decode for all that is cut from a photograph."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
from report.sample import content

from fastvbow.errors import ImageError
from fastvbow.report.photographs import hand_out


class Use:
    """Notes what it is given."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.kept, self.were_cut = [], set()
        self.threads = set()

    def cutter(self, index):
        def cut(pixels):
            self.were_cut.add(index)
            return index, int(pixels[0, 0, 0])

        return cut

    def keep(self, index, piece):
        self.threads.add(threading.get_ident())
        self.kept.append((index, piece))


@pytest.mark.parametrize("jobs", [1, 3])
def test_each_use_gets_its_own_in_order(jobs):
    reads = Counter()

    def read(index):
        reads[index] += 1
        if index == 4:
            raise ImageError("damaged")
        if index == 6:
            raise FileNotFoundError(index)
        return {8: None, 10: np.zeros((0, 0, 3), np.uint8)}.get(index, np.full((2, 2, 3), index, np.uint8))

    every, some, none = Use(range(20)), Use({15, 3, 4}), Use([])
    order = [*range(19, -1, -1)]
    steps = []
    made = content(read_photograph=read)
    lost = hand_out(made, order, [every, some, none], jobs=jobs, progress=lambda *step: steps.append(step))
    gone = {4, 6, 8, 10}
    assert lost == [i for i in order if i in gone]
    assert every.kept == [(i, None if i in gone else (i, i)) for i in order]
    assert some.kept == [(15, (15, 15)), (4, None), (3, (3, 3))] and none.kept == []
    assert some.were_cut == {15, 3} and not none.were_cut, "nothing is made in vain"
    assert set(reads.values()) == {1} and set(reads) == set(range(20))
    assert every.threads == {threading.get_ident()}
    assert steps == [(i, 20) for i in range(1, 21)]
