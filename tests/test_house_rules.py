"""What the code of this house has to look like, as far as a machine can tell."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
import typer

import fastvbow
from fastvbow import cli, cli_options, config, pipeline
from fastvbow.cli_cluster import options_of

ROOT = Path(fastvbow.__file__).parent
MODULES = sorted(
    info.name for info in pkgutil.walk_packages(fastvbow.__path__, "fastvbow.") if "onnx_models" not in info.name
)
SOURCES = sorted(path for path in ROOT.rglob("*.py"))
COMMANDS = {command.name or command.callback.__name__: command.callback for command in cli.app.registered_commands}
COMMANDS_TAKE = {name: set(inspect.signature(command).parameters) for name, command in COMMANDS.items()}


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_modules_are_found():
    assert {"fastvbow.cli", "fastvbow.pipeline.route", "fastvbow.words.kmeans", "fastvbow.topics.lda"} <= set(MODULES)
    assert len(SOURCES) > 40


def by_kind(name: str) -> tuple[int, str]:
    """Constants first, then classes, then the rest: ruff's order."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("name", ["fastvbow", *MODULES])
def test_all_is_sorted_and_exists(name):
    module = load(name)
    public = getattr(module, "__all__", None)
    is_package, compiled = hasattr(module, "__path__"), not str(module.__file__).endswith(".py")
    assert compiled or public is not None or is_package, "every module says what is public"
    assert list(public or []) == sorted(public or [], key=by_kind)
    for entry in public or []:
        assert hasattr(module, entry), entry


def sections(text: str) -> dict[str, list[str]]:
    """The names that a numpydoc docstring lists, section by section."""
    found: dict[str, list[str]] = {}
    lines = inspect.cleandoc(text).splitlines()
    current = None
    for i, line in enumerate(lines):
        underline = lines[i + 1] if i + 1 < len(lines) else ""
        if line and underline == "-" * len(line) and len(line) > 2:
            current = found.setdefault(line, [])
        elif current is not None and line and not line.startswith((" ", "-")):
            names = line.partition(" : ")[0]
            if re.fullmatch(r"[*\w]+(, [*\w]+)*", names):
                current += names.replace("*", "").split(", ")
    return found


def public_things() -> list[tuple[str, object]]:
    """Functions, classes and their public methods that the modules of this house define and export."""
    found: dict[str, object] = {}
    for name in MODULES:
        module = load(name)
        for entry in getattr(module, "__all__", []):
            thing = getattr(module, entry, None)
            if getattr(thing, "__module__", None) != name:
                continue
            if inspect.isfunction(thing) or inspect.isclass(thing):
                found[f"{name}.{entry}"] = thing
            if inspect.isclass(thing):
                for label, member in vars(thing).items():
                    function = getattr(member, "__func__", member)
                    if inspect.isfunction(function) and not label.startswith("_"):
                        found[f"{name}.{entry}.{label}"] = function
    return sorted(found.items())


THINGS = public_things()


def takes(thing: object) -> list[str]:
    """The parameters that a caller may pass."""
    signature = inspect.signature(thing)
    return [name for name in signature.parameters if name not in {"self", "cls"}]


def has_own_signature(thing: type) -> bool:
    return "__init__" in vars(thing) or dataclasses.is_dataclass(thing) or issubclass(thing, msgspec.Struct | tuple)


@pytest.mark.parametrize(
    ("name", "thing"),
    [pytest.param(*pair, id=pair[0].removeprefix("fastvbow.")) for pair in THINGS],
)
def test_docstrings_name_the_parameters(name, thing):
    assert inspect.getdoc(thing), "everything public is described"
    listed = sections(thing.__doc__ or "")
    if inspect.isclass(thing) and not has_own_signature(thing):
        return
    if "Parameters" in listed:
        assert listed["Parameters"] == takes(thing)
    elif "Attributes" in listed and inspect.isclass(thing) and (dataclasses.is_dataclass(thing) or takes(thing)):
        assert listed["Attributes"] == takes(thing)


def test_the_docstring_reader_reads():
    def example(a, b, *, c=1):
        """Do it.

        Parameters
        ----------
        a, b : int
            Something : else.
        c : int, default=1

        Returns
        -------
        int
        """

    assert sections(example.__doc__)["Parameters"] == ["a", "b", "c"] == takes(example)
    assert len([1 for _, thing in THINGS if "Parameters" in sections(thing.__doc__ or "")]) > 40


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_translate_functions(name):
    """Every command has help, every option too, and a function of the same name with the same defaults."""
    command = typer.main.get_command(cli.app).commands[name]
    assert command.help
    assert name in pipeline.__all__
    function = inspect.signature(getattr(pipeline, name)).parameters
    for parameter in command.params:
        assert parameter.name == "help" or parameter.help, parameter.name
    renamed = {"source": "source", "output": "project", "as_json": None, "quiet": None, "log_json": None}
    renamed["context"] = None  # the command line itself
    if "scheduler" in COMMANDS_TAKE[name]:  # both make the function's executor, and the former what extraction does
        renamed["scheduler"] = "executor"
    if name == "demo":
        renamed["output"] = "folder"
    if name in {"assign", "export", "select", "subset"}:
        renamed["output"] = "output"
    if name == "study":  # its numbers come as text with commas
        renamed |= {"output": "folder", **dict.fromkeys(config.StudyGrid.__struct_fields__), "baselines": None}
    if name == "cluster":  # a mapping comes as texts
        renamed["settings"] = "options"
    if name == "extract":
        renamed["dry_run"] = None  # the function `estimate`
    stage = config_defaults()
    for parameter in inspect.signature(COMMANDS[name]).parameters.values():
        target = renamed.get(parameter.name, parameter.name)
        if target is None:
            continue
        assert target in function or any(target in fields for fields in stage.values()), parameter.name
        if target == "executor":
            pair = {"executor": ("threads", None), "scheduler": ("", None)}[parameter.name]
            assert (parameter.default, function["executor"].default) == pair, "both mean threads of this process"
        elif target == "jobs":
            assert (parameter.default, function["jobs"].default) == (-1, None), "both mean all processors"
        elif target in function and function[target].default is not inspect.Parameter.empty and target != "folder":
            assert parameter.default == function[target].default, parameter.name
        elif target not in function:
            wanted = [fields[target] for fields in stage.values() if target in fields]
            readers = {
                "features": cli_options.features_of,
                "weights": cli_options.weights_of,
                "max_memory": cli_options.bytes_of,
                "topics": cli_options.topics_of,
                "options": lambda given: options_of(given or ()),
            }
            read = readers.get(target, lambda given: given)
            assert all(read(parameter.default) == value for value in wanted), parameter.name


def test_the_defaults_of_a_study():
    given = inspect.signature(COMMANDS["study"]).parameters
    grid = config.StudyGrid()
    for field in grid.__struct_fields__:
        value = getattr(grid, field)
        assert given[field].default == (",".join(map(str, value)) if isinstance(value, tuple) else value), field
    assert (given["baselines"].default,) == inspect.signature(pipeline.study).parameters["baselines"].default


def test_what_takes_an_executor_takes_it_on_the_command_line():
    functions = {n for n in COMMANDS if "executor" in inspect.signature(getattr(pipeline, n)).parameters}
    assert {"run", "extract", "encode", "add"} <= functions
    assert functions == {n for n, given in COMMANDS_TAKE.items() if {"executor", "scheduler"} <= given}
    assert not [n for n, given in COMMANDS_TAKE.items() if len({"executor", "scheduler"} & given) == 1]


def config_defaults() -> dict[str, dict[str, object]]:
    """The defaults that `fastvbow.config` gives, by class."""
    classes = [getattr(config, name) for name in config.__all__ if name.endswith(("Config", "Options"))]
    return {c.__name__: {f: getattr(c(), f) for f in c.__struct_fields__} for c in classes}


def test_functions_of_the_route_are_commands():
    assert {*COMMANDS, "estimate"} == set(pipeline.__all__)  # 'extract --dry-run'


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 400, "look for the seam"
    assert ast.get_docstring(tree), "a module says what it is for"
    for node in ast.walk(tree):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{where}: input is never checked by assert"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print" or path.name == "display.py", f"{where}: only the display prints"
            assert node.func.id not in {"eval", "exec"}, where
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            forbidden = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
            assert module.split(".")[0] not in forbidden, f"{where}: loading never executes code"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant), where
            assert node.value.value is False, where
    assert path.stem not in {"utils", "core", "helpers", "misc"}, "a room is named after what is done in it"
