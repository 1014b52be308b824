"""The code blocks of the documentation: found in Markdown, taken apart into commands, compared with what they print."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)$")
PROGRESS = re.compile(r"\d+/\d+ \w+, .* left")
OPERATORS = {"|", "||", "&&", ";", "&"}


@dataclass
class Block:
    """A fenced block: the language that it names, its text, and the line of its first row, from 1."""

    language: str
    text: str
    line: int


@dataclass
class Command:
    """A command of a shell, the line where it stands, and what the page shows as its output (None: nothing)."""

    text: str
    line: int
    shown: list[str] = field(default_factory=list)


def fenced(text: str) -> tuple[list[Block], list[tuple[int, str]]]:
    """The fenced blocks of a page, and the numbered lines outside them."""
    found, outside = [], []
    opening, body, start = None, [], 0
    for number, line in enumerate(text.splitlines(), 1):
        match = FENCE.match(line)
        if opening is None:
            if match:
                opening, body, start = match, [], number + 1
            else:
                outside.append((number, line))
        elif match and match["fence"].startswith(opening["fence"]) and not match["info"].strip():
            info = opening["info"].strip().split()
            found.append(Block(info[0] if info else "", "\n".join(body), start))
            opening = None
        else:
            body.append(line.removeprefix(opening["indent"]))
    assert opening is None, f"the fence of line {start - 1} is never closed"
    return found, outside


def shell_commands(block: Block) -> list[Command]:
    """The commands of a block: after ``$`` in a console, with what they print; each line of a script."""
    found: list[Command] = []
    lines = enumerate(block.text.splitlines(), block.line)
    for number, line in lines:
        if block.language == "console" and not line.startswith("$ "):
            assert found, f"line {number}: output without a command before it"
            found[-1].shown.append(line)
            continue
        text = line.removeprefix("$ ") if block.language == "console" else line
        while text.endswith("\\"):
            text = text[:-1] + next(lines)[1].removeprefix("> ")
        if text.strip() and not text.lstrip().startswith("#"):
            found.append(Command(text.strip(), number))
    return found


def shell_words(text: str) -> list[str]:
    """The words of a line of shell, operators among them, comments left out."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    return list(lexer)


def is_plain(text: str) -> bool:
    """Whether a line is one command whose words stand for themselves: no shell is needed to run it."""
    outside = re.sub(r"'[^']*'|\"[^\"$`]*\"", "", text.partition(" #")[0])
    return not re.search(r"[|&;<>$`*?~\[\]{}()]", outside)


def calls(text: str, program: str = "fastvbow") -> Iterator[list[str]]:
    """The words after the program's name, for each time that a line of shell calls it."""
    current: list[str] = []
    for word in [*shell_words(text), ";"]:
        if word in OPERATORS:
            while current and re.fullmatch(r"\w+=.*", current[0]):
                current.pop(0)  # a variable for this command alone
            if current and current[0] == program:
                yield current[1:]
            current = []
        else:
            current.append(word)


def without_redirections(words: list[str]) -> list[str]:
    """What the program itself gets of these words."""
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif re.fullmatch(r"[<>]+&?", word):
            skip = True
        else:
            kept.append(word)
    return kept


def command_of(root: Any, words: list[str]) -> tuple[str, Any, list[str]]:
    """The command of the tree that these words call, by its whole name, and what is left of the words."""
    command, name, words = root, "fastvbow", list(words)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        assert words[0] in command.commands, f"{name} has no command {words[0]!r}"
        command, name = command.commands[words[0]], f"{name} {words[0]}"
        words.pop(0)
    return name, command, words


def unknown_options(root: Any, words: list[str]) -> list[str]:
    """The options among these words that the command does not have."""
    name, command, rest = command_of(root, words)
    known = {"--help", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))}
    given = [word.partition("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)]
    return [f"{name} has no option {option}" for option in given if option not in known]


def prints(shown: list[str], printed: str) -> bool:
    """Whether a command printed what a page shows; ``...`` stands for anything, on a line of its own for any lines.

    Runs of blanks count as one, and lines of progress, which only slow machines print, not at all.
    """
    wanted = [" ".join(line.split()) for line in shown]
    while wanted and not wanted[-1]:
        wanted.pop()
    pattern = ""
    for line in wanted:
        parts = [re.escape(part.strip()) for part in line.split("...")]
        pattern += r"(?:.*\n)*?" if line == "..." else ".*".join(parts) + r"\n"
    lines = [" ".join(line.split()) for line in printed.rstrip("\n").splitlines()]
    text = "".join(line + "\n" for line in lines if not PROGRESS.match(line))
    return re.fullmatch(pattern, text) is not None


def pages(root: Path) -> list[Path]:
    """Every page of the documentation, and the README."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
