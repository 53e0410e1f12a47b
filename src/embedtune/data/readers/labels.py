"""Rows of (text, label) to a classification dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedtune.data.dataset import Dataset, labelled
from embedtune.data.readers import Request
from embedtune.data.readers.values import as_id, as_labels, as_split, as_text
from embedtune.data.roles import Layout
from embedtune.errors import DataError

SEPARATORS = (";", "|", ",")
"""What several labels in one cell are parted by, where they are not a list."""


class Labels:
    """Gathers labelled texts, row by row; a text that comes twice stays two items."""

    def __init__(self, asked: Request) -> None:
        self._problems, self._slices = asked.problems, asked.slices
        self._rows: list[tuple[str, str, str, int, list[str], str]] = []
        self._by_id: dict[str, int] = {}

    def add(self, row: Mapping[str, Any], layout: Layout, split: str, file: str, line: int) -> None:
        """Take one row; a row without text or label is reported."""
        cell = layout.cells(row)
        if layout.one("split"):
            split = as_split(*cell("split"), file, line)
        text, labels = as_text(*cell("text"), file, line), as_labels(*cell("label"), file, line)
        id = as_id(*cell("id"), file, line) if layout.one("id") else f"d{len(self._rows)}"
        if not text.strip() or labels is None:
            code, role = ("no-label", "label") if text.strip() else ("empty-texts", "text")
            what, fix = f"the {role} (column {layout.one(role)!r}) is empty", "fill it in, or remove the row"
            self._problems.add(code, what, file=file, line=line, fix=fix, text=text)
        elif self._is_new(id, text, labels, file, line):
            self._by_id[id] = len(self._rows)
            self._slices.take(len(self._rows), row, file, line)
            self._rows.append((id, text, file, line, labels, split))

    def _is_new(self, id: str, text: str, labels: list[str], file: str, line: int) -> bool:
        """Say whether the id is new; one that has another content already is reported."""
        if id not in self._by_id:
            return True
        _, first_text, first_file, first_line, first_labels, _ = self._rows[self._by_id[id]]
        if (first_text, first_labels) != (text, labels):
            what = f"id {id!r} has another content at {first_file}:{first_line}"
            fix = "give every row its own id, or remove one of the two"
            self._problems.add("duplicate-ids", what, file=file, line=line, fix=fix, text=text)
        return False

    def _report_joined(self) -> None:
        """Report labels such as 'a;b' where 'a' and 'b' are labels too."""
        known = {label for row in self._rows for label in row[4]}
        joined = {
            label
            for label in known
            for mark in SEPARATORS
            if mark in label and {part.strip() for part in label.split(mark)} <= known
        }
        for _, text, file, line, labels, _ in self._rows if joined else ():
            for label in joined.intersection(labels):
                what = f"the label {label!r} is made of others: one class, or several?"
                fix = 'write several labels as a JSON list, ["a", "b"], or give the class another name'
                self._problems.add("ambiguous-labels", what, file=file, line=line, fix=fix, text=text)

    def finish(self, roles: dict[str, str], source: str) -> Dataset:
        """Give the dataset.

        Raises
        ------
        DataError
            When there is no labelled text.
        """
        if not self._rows:
            raise DataError(
                "there are no labelled texts", where=source, fix="add rows with a text and a label"
            )
        self._report_joined()
        return Dataset(
            "classification",
            self._slices.onto(labelled(self._rows)),
            roles=roles,
            source=source,
            problems=tuple(self._problems.found),
        )
