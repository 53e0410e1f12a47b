"""Click logs: rows of (query, document, position, clicks, impressions) to graded judgements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embedtune.data.click_model import position_based
from embedtune.data.dataset import Dataset, judgements
from embedtune.data.readers import Request
from embedtune.data.readers.items import Items
from embedtune.data.readers.values import as_id, as_score, as_split, as_text, wrong
from embedtune.data.roles import Layout
from embedtune.errors import DataError

ENOUGH_LOOKS = 5.0
"""Looks from which a pair that was never clicked counts as not relevant; below, it is not judged."""

SMALL_SHARE = 0.1
"""A pair below this share of its query's most attractive document is not relevant: clicks by mistake."""


class Clicks:
    """Gathers counts of clicks, and judges each pair of query and document by its attraction.

    The grade is the chance that the document is clicked when it is looked at, above 0 to 1, with the
    effect of the position taken out (:mod:`embedtune.data.click_model`); without a column of positions
    it is the share of clicks. Rows of one pair and position add up, so a log with a row for every
    impression does as well: ``impressions`` is then 1, or left out.
    """

    def __init__(self, asked: Request) -> None:
        self._problems, self._slices = asked.problems, asked.slices
        self._queries = Items("query", "q", asked.problems)
        self._documents = Items("document", "d", asked.problems)
        self._pairs: dict[tuple[int, int, str], int] = {}
        self._places: list[tuple[str, int]] = []
        self._positions: dict[int, int] = {}
        self._counts: dict[tuple[int, int], list[float]] = {}

    def add(self, row: Mapping[str, Any], layout: Layout, split: str, file: str, line: int) -> None:
        """Take one row; a row without query or document is reported."""
        cell = layout.cells(row)
        if layout.one("split"):
            split = as_split(*cell("split"), file, line)
        texts = [as_text(*cell(role), file, line) for role in ("query", "positive")]
        if not all(text.strip() for text in texts):
            role = "positive" if texts[0].strip() else "query"
            self._problems.add(
                "empty-texts",
                f"the {'document' if role == 'positive' else 'query'} (column {layout.one(role)!r}) is empty",
                file=file,
                line=line,
                fix="fill it in, or remove the row",
            )
            return
        clicks = as_score(*cell("clicks"), file, line)
        impressions = as_score(*cell("impressions"), file, line) if layout.one("impressions") else 1.0
        position = as_score(*cell("position"), file, line) if layout.one("position") else 1.0
        if clicks < 0 or clicks > impressions:
            what = f"{clicks:g} clicks on {impressions:g} impressions"
            raise wrong(what, cell("clicks")[1], file, line, "give from 0 clicks to as many as impressions")
        if position < 0 or not position.is_integer():
            what = f"{position:g} is no position"
            raise wrong(what, cell("position")[1], file, line, "give a whole number; the first is 1 (or 0)")
        ids = [
            as_id(*cell(role), file, line) if layout.one(role) else None
            for role in ("query_id", "document_id")
        ]
        query = self._queries.add(texts[0], file, line, ids[0])
        document = self._documents.add(texts[1], file, line, ids[1])
        if query is None or document is None:
            return
        self._slices.take(query, row, file, line)
        pair = self._pairs.setdefault((query, document, split), len(self._pairs))
        if pair == len(self._places):
            self._places.append((file, line))
        at = self._positions.setdefault(int(position), len(self._positions))
        count = self._counts.setdefault((pair, at), [0.0, 0.0])
        count[0] += clicks
        count[1] += impressions

    def finish(self, roles: dict[str, str], source: str) -> Dataset:
        """Give the dataset.

        Raises
        ------
        DataError
            When nothing was clicked.
        """
        where = np.array(list(self._counts), np.int64).reshape(-1, 2)
        counts = np.array(list(self._counts.values())).reshape(-1, 2)
        if not counts[:, 0].any():
            raise DataError("nothing was clicked", where=source, fix="give rows with clicks above 0")
        model = position_based(where[:, 0], where[:, 1], counts[:, 0], counts[:, 1])
        clicked = np.bincount(where[:, 0], counts[:, 0], minlength=len(self._pairs)) > 0
        best: dict[tuple[int, str], float] = {}
        for (query, _, split), pair in self._pairs.items():
            if clicked[pair]:
                best[query, split] = max(best.get((query, split), 0.0), float(model.attraction[pair]))
        rows = []
        for (query, document, split), pair in self._pairs.items():
            grade = float(model.attraction[pair])
            if (query, split) not in best or (not clicked[pair] and model.looks[pair] < ENOUGH_LOOKS):
                continue  # a query without clicks says nothing, and neither does a document hardly seen
            relevant = clicked[pair] and grade >= SMALL_SHARE * best[query, split]
            rows.append((query, document, grade if relevant else 0.0, split, *self._places[pair]))
        names = {at: place for place, at in self._positions.items()}
        seen = [
            f"{names[at]}: {model.examination[at]:.2f}" for at in sorted(names, key=names.__getitem__)[:10]
        ]
        corrected = {"examination of positions": ", ".join(seen)} if len(names) > 1 else {}
        return Dataset(
            "retrieval",
            self._documents.table(),
            self._slices.onto(self._queries.table()),
            judgements(rows),
            roles=roles | corrected,
            source=source,
            problems=tuple(self._problems.found),
        )
