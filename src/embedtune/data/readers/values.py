"""Cells to texts, ids, scores and labels; a cell of the wrong kind is named with its place."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from embedtune.data.problems import place
from embedtune.errors import DataError

_SPLITS = {"training": "train", "validation": "dev", "valid": "dev", "val": "dev", "development": "dev"}
_SPLITS |= {"testing": "test"}


def wrong(what: str, column: str, file: str, line: int, fix: str) -> DataError:
    """Build the error of one cell."""
    return DataError(what, where=f"{place(file, line)}, column {column!r}", fix=fix)


def as_text(value: Any, column: str, file: str, line: int) -> str:
    """Give a cell's text; an empty cell is the empty text.

    Raises
    ------
    DataError
        When the cell holds something else, or characters that UTF-8 cannot write.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        kind = type(value).__name__
        raise wrong(
            f"{value!r} is of type {kind}, not text", column, file, line, "write it as a string in quotes"
        )
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise wrong(
                "half a surrogate pair, which is no character",
                column,
                file,
                line,
                "write the text anew as UTF-8",
            ) from None
    return str(value)


def as_texts(value: Any, column: str, file: str, line: int) -> list[str]:
    """Give a cell's texts: one for a string, several for a list, none for an empty cell."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_text(text, column, file, line) for text in value]
    text = as_text(value, column, file, line)
    return [text] if text.strip() else []


def as_id(value: Any, column: str, file: str, line: int) -> str:
    """Give a cell's id as a string; whole numbers are written without a fraction.

    Raises
    ------
    DataError
        When there is none, or it is neither a string nor a whole number.
    """
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
        return str(int(value))
    seen = "the id is empty" if value is None or value == "" else f"{value!r} is no id"
    raise wrong(seen, column, file, line, "give every row an id, a string or a whole number")


def as_score(value: Any, column: str, file: str, line: int, *, says: str = "above 0 is relevant") -> float:
    """Give a cell's score; ``says`` tells in messages what scores stand for.

    Raises
    ------
    DataError
        When it is not a finite number.
    """
    try:
        score = float(value)
    except (TypeError, ValueError):
        raise wrong(
            f"{value!r} is not a number",
            column,
            file,
            line,
            f"write the score as a number: {says}",
        ) from None
    if not math.isfinite(score):
        raise wrong(f"the score is {score}", column, file, line, f"write a finite number: {says}")
    return score


def as_split(value: Any, column: str, file: str, line: int) -> str:
    """Give a cell's split; validation, valid and val are dev.

    Raises
    ------
    DataError
        When there is none.
    """
    name = as_text(value, column, file, line).strip()
    if not name:
        raise wrong("the split is empty", column, file, line, "write train, dev or test")
    return split_name(name)


def split_name(name: str) -> str:
    """Give the name of a split as it is used here: train, dev, test, or the user's own."""
    return _SPLITS.get(name.lower(), name.lower() if name.lower() in ("train", "dev", "test") else name)


def as_labels(value: Any, column: str, file: str, line: int) -> list[str] | None:
    """Give a cell's labels, each once, in order; None for an empty cell, [] for 'none applies'.

    A text that is a JSON list of strings counts as a list, so that CSV can hold several labels.
    """
    if isinstance(value, str) and value.startswith("["):
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = None
        if isinstance(parsed, list) and all(isinstance(label, str) for label in parsed):
            value = parsed
        elif value[1:].lstrip().startswith(("'", '"')):
            what, fix = f"{value!r} is no JSON list of labels", 'write several labels as ["a", "b"]'
            raise wrong(what, column, file, line, fix)
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    labels = [_label(label, column, file, line) for label in several]
    if value is not several and labels == [""]:
        return None
    if "" in labels:
        raise wrong("one of the labels is empty", column, file, line, "remove it from the list")
    return list(dict.fromkeys(labels))


def _label(value: Any, column: str, file: str, line: int) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(int(value)) if float(value).is_integer() else str(value)
    return as_text(value, column, file, line).strip()
