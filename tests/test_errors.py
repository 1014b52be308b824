"""The tree of errors is the one that its docstring draws."""

import pickle
import re

import pytest

from fastvbow import errors

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


def test_all_errors_are_public():
    assert sorted([*(c.__name__ for c in CLASSES), "EXHAUSTED"]) == sorted(errors.__all__)


def test_one_base_catches_all():
    assert all(issubclass(c, errors.FastvbowError) for c in CLASSES)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_the_docstring_draws_the_tree(cls):
    (line,) = re.findall(rf"^ *[│├└─ ]*{cls.__name__}\b.*$", errors.__doc__, re.MULTILINE)
    for builtin in (ValueError, ImportError, RuntimeError, OSError):
        drawn = builtin.__name__ in line or (issubclass(cls, errors.ProjectError) and builtin is ValueError)
        assert drawn == issubclass(cls, builtin), line
    assert cls.__doc__


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_errors_come_back_from_other_processes(cls):
    first = cls("a purpose", "Package", "extra") if cls is errors.MissingExtraError else cls("one line")
    back = pickle.loads(pickle.dumps(first))
    assert type(back) is cls
    assert (str(back), vars(back)) == (str(first), vars(first))


def test_project_errors_are_one_family():
    assert issubclass(errors.StageMissingError, errors.ProjectError)
    assert issubclass(errors.StoreCorruptError, errors.ProjectError)
    assert not issubclass(errors.ImageError, errors.ProjectError)


def test_an_image_error_carries_its_reason():
    assert errors.ImageError("empty file").reason == str(errors.ImageError("empty file")) == "empty file"


def test_a_missing_extra_carries_the_pip_line():
    error = errors.MissingExtraError("the CNN", "ONNX Runtime", "cpu")
    assert str(error) == "the CNN needs ONNX Runtime, which is not installed: pip install 'fastvbow[cpu]'"
    assert error.extra == "cpu"


def test_an_image_error_crosses_a_process():
    back = pickle.loads(pickle.dumps(errors.ImageError("empty file")))
    assert (type(back), back.reason) == (errors.ImageError, "empty file")
