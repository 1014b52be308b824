"""The command line by itself: its help, its haste, its words, and what it shows while it works."""

from __future__ import annotations

import functools
import io
import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fastvbow import __version__, display
from fastvbow.display import Display, one_line
from fastvbow.events import Event

STAGES = ["extract", "vocabulary", "encode", "topics", "groups", "report"]
COMMANDS = ["run", "demo", *STAGES, "assign", "evaluate", "segments", "subset", "doctor", "warmup", "models"]


def test_help_is_quick():
    """No heavy import stands between a user and the help."""
    code = (
        "import sys\nfrom fastvbow.cli import main\nsys.argv = ['fastvbow', '--help']\n"
        "try:\n    main()\nexcept SystemExit as ending:\n    print('exit', ending.code)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    help_text, _, modules = done.stdout.partition("exit 0\n")
    for command in COMMANDS:
        assert f"\n  {command} " in help_text
    heavy = {"numba", "sklearn", "cv2", "onnxruntime", "scipy", "pyarrow", "numpy", "matplotlib"}
    assert heavy.isdisjoint(modules.split())


def test_version(cli):
    assert cli("--version").out == f"fastvbow {__version__}\n"


def test_without_a_command(cli):
    outcome = cli()
    assert "Usage: fastvbow" in outcome.out + outcome.err
    assert outcome.code in {0, 2}, "click 8.2 changed it"


def defaults(text: str) -> dict[str, str]:
    """Options and their defaults, as a help text shows them."""
    text = re.sub(r"\s+", " ", text.partition("Options:")[2])
    parts = re.split(r" (?=(?:-\w, )?--[a-z])", text)
    found = {}
    for part in parts:
        name = re.search(r"--([a-z-]+)", part)
        if name:
            shown = re.search(r"\[default: ([^\]]*)\]", part)
            found[name[1]] = shown[1] if shown else None
    return found


def test_run_shows_every_default(cli):
    assert defaults(cli("run", "--help").out) == {
        "output": None,
        "from": None,
        "refit": None,
        "words": "300",
        "fusion": "separate",
        "train": "sample",
        "keypoints": "300",
        "side": "256",
        "topics": "20",
        "most-topics": "50",
        "sweeps": "200",
        "walks": "0",
        "merge-every": "5",
        "weights": "sift=1,conv=1,pooled=1,joint=1",
        "features": "sift,cnn",
        "model": "efficientnet_lite0_int8",
        "embeddings": None,
        "seed": "0",
        "jobs": "-1",
        "device": "auto",
        "executor": "threads",
        "scheduler": None,
        "max-memory": None,
        "retry": None,
        "max-error-rate": "1.0",
        "limit": "0",
        "batch": "0",
        "log-json": None,
        "labels": "none",
        "json": None,
        "quiet": None,
        "help": None,
    }


@pytest.mark.parametrize("command", ["encode"])
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--executor", "wishes"], "--executor is one of threads, processes, dask, not wishes"),
        (["--executor", "processes"], "--executor processes is for the extraction of features"),
        (["--scheduler", "tcp://host:1"], "--scheduler tcp://host:1 belongs to --executor dask"),
    ],
)
def test_who_does_the_work(command, words, complaint, cli, tmp_path):
    outcome = cli(command, tmp_path, *words)
    assert outcome.code == 2
    assert complaint in outcome.complaint


def test_evaluate_compares_with_the_folders(cli):
    assert defaults(cli("evaluate", "--help").out)["labels"] == "parent"


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["run"], ["run", "somewhere"], ["run", "a", "-o", "b", "--words", "many"], ["doctor", "--nonsense"]],
    ids=" ".join,
)
def test_what_cannot_be_understood(words, cli):
    outcome = cli(*words)
    assert outcome.code == 2
    assert outcome.err
    assert outcome.out == ""


def test_demo(cli, tmp_path, monkeypatch):
    """With few crops; the whole one is the acceptance test of the route."""
    from fastvbow.pipeline import demonstration

    few = functools.partial(demonstration.make_crops, crops_per_photograph=2)
    monkeypatch.setattr(demonstration, "make_crops", few)
    outcome = cli("demo", "-o", tmp_path / "demo", "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert (result["images"], result["topics"], result["n_images"]) == (30, 15, 30)
    assert result["acc"] >= 0.8
    assert (tmp_path / "demo" / "project" / "report" / "index.html").exists()
    assert "accuracy: 0." in cli("demo", "-o", tmp_path / "demo").out or result["acc"] == 1.0
    (tmp_path / "file").write_text("")
    assert "choose another -o" in cli("demo", "-o", tmp_path / "file" / "demo").complaint


def test_quiet(sift_folder, cli, tmp_path):
    options = ["--features", "sift", "--topics", "2", "--words", "20", "--sweeps", "4", "--quiet", "--json"]
    outcome = cli("run", sift_folder, "-o", tmp_path / "project", *options)
    assert (outcome.code, outcome.err) == (0, "")
    json.loads(outcome.out)


def step(done: int, total: int = 100, **more) -> Event:
    return Event("extract", "step", **{"done": done, "total": total, **more})


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    return clock


def test_lines_where_there_is_no_terminal(clock, capsys):
    with Display() as show:
        show(Event("extract", "begin", "done again, for keypoints: 300 -> 50"))
        for second in range(36):  # one image a second, two from second 20 on
            clock.now = 1000.0 + second
            show(step(second + 1 + max(0, second - 19), skipped=int(second >= 15)))
        show(Event("extract", "warning", "cannot list the folder x"))
        show(Event("extract", "note", "three files passed over"))
        show(Event("extract", "end", "images 100"))
        show(Event("vocabulary", "reused", "words 300"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "extract: done again, for keypoints: 300 -> 50",
        "  11/100 images, 1.0 images/s, 89 s left",
        "  22/100 images, 1.1 images/s, 74 s left, 1 skipped",
        "  42/100 images, 1.4 images/s, 42 s left, 1 skipped",
        "warning extract: cannot list the folder x",
        "  three files passed over",
        "  images 100",
        "vocabulary stands from an earlier call (words 300)",
    ]


def test_lines_tell_how_fast_files_are_read_and_what_is_skipped_why(clock, capsys):
    reasons = {"empty file": 1, "truncated JPEG": 7, "damaged PNG": 2}
    with Display() as show:
        for second in (0, 15, 30):
            clock.now = 1000.0 + second
            more = {"skipped": 10, "reasons": reasons} if second == 30 else {}
            show(step(second + 1, total=100_000, n_bytes=3_000_000 * second, **more))
    assert capsys.readouterr().err.splitlines() == [
        "  16/100000 images, 1.0 images/s, 27.8 h left, 3.0 MB/s",
        "  31/100000 images, 1.0 images/s, 27.8 h left, 3.0 MB/s, 10 skipped (7 truncated JPEG, 2 damaged PNG, ...)",
    ]


def test_a_stage_that_counts_one_thing_after_another(clock, capsys):
    with Display() as show:
        for second, unit, done in ((0, "numbers", 1), (15, "numbers", 31), (16, "sweeps", 1), (36, "sweeps", 41)):
            clock.now = 1000.0 + second
            show(Event("topics", "step", done=done, total=50, unit=unit))
    assert capsys.readouterr().err.splitlines() == [
        "  31/50 numbers, 2.0 numbers/s, 10 s left",
        "  41/50 sweeps, 2.0 sweeps/s, 4 s left",
    ]


def test_quiet_lines_are_warnings(clock, capsys):
    with Display(quiet=True) as show:
        for kind in ("begin", "note", "end", "reused"):
            show(Event("extract", kind, "message"))
        show(step(1))
        clock.now += 60
        show(step(2))
        show(Event("extract", "warning", "watch out"))
    assert capsys.readouterr().err == "warning extract: watch out\n"


def test_live_on_a_terminal(monkeypatch):
    screen = io.StringIO()

    def console(**options) -> Console:
        return Console(file=screen, force_terminal=True, width=120, highlight=options["highlight"], soft_wrap=True)

    monkeypatch.setattr(display, "Console", console)
    with Display() as show:
        show(Event("extract", "begin"))
        for done in (1, 30, 60):
            show(step(done, skipped=2))
        show._progress.refresh()
        show(Event("extract", "note", "the CNN runs on [CPU] :smile:"))
        show(Event("extract", "end", "images 100"))
        show(Event("topics", "step", done=7, total=200, unit="sweeps"))
        show._progress.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "60/100" in shown
    assert "2 skipped" in shown
    assert "7/200" in shown
    assert "the CNN runs on [CPU] :smile:" in shown
    assert "\x1b[?25h" in screen.getvalue(), "the cursor comes back"


def test_control_characters_are_escaped(capsys):
    nasty = "a\nb\rc\x1b[31md\x00e\u202ef\udcffg\u2028h [bold]i[/bold] :smile: \\"
    with Display() as show:
        show(Event("extract", "note", nasty))
        show(Event("extract", "warning", nasty))
    wanted = r"a\nb\rc\x1b[31md\x00e\u202ef\udcffg\u2028h [bold]i[/bold] :smile: " + "\\"
    assert capsys.readouterr().err == f"  {wanted}\nwarning extract: {wanted}\n"


@given(st.text(st.characters(codec=None, categories=None)))
def test_one_line(text):
    shown = one_line(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert text != shown or text.isprintable()


@given(st.text("[]/\\:ab\n=@'# "))
def test_no_message_is_taken_for_markup(message):
    err = io.StringIO()
    before, sys.stderr = sys.stderr, err
    try:
        with Display() as show:
            show(Event("extract", "note", message))
    finally:
        sys.stderr = before
    assert err.getvalue() == f"  {one_line(message)}\n"
