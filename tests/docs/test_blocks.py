"""The reader of code blocks reads; what follows from it stands in test_commands."""

from __future__ import annotations

import pytest
import typer
from doc_blocks import Block, calls, fenced, is_plain, prints, shell_commands, unknown_options, without_redirections

from fastvbow.cli import app

PAGE = """# A page

```console
$ fastvbow run photographs/ -o project/ \\
>     --topics 5
60 images: 60 grouped
$ ls
```

- a list

  ```python
  x = 1
  ```
"""


def test_blocks_are_found():
    blocks, outside = fenced(PAGE)
    assert [(b.language, b.line) for b in blocks] == [("console", 4), ("python", 13)]
    assert blocks[1].text == "x = 1"
    assert (10, "- a list") in outside


def test_an_open_fence_is_an_error():
    with pytest.raises(AssertionError, match="never closed"):
        fenced("text\n```sh\nls\n")


def test_commands_with_what_they_print():
    first, second = shell_commands(fenced(PAGE)[0][0])
    assert first.text == "fastvbow run photographs/ -o project/     --topics 5"
    assert first.shown == ["60 images: 60 grouped"]
    assert (second.text, second.shown) == ("ls", [])


def test_commands_of_a_script():
    block = Block("sh", "# first\nmake demo  # a comment\n\nfastvbow doctor", 10)
    assert [(c.text, c.line) for c in shell_commands(block)] == [
        ("make demo  # a comment", 11),
        ("fastvbow doctor", 13),
    ]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("fastvbow run a -o b", True),
        ("fastvbow name p 3 'salt & pepper'", True),
        ("fastvbow doctor # what? is *this*", True),
        ("fastvbow doctor | head", False),
        ("fastvbow run *.jpg", False),
        ('fastvbow run "$HOME"', False),
    ],
)
def test_what_needs_a_shell(text, plain):
    assert is_plain(text) is plain


def test_calls_within_a_line():
    line = "cd here && A=1 fastvbow run 'a b' -o p > log; fastvbow doctor --json | head"
    assert list(calls(line)) == [["run", "a b", "-o", "p", ">", "log"], ["doctor", "--json"]]
    assert without_redirections(["run", "a", ">", "log", "-o", "p"]) == ["run", "a", "-o", "p"]


def test_options_that_are_not_there():
    root = typer.main.get_command(app)
    assert unknown_options(root, ["run", "a", "-o", "b", "--topics", "auto"]) == []
    assert unknown_options(root, ["run", "a", "--topcis=3"]) == ["fastvbow run has no option --topcis"]
    assert unknown_options(root, ["labels", "import", "p", "--nope"]) == ["fastvbow labels import has no option --nope"]
    with pytest.raises(AssertionError, match="no command 'imprt'"):
        unknown_options(root, ["labels", "imprt"])


@pytest.mark.parametrize(
    ("shown", "fits"),
    [
        (["one", "two   2", "three"], True),
        (["one", "..."], True),
        (["...", "three"], True),
        (["one", "t... 2", "three"], True),
        (["one", "two ... 2", "three"], True),
        (["one", "two (...)", "three"], False),
        (["one", "tw...2", "...ee"], True),
        (["one", "three"], False),
        (["one", "two 3", "three"], False),
        (["one", "two 2"], False),
        (["one", "...", "two"], False),
    ],
)
def test_what_is_shown_against_what_is_printed(shown, fits):
    assert prints(shown, "one\ntwo 2\nthree\n") is fits


def test_lines_of_progress_do_not_count():
    assert prints(["extract", "done"], "extract\n  209/375 images, 20.0 images/s, 8 s left, 0.4 MB/s\ndone\n")
    assert not prints(["extract", "done"], "extract\n  209 images\ndone\n")
