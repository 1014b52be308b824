"""Thousands of damaged files through the decoder, in a process that may die: never a crash, a hang or odd pixels.

FASTVBOW_FUZZ sets how many (default 10,000, some 20 seconds).
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fuzz_decode import damaged, originals

SCRIPT = Path(__file__).parents[1] / "fuzz_decode.py"
COUNT = int(os.environ.get("FASTVBOW_FUZZ", "10000"))


def run(*words: object, hook: str | None = None) -> subprocess.CompletedProcess[str]:
    start = (
        [SCRIPT] if hook is None else ["-c", f"import fuzz_decode\n{hook}\nfuzz_decode.main(*map(int, sys.argv[1:]))"]
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), *filter(None, sys.path)])}
    command = [sys.executable, *map(str, start), *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", timeout=60 + COUNT / 20)


def fault(done: subprocess.CompletedProcess[str]) -> str:
    """Which file the process stopped at, and why."""
    if done.returncode == 0:
        return ""
    last = done.stdout.split()[-1] if done.stdout else "none"
    return f"file {last} ended the process with code {done.returncode}: {done.stderr[-1500:]}"


@pytest.mark.timeout(120 + COUNT // 20)
def test_damaged_files_are_read_or_refused():
    done = run(0, COUNT)
    assert not fault(done), fault(done)
    outcomes: Counter[tuple[str, str]] = Counter()
    for times, kind, outcome in re.findall(r"^= (\d+) (.+): (\w+)$", done.stdout, re.M):
        outcomes[kind, outcome] += int(times)
    assert sum(outcomes.values()) == COUNT
    if COUNT >= 10_000:
        for kind in originals():
            assert outcomes[kind, "read"] > 0, "the damage reaches beyond the header"
            assert outcomes[kind, "refused"] > 0, "and is noticed"


@pytest.mark.parametrize(
    ("hook", "code"),
    [
        ("import os, sys\nfuzz_decode.check = lambda data: os.abort()", -6),
        ("import time, sys\nfuzz_decode.SECONDS = 1\nfuzz_decode.check = lambda data: time.sleep(60)", 1),
        ("import sys\nfuzz_decode.image_size = lambda data: (3, 3)", 1),
    ],
    ids=["crash", "hang", "another size"],
)
def test_a_fault_names_its_file(hook, code):
    done = run(17, 40, hook=hook)
    assert done.returncode == code
    number = int(re.match(r"file (\d+) ended", fault(done))[1])
    assert 17 <= number < 57


def test_a_number_gives_the_same_file_for_ever():
    good = originals()
    assert damaged(1234, good) == damaged(1234, good)
    assert len({damaged(seed, good)[1] for seed in range(200)}) > 190
