"""Every command of the documentation is run, page by page and in order, and prints what the page shows.

A page is a Markdown file of docs/, or README.md; a new one is found by itself. Blocks of `console` and `sh` are run
command by command, blocks of `python` and `pycon` in one namespace a page, all in an empty folder that holds what
`SETTINGS` makes. `NOT_RUN` names what cannot be run here; its flags are checked all the same.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from doc_blocks import (
    Command,
    calls,
    command_of,
    fenced,
    is_plain,
    pages,
    prints,
    shell_commands,
    shell_words,
    unknown_options,
    without_redirections,
)
from numpy.typing import NDArray
from small_networks import classifier, image_encoder, save, text_encoder, tokenizer_file

from fastvbow.cli import app
from fastvbow.demo.crops import crop_generator, photograph_files, render_crop

ROOT = Path(__file__).parents[2]
PAGES = [str(path.relative_to(ROOT)) for path in pages(ROOT)]
RUN, SHOWN = {"console", "sh", "python", "pycon"}, {"text", "json", "toml", "csv", "xml", "html"}

NOT_RUN = {
    r"pip install .*": "installs packages, which a test must not",
    r"make (demo|test|docs)\b.*": "builds an environment; .ci/run does it",
    r"xdg-open .*": "opens a browser",
    r"LABEL_STUDIO_\w+=true .* label-studio start": "a server of Label Studio is not installed",
    r"nvidia-smi.*": "there is no GPU",
    r"fastvbow .*--device cuda.*": "there is no GPU",
    r"fastvbow models export .*": "wants PyTorch and weights on this machine",
    r"fastvbow study ADE20K_2021_17_01/ .*": "the data set is not free to ship, and the study takes hours",
    r"fastvbow study scenes/ -o study/ --words 150,200,300 .*": "takes 12 minutes",
    r"fastvbow suggest .*": "wants a text encoder, which is not shipped",
    r"fastvbow (name|export) .*--suggested": "wants what 'suggest' has found",
    r"dask (scheduler|worker) .*": "starts servers, which a test must not; tests/distributed does",
    r"fastvbow run /shared/photographs .*": "wants a cluster; tests/distributed has one",
    r"fastvbow run s3://.*": "wants an object store; tests/distributed/test_object_store.py has one",
    r"python benchmarks/.*": "takes minutes to hours; the benchmarks have tests of their own",
}
"""What is shown and not run, as a pattern of the whole command, and why."""


@pytest.fixture(scope="session")
def root_command() -> Any:
    return typer.main.get_command(app)


def commands_of(page: str) -> list[Command]:
    blocks, _ = fenced((ROOT / page).read_text(encoding="utf-8"))
    return [c for block in blocks if block.language in {"console", "sh"} for c in shell_commands(block)]


def reason_not_to_run(command: str) -> str | None:
    text = command.partition(" #")[0].strip()
    return next((why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, text)), None)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_say_what_they_are(page):
    """Nothing that looks like a command stands where no test runs it."""
    blocks, outside = fenced((ROOT / page).read_text(encoding="utf-8"))
    for block in blocks:
        where = f"{page}:{block.line}"
        assert block.language in RUN | SHOWN, f"{where}: a block names its language"
        if block.language in SHOWN:
            assert not re.search(r"^(\$ |fastvbow [a-z])", block.text, re.MULTILINE), f"{where}: a command in text"
    for number, line in outside:
        assert not re.match(r" {4,}(\$ |fastvbow |pip |make |import |from )", line), f"{page}:{number}: not in a fence"


@pytest.mark.parametrize("page", PAGES)
def test_commands_can_be_understood(page, root_command):
    """Also those that are not run: every command exists, takes these options, and has all that it needs."""
    for command in commands_of(page):
        for words in calls(command.text):
            words = without_redirections(words)
            where = f"{page}:{command.line}: {command.text}"
            assert unknown_options(root_command, words) == [], where
            name, found, rest = command_of(root_command, words)
            if not {"--help", "--version"} & set(words):
                try:
                    found.make_context(name, rest)
                except Exception as error:  # of click, whichever copy of it typer has
                    pytest.fail(f"{where}: {getattr(error, 'message', error)}")


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_exist(page, root_command):
    """`fastvbow run --topics auto` within a sentence too."""
    _, outside = fenced((ROOT / page).read_text(encoding="utf-8"))
    for number, line in outside:
        for text in re.findall(r"`fastvbow ([^`]+)`", line):
            if text.split()[0].isupper():  # fastvbow COMMAND
                continue
            text = text.replace("...", "").replace("\\|", "|")
            assert unknown_options(root_command, text.split()) == [], f"{page}:{number}"


def test_what_is_not_run_is_still_there():
    every = [command.text.partition(" #")[0].strip() for page in PAGES for command in commands_of(page)]
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, text) for text in every), f"{pattern}: no page has it any more"


def new_crops(place: int, numbers: range) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Further crops of a bundled photograph, with the names of their files."""
    file = photograph_files()[place]
    image = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    for number in numbers:
        content = render_crop(crop_generator(0, place, number), image)
        name = f"{Path(file.name).stem}-{number:02d}.jpg"
        yield name, cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def write_new(folder: Path) -> None:
    """Two photographs more of each of the five kinds."""
    for place in range(5):
        for name, image in new_crops(place, range(20, 22)):
            (folder / name.partition("-")[0]).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name.partition("-")[0] / name), image)


def write_scenes(folder: Path) -> None:
    """Photographs whose halves show two of three kinds, and masks that say which."""
    (folder / "img").mkdir(parents=True)
    (folder / "label").mkdir()
    kinds = [[cv2.resize(image, (128, 192)) for _, image in new_crops(place, range(12))] for place in (1, 2, 4)]
    for number in range(12):
        left, right = number % 3, (number + 1) % 3
        cv2.imwrite(str(folder / f"img/{number:02d}.jpg"), np.hstack([kinds[left][number], kinds[right][number]]))
        mask = np.repeat([np.repeat([left + 1, right + 1], 128)], 192, axis=0)
        cv2.imwrite(str(folder / f"label/{number:02d}.png"), mask)


def small_colours(files: Iterable[Path]) -> NDArray[np.float64]:
    """A network of one's own, for want of a better one: the colours of 4 x 4 pixels."""
    return np.stack([cv2.resize(cv2.imread(str(file)), (4, 4)).ravel() - 127.0 for file in files])


@pytest.fixture
def settings(small_folder: Path, small_project: Path) -> Callable[[str], dict[str, Any]]:
    """Make what a page takes for granted, in the current folder; give the names that its Python blocks may use."""

    def make(page: str) -> dict[str, Any]:
        if page == "docs/tutorial.md":  # it begins with nothing
            return {}
        shutil.copytree(small_folder, "photographs")
        write_new(Path("new"))
        if page not in {"README.md", "docs/index.md", "docs/how-to/sources.md"}:  # these make the project themselves
            shutil.copytree(small_project, "project")
        if page == "docs/how-to/masks.md":
            write_scenes(Path("scenes"))
        if page == "docs/how-to/own-model.md":
            save(classifier(), Path("resnet50.onnx"))
        if page in {"docs/how-to/text-spaces.md", "docs/how-to/cluster.md"}:
            pytest.importorskip("tokenizers", reason="tokenizers is not installed")
            Path("bge").mkdir()
            save(image_encoder(), Path("image.onnx"))
            save(text_encoder(), Path("text.onnx"))
            save(text_encoder("last_hidden_state", tokens=True), Path("bge/model.onnx"))
            for path in ("tokenizer.json", "bge/tokenizer.json"):
                tokenizer_file(Path(path))
            Path("nouns.txt").write_text("cat\ndog\n")
            Path("captions.txt").write_text("a photo of a cat\na drum\n")
        return {"my_network": small_colours} if page == "docs/how-to/own-vectors.md" else {}

    return make


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run a line of shell in the folder of the page: exit code, stdout, and stdout with stderr."""
    programs = tmp_path / "programs"
    programs.mkdir()
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom fastvbow.cli import main; main()"
    )
    (programs / "fastvbow").write_text(f"#!{sys.executable}\n{code}\n")
    (programs / "fastvbow").chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    folder = tmp_path / "page"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("FASTVBOW_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("FASTVBOW_TEXTS", str(tmp_path / "texts"))

    class Both(io.StringIO):
        """Also writes to another stream."""

        def __init__(self, other: io.StringIO) -> None:
            super().__init__()
            self.other = other

        def write(self, text: str) -> int:
            self.other.write(text)
            return super().write(text)

    def run(text: str) -> tuple[int, str, str]:
        words = shell_words(text)
        if not (is_plain(text) and words[0] == "fastvbow"):
            done = subprocess.run(["bash", "-uo", "pipefail", "-c", text], capture_output=True, text=True, timeout=120)
            return done.returncode, done.stdout, done.stdout + done.stderr
        both = io.StringIO()
        out, err = Both(both), Both(both)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = app(words[1:], prog_name="fastvbow") or 0
            except SystemExit as ending:
                code = int(ending.code or 0)
        return code, out.getvalue(), both.getvalue()

    return run


@pytest.mark.parametrize("page", PAGES)
def test_page(page, settings, runner):
    blocks, _ = fenced((ROOT / page).read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__", **settings(page)}
    for block in blocks:
        if block.language in {"console", "sh"}:
            run_commands(page, shell_commands(block), runner)
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), names)
        elif block.language == "pycon":
            test = doctest.DocTestParser().get_doctest(block.text, names, page, page, block.line - 1)
            told = io.StringIO()
            examiner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            examiner.run(test, out=told.write, clear_globs=False)
            names.update(test.globs)
            assert not examiner.failures, told.getvalue()


def run_commands(page: str, commands: list[Command], run: Callable[[str], tuple[int, str, str]]) -> None:
    """Run them; an exit code other than 0 is right where the page goes on to show it."""
    code = 0
    for command, following in zip(commands, [*commands[1:], None], strict=True):
        where = f"{page}:{command.line}: {command.text}"
        if command.text == "echo $?":
            assert command.shown[0] == str(code), where
            continue
        if reason_not_to_run(command.text):
            continue
        code, out, both = run(command.text)
        expected_to_fail = following is not None and following.text == "echo $?"
        assert code == 0 or expected_to_fail, f"{where}\nexit code {code}\n{both}"
        if command.shown and not (prints(command.shown, out) or prints(command.shown, both)):
            shown = "\n".join(command.shown)
            pytest.fail(f"{where}\n--- the page shows\n{shown}\n--- it prints\n{both}")
