"""Rows of (sentence1, sentence2, score) to a similarity dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedtune.data.dataset import Dataset, scored_pairs
from embedtune.data.readers import Request
from embedtune.data.readers.items import Items
from embedtune.data.readers.values import as_score, as_split, as_text
from embedtune.data.roles import Layout
from embedtune.errors import DataError


class ScoredRows:
    """Gathers scored pairs, row by row.

    Equal sentences become one document. A pair that comes again in the same split with the same
    score, either way round, is kept once; with another score it stays, as another opinion.
    """

    def __init__(self, asked: Request) -> None:
        self._problems, self._slices = asked.problems, asked.slices
        self._documents = Items("sentence", "d", asked.problems)
        self._pairs: dict[tuple[int, int, float, str], tuple[int, int, str, int]] = {}

    def add(self, row: Mapping[str, Any], layout: Layout, split: str, file: str, line: int) -> None:
        """Take one row; a row without one of its sentences is reported, a score must be a number."""
        cell = layout.cells(row)
        if layout.one("split"):
            split = as_split(*cell("split"), file, line)
        texts = {role: as_text(*cell(role), file, line) for role in ("sentence1", "sentence2")}
        score = as_score(*cell("score"), file, line, says="the more alike, the higher")
        for role, text in texts.items():
            if not text.strip():
                what = f"{role} (column {layout.one(role)!r}) is empty"
                fix = "fill it in, or remove the row"
                self._problems.add("empty-texts", what, file=file, line=line, fix=fix)
                return
        left, right = (self._documents.add(text, file, line) for text in texts.values())
        if left is not None and right is not None:
            key = (min(left, right), max(left, right), score, split)
            self._pairs.setdefault(key, (left, right, file, line))
            self._slices.take(key, row, file, line)

    def finish(self, roles: dict[str, str], source: str) -> Dataset:
        """Give the dataset.

        Raises
        ------
        DataError
            When there is no pair.
        """
        if not self._pairs:
            raise DataError(
                "there are no scored pairs", where=source, fix="add rows with two sentences and a score"
            )
        rows = [
            (left, right, score, split, file, line)
            for (_, _, score, split), (left, right, file, line) in self._pairs.items()
        ]
        return Dataset(
            "similarity",
            self._documents.table(),
            pairs=self._slices.onto(scored_pairs(rows), self._pairs),
            roles=roles,
            source=source,
            problems=tuple(self._problems.found),
        )
