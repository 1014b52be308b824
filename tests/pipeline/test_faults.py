"""What goes wrong around an extraction: the disk, the clock, files that change under its hands, read-only folders."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from conftest import contents

from fastvbow import pipeline
from fastvbow.config import ExtractConfig
from fastvbow.errors import ProjectError
from fastvbow.pipeline import extraction

SIFT = ExtractConfig(features=("sift",))


def features_of(project: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(project).items() if name.startswith("features/")}


def left_over(project: Path) -> list[str]:
    return [path.name for path in project.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize("limit", [3_000, 60_000, 200_000])
def test_a_disk_that_fills_up(limit, sift_folder, sift_project, hooked, tmp_path):
    """Files cannot grow beyond a limit, as on a full disk: one line says so, nothing half-written is left behind."""
    hook = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
"""
    largest = max(len(data) for data in features_of(sift_project).values())
    done = hooked(hook, "extract", sift_folder, "-o", tmp_path / "p", "--features", "sift")
    if largest < limit:
        pytest.skip(f"no file is larger than {limit} bytes here")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("fastvbow: ")
    assert "File too large" in done.stderr or "disk is full" in done.stderr
    assert not (tmp_path / "p" / "stages" / "extract.json").exists()
    pipeline.extract(sift_folder, tmp_path / "p", SIFT)
    assert features_of(tmp_path / "p") == features_of(sift_project)
    assert left_over(tmp_path / "p") == []


def test_files_that_change_between_listing_and_reading(sift_folder, tmp_path, monkeypatch):
    source = Path(shutil.copytree(sift_folder, tmp_path / "photographs"))
    paths = sorted(source.rglob("*.jpg"))

    def change():
        paths[0].unlink()
        paths[1].write_bytes(b"")
        paths[2].write_bytes(paths[3].read_bytes())
        paths[4].unlink()
        paths[4].mkdir()

    def listed(source, scan=extraction.scan):
        table = scan(source)
        change()
        return table

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "scan", listed)
        card = pipeline.extract(source, tmp_path / "p", SIFT)
    assert card.outputs["images"] == 20
    assert card.outputs["reasons"] == {
        "cannot be read: No such file or directory": 1,
        "empty file": 1,
        "not a regular file": 1,
    }
    # the next call lists them as they are now, and looks at what has changed
    card = pipeline.extract(source, tmp_path / "p", SIFT)
    assert card.outputs["images"] in (18, 19)
    fresh = pipeline.extract(source, tmp_path / "fresh", SIFT)
    assert card.outputs == fresh.outputs
    assert features_of(tmp_path / "p") == features_of(tmp_path / "fresh")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_project_that_may_not_be_written(sift_folder, sift_copy):
    for path in (sift_copy, *sift_copy.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with pytest.raises(ProjectError, match="cannot write the project folder"):
        pipeline.extract(sift_folder, sift_copy, ExtractConfig(features=("sift",), keypoints=9))
    assert pipeline.Project.open(sift_copy).assign([next(sift_folder.rglob("*.jpg"))]).theta.shape == (1, 4)


def test_a_clock_that_jumps(sift_folder, sift_project, hooked, tmp_path):
    hook = """
import random, time
now = time.time
def jumping():
    return now() + random.choice([-1e9, 0, 1e9])
time.time = jumping
"""
    source = Path(shutil.copytree(sift_folder, tmp_path / "photographs"))
    for i, path in enumerate(sorted(source.rglob("*.jpg"))):
        os.utime(path, ns=((i - 9) * 10**17, (i - 9) * 10**17))  # before 1970, and after 2030
    done = hooked(hook, "extract", source, "-o", tmp_path / "p", "--features", "sift", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    arrays = {name: data for name, data in features_of(tmp_path / "p").items() if name.endswith(".npy")}
    assert arrays == {name: data for name, data in features_of(sift_project).items() if name.endswith(".npy")}
    done = hooked(hook, "extract", source, "-o", tmp_path / "p", "--features", "sift")
    assert "stands from an earlier call" in done.stderr


KILL_BY_THE_CLOCK = """
import os, signal, threading, time
def killing():
    time.sleep(float(os.environ["SECONDS"]))
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=killing, daemon=True).start()
"""


def test_killed_at_any_time(small_folder, small_project, hooked, tmp_path):
    """By the clock, wherever the work is: in the decoder, in SIFT, in the CNN, while writing."""
    killed = 0
    for moment in range(8):
        how = {"SECONDS": str(0.2 + 0.2 * moment)}
        done = hooked(KILL_BY_THE_CLOCK, "extract", small_folder, "-o", tmp_path / "p", "--jobs", "2", **how)
        killed += done.returncode == -signal.SIGKILL
        if done.returncode == 0:
            break
    assert killed
    pipeline.extract(small_folder, tmp_path / "p")
    assert features_of(tmp_path / "p") == features_of(small_project)
    assert left_over(tmp_path / "p") == []
    assert pipeline.verify(tmp_path / "p").problems == []
