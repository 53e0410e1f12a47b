"""Rows of (text, label) to a classification dataset."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from embedtune.data.dataset import Dataset, labelled
from embedtune.data.problems import place
from embedtune.data.readers import Request
from embedtune.data.readers.values import as_id, as_labels, as_split, as_text
from embedtune.data.roles import Layout
from embedtune.errors import DataError

NEVER_IN_NAMES = (";", "|")
"""Marks that part labels in many files, and are hardly ever in the name of one."""

MARKS = (*NEVER_IN_NAMES, ",")
"""Marks that may part labels."""


class Labels:
    """Gathers labelled texts, row by row; a text that comes twice stays two items."""

    def __init__(self, asked: Request) -> None:
        self._problems, self._slices = asked.problems, asked.slices
        self._rows: list[tuple[str, str, str, int, list[str], str]] = []
        self._by_id: dict[str, int] = {}
        self._plain: dict[str, str] = {}  # labels that were written as a text, and where first

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
            label, column = cell("label")
            if isinstance(label, str) and labels == [label.strip()]:
                self._plain.setdefault(labels[0], f"{place(file, line)}, column {column!r}")
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

    def finish(self, roles: dict[str, str], source: str) -> Dataset:
        """Give the dataset.

        Raises
        ------
        DataError
            When there is no labelled text, or a label may be several.
        """
        if not self._rows:
            raise DataError(
                "there are no labelled texts", where=source, fix="add rows with a text and a label"
            )
        self._refuse_packed()
        return Dataset(
            "classification",
            self._slices.onto(labelled(self._rows)),
            roles=roles,
            source=source,
            problems=tuple(self._problems.found),
        )

    def _refuse_packed(self) -> None:
        """Refuse a text like ``a;b`` where ``a`` is a label elsewhere: one label or two, nobody can tell."""
        known = {label for row in self._rows for label in row[4]}
        packed = {
            label: (mark, [part.strip() for part in label.split(mark)])
            for label in self._plain
            for mark in MARKS
            if mark in label
        }
        times = Counter(part for _, parts in packed.values() for part in set(parts))
        for label, (mark, parts) in packed.items():
            alone = [part for part in parts if part in known]
            again = alone or [part for part in parts if part and times[part] > 1]
            if len(alone) == len(parts) or (mark in NEVER_IN_NAMES and again):
                which = "labels of their own" if len(alone) > 1 else "a label of its own"
                seen = " and ".join(repr(part) for part in dict.fromkeys(again))
                raise DataError(
                    f"{label!r} may be one label or {len(parts)}: {seen} "
                    + (f"{'are' if len(alone) > 1 else 'is'} {which}" if alone else "comes in others too"),
                    where=self._plain[label],
                    fix=f'write several as a list, {json.dumps(parts)}, and one without "{mark}"',
                )
