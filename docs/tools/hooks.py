"""What MkDocs calls while it builds the site: the pages that are made of the program itself.

`reference/cli.md` is written from the command tree, and the functions of `reference/python.md` are those of the route:
no command, no option and no function can be missing there. The changes and the tables of the benchmarks are those of
the repository.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files

from fastvbow import pipeline
from fastvbow.cli import app

__all__ = ["command_line_page", "commands", "on_files", "on_page_markdown", "route"]

ROUTE = "<!-- the functions of the route -->"

MARKS = "&\\`*_[]<>|"

INTRODUCTION = """# Command line

Made from the commands themselves: the same text as `fastvbow COMMAND --help`.

Results go to stdout, as text or with `--json` as one JSON object on the last line; progress and warnings go to stderr.

| exit code | means |
|---|---|
| 0 | done |
| 1 | it failed; one line on stderr says which file, why, and what to do |
| 2 | the command line cannot be understood, or asks for what cannot be |
| 3 | done, but some images were skipped; they are listed with the reason |
| 130 | interrupted; the same command goes on where it stopped |
"""


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages to those of the folder."""
    root = Path(config.config_file_path).parent
    measurements = (root / "benchmarks" / "README.md").read_text(encoding="utf-8").replace("](../docs/", "](../")
    pages = {
        "reference/cli.md": command_line_page(),
        "explanation/measurements.md": measurements.replace("# Benchmarks", "# All measurements", 1),
        "changes.md": (root / "CHANGELOG.md").read_text(encoding="utf-8"),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Name the functions of the route where a page asks for them."""
    return markdown.replace(ROUTE, "\n".join(f"::: {name}" for name in route()))


def route() -> list[str]:
    """The functions of `fastvbow.pipeline` in the order of the commands, each followed by the class that it returns."""
    ordered = [name.rpartition(" ")[2] for name, _ in commands()]
    found: list[str] = []
    for name in sorted(pipeline.__all__, key=lambda name: ordered.index(name) if name in ordered else len(ordered)):
        function = getattr(pipeline, name)
        result = typing.get_type_hints(function).get("return")
        for thing in (function, result):
            home = getattr(thing, "__module__", "")
            if home.startswith("fastvbow.pipeline") and f"{home}.{thing.__qualname__}" not in found:
                found.append(f"{home}.{thing.__qualname__}")
    return found


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its whole name, in the order of the help."""

    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", None)
        if children is None:
            yield name, command
        else:
            for child in command.list_commands(command.make_context(name, [], resilient_parsing=True)):
                yield from below(f"{name} {child}", children[child])

    yield from below("fastvbow", typer.main.get_command(app))


def command_line_page() -> str:
    """The page as Markdown: a table of all commands, then a section for each."""
    found = list(commands())
    overview = ["| command | does |", "|---|---|"]
    for name, command in found:
        first = inspect.cleandoc(command.help).split("\n\n")[0]
        overview.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {_cell(first)} |")
    sections = [_section(name, command) for name, command in found]
    return "\n".join([INTRODUCTION, *overview, "", *sections])


def _section(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    lines = [f"## {name}", "", inspect.cleandoc(command.help), "", "```text", usage, "```", ""]
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [f"| <code>{_cell(names)}</code> | {_cell(text)} |" for names, text in filter(None, records)]
    lines += ["| option | does |", "|---|---|", *rows, ""] if rows else []
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Plain text as a cell of a Markdown table: no markup of its own."""
    return "".join(f"&#{ord(letter)};" if letter in MARKS else letter for letter in " ".join(text.split()))
