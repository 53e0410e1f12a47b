"""Exceptions: one line that says what, where and how to mend it."""

from __future__ import annotations

import pytest

from embedtune import errors
from embedtune.errors import DataError, DiskFull, EmbedtuneError, MissingExtra, UserError


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "it is wrong"),
        ({"where": "a.csv:3"}, "a.csv:3: it is wrong"),
        ({"fix": "mend it"}, "it is wrong; mend it"),
        ({"where": "a.csv:3", "fix": "mend it"}, "a.csv:3: it is wrong; mend it"),
    ],
)
def test_what_where_and_fix(given: dict[str, str], line: str) -> None:
    error = DataError("it is wrong", **given)
    assert str(error) == line
    assert (error.what, error.where, error.fix) == ("it is wrong", given.get("where"), given.get("fix"))


@pytest.mark.parametrize(
    "name", ["DataError", "VectorError", "ModelNotFound", "ArtifactError", "OutputExists"]
)
def test_mistakes_of_the_user_are_value_errors(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, UserError)
    assert issubclass(kind, ValueError)
    assert issubclass(kind, EmbedtuneError)


def test_the_others_are_what_python_calls_them() -> None:
    assert issubclass(MissingExtra, ImportError)
    assert issubclass(DiskFull, OSError)
    assert issubclass(DiskFull, EmbedtuneError)
    assert not issubclass(DiskFull, UserError)
