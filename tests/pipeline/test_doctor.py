"""`fastvbow doctor` says what is wrong and how to mend it."""

from __future__ import annotations

import json
import sys

import pytest

from fastvbow import pipeline
from fastvbow.pipeline import diagnosis


@pytest.fixture(autouse=True)
def roomy(monkeypatch):
    """Whatever disk and memory this machine has free just now."""
    monkeypatch.setattr(diagnosis, "LOW_DISK", 0)
    monkeypatch.setattr(diagnosis, "LOW_MEMORY", 0)


def owners(monkeypatch, **packages):
    found = {"onnxruntime": ["onnxruntime"], "cv2": ["opencv-python-headless"]} | packages
    monkeypatch.setattr(diagnosis, "packages_distributions", lambda: found)


def problems(outcome) -> list[dict[str, str]]:
    found = json.loads(outcome.out)["problems"]
    assert all(problem["problem"] and problem["fix"] for problem in found)
    return found


def test_sound(cli):
    pytest.importorskip("onnxruntime")
    outcome = cli("doctor", "--json")
    assert outcome.code == 0, outcome.out
    found = json.loads(outcome.out)
    assert set(found) == {"facts", "packages", "cpu_features", "providers", "problems"}
    assert found["problems"] == []
    assert found["providers"]["CPUExecutionProvider"] == "runs the default CNN"
    assert {"fastvbow", "Python", "system", "processors", "CPU", "free disk", "free memory"} <= set(found["facts"])
    assert found["packages"]["numba"][0].isdigit()
    assert cli("doctor").out.endswith("no problem found\n")


def test_both_onnxruntimes(monkeypatch, cli):
    owners(monkeypatch, onnxruntime=["onnxruntime-gpu", "onnxruntime"])
    outcome = cli("doctor", "--json")
    assert outcome.code == 1
    (found,) = problems(outcome)
    assert "onnxruntime and onnxruntime-gpu are both installed" in found["problem"]
    assert found["fix"].startswith("pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'fastvbow[cpu]'")
    text = cli("doctor").out
    assert "problem: onnxruntime and" in text
    assert "    fix: pip uninstall" in text


def test_no_onnxruntime(monkeypatch, cli):
    owners(monkeypatch, onnxruntime=[])
    (found,) = problems(cli("doctor", "--json"))
    assert "no ONNX Runtime" in found["problem"]
    assert "pip install 'fastvbow[cpu]'" in found["fix"]


def test_onnxruntime_that_does_not_import(monkeypatch, cli):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    owners(monkeypatch)
    (found,) = problems(cli("doctor", "--json"))
    assert "does not import" in found["problem"]
    assert found["fix"] == "pip install --force-reinstall onnxruntime"


def test_a_provider_that_does_not_run(monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    everything = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: everything)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    found = pipeline.doctor()
    if "CUDAExecutionProvider" in found.providers and found.providers["CUDAExecutionProvider"].startswith("runs"):
        pytest.skip("CUDA really runs here")
    assert found.providers["CUDAExecutionProvider"] == "does not run"
    assert found.providers["CPUExecutionProvider"] == "runs the default CNN"
    (problem,) = found.problems
    assert problem.problem.startswith("CUDAExecutionProvider: --device cuda")


def test_two_opencvs(monkeypatch, cli):
    owners(monkeypatch, cv2=["opencv-python", "opencv-python-headless"])
    (found,) = problems(cli("doctor", "--json"))
    assert found["fix"].endswith("pip install opencv-python-headless")


def test_little_room(monkeypatch):
    monkeypatch.setattr(diagnosis, "LOW_DISK", 1 << 60)
    monkeypatch.setattr(diagnosis, "LOW_MEMORY", 1 << 60)
    owners(monkeypatch)
    texts = [problem.problem for problem in pipeline.doctor().problems]
    assert len(texts) == 2
    assert "of disk are free" in texts[0]
    assert "of memory are free" in texts[1]


def test_no_compiled_sampler(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastvbow.topics._gibbs", None)
    owners(monkeypatch)
    (problem,) = pipeline.doctor().problems
    assert "compiled sampler" in problem.problem
    assert "C compiler" in problem.fix
