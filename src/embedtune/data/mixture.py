"""Several sources in one dataset, each with a weight: how much its judgements count in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa

from embedtune.data.dataset import Dataset, cells
from embedtune.data.mixed_histories import mix_histories
from embedtune.errors import DataError


def is_mixture(source: object) -> bool:
    """Say whether ``source`` is a sequence of (source, weight) pairs, at least one."""
    return (
        isinstance(source, Sequence)
        and not isinstance(source, str)
        and len(source) > 0
        and all(
            isinstance(one, tuple)
            and len(one) == 2
            and isinstance(one[1], Real)
            and not isinstance(one[1], bool)
            for one in source
        )
    )


def mix(sources: Sequence[tuple[Dataset, float]]) -> Dataset:
    """Put datasets of one task together.

    The weights become a column ``weight`` of the judgements (of the items, for classification), and
    :meth:`Dataset.weights` gives them by query. Grades stay as they are, so every metric is what it
    would be without weights: they say how much a source is trusted in training, not how relevant its
    documents are. Texts that are equal are one query, one document, whatever their ids; an id that
    names another text in an earlier source gets the number of its source. Splits of one name are one.
    Interactions and scored pairs all count alike; of interactions an id is the same item and the same user
    in all sources, see :func:`embedtune.data.mixed_histories.mix_histories`.

    Parameters
    ----------
    sources : sequence of (Dataset, float)
        Weights above 0.

    Raises
    ------
    DataError
        When tasks or kinds of content differ, a weight is not above 0 and finite, weights differ where all
        count alike, or an item's id has two texts.
    """
    first = sources[0][0]
    for dataset, weight in sources:
        if not (math.isfinite(weight) and weight > 0):
            fix = "give a number above 0, or leave the source out"
            raise DataError(f"the weight is {weight}", where=dataset.source, fix=fix)
        if (dataset.task, dataset.images) != (first.task, first.images):
            kinds = [f"{one.task}{' of images' if one.images else ''}" for one in (dataset, first)]
            raise DataError(
                f"this is {kinds[0]}, but {first.source} is {kinds[1]}",
                where=dataset.source,
                fix="tune one model for each",
            )
    if first.task in ("similarity", "recommendation") and len({weight for _, weight in sources}) > 1:
        what = "scored pairs" if first.task == "similarity" else "interactions"
        where, fix = first.source, "give all sources the same weight"
        raise DataError(f"{what} all count alike, and weights differ", where=where, fix=fix)
    whole = [(whole_paths(dataset), float(weight)) for dataset, weight in sources]
    roles: dict[str, str] = {}
    for number, (dataset, weight) in enumerate(sources, 1):
        roles[f"source {number}"] = f"{dataset.source}, weight {weight:g}"
        roles |= {role: columns for role, columns in dataset.roles.items() if role not in roles}
    mixed = replace(
        first,
        roles=roles,
        source=" + ".join(dataset.source for dataset, _ in sources),
        problems=tuple(problem for dataset, _ in sources for problem in dataset.problems),
        root="",
    )
    if first.task == "similarity":
        documents, pairs = _paired(whole)
        return replace(mixed, documents=documents, pairs=pairs)
    if first.task == "recommendation":
        documents, histories = mix_histories([dataset for dataset, _ in whole])
        return replace(mixed, documents=documents, interactions=histories)
    parts = [_classified(whole)] if first.task == "classification" else _judged(whole)
    documents, queries, qrels = parts if len(parts) == 3 else (parts[0], first.queries, first.qrels)
    return replace(mixed, documents=documents, queries=queries, qrels=qrels)


def whole_paths(dataset: Dataset) -> Dataset:
    """Give images their whole paths, for datasets that lie in different folders."""
    tables: dict[str, Any] = {}
    for kind, name in (("query", "queries"), ("document", "documents")):
        if kind in dataset.images:
            table: pa.Table = getattr(dataset, name)
            paths = pa.array(dataset.items("query" if kind == "query" else "document"), pa.string())
            tables[name] = table.set_column(table.column_names.index("text"), "text", paths)
    return replace(dataset, root="", **tables) if tables else dataset


def _weighted(table: pa.Table, weight: float) -> pa.Table:
    """Add a column of weights, or multiply the one that is there."""
    if "weight" in table.column_names:
        own = table["weight"].to_numpy() * np.float32(weight)
        return table.set_column(table.column_names.index("weight"), "weight", pa.array(own, pa.float32()))
    return table.append_column("weight", pa.array(np.full(len(table), weight, np.float32)))


def _paired(sources: Sequence[tuple[Dataset, float]]) -> tuple[pa.Table, pa.Table]:
    """Give the sentences and the scored pairs of all sources."""
    documents, pairs, taken, before = [], [], set[str](), 0
    for number, (dataset, _) in enumerate(sources, 1):
        documents.append(_renamed(dataset.documents, taken, number))
        taken |= set(cells(documents[-1], "id"))
        table = dataset.pairs
        for side in ("left", "right"):
            moved = pa.array(table[side].to_numpy() + before, pa.int32())
            table = table.set_column(table.column_names.index(side), table.schema.field(side), moved)
        pairs.append(table)
        before += len(dataset.documents)
    return pa.concat_tables(documents), pa.concat_tables(pairs, promote_options="default")


def _classified(sources: Sequence[tuple[Dataset, float]]) -> pa.Table:
    tables, taken = [], set[str]()
    for number, (dataset, weight) in enumerate(sources, 1):
        table = _renamed(dataset.documents, taken, number)
        taken |= set(cells(table, "id"))
        tables.append(_weighted(table, weight))
    return pa.concat_tables(tables)


def _judged(sources: Sequence[tuple[Dataset, float]]) -> list[pa.Table]:
    """Give documents, queries and judgements."""
    sides: dict[str, list[pa.Table]] = {"documents": [], "queries": []}
    places: dict[str, dict[str, int]] = {"documents": {}, "queries": {}}
    taken: dict[str, set[str]] = {"documents": set(), "queries": set()}
    judged = []
    for number, (dataset, weight) in enumerate(sources, 1):
        qrels = _weighted(dataset.qrels, weight)
        for side, column in (("documents", "document"), ("queries", "query")):
            table, place = getattr(dataset, side), places[side]
            texts = [text.strip() for text in table["text"].to_pylist()]
            before, new = sum(map(len, sides[side])), list[int]()
            rows = np.empty(len(texts), np.int64)
            for i, text in enumerate(texts):
                rows[i] = place.get(text, before)
                if rows[i] >= before:  # not of an earlier source; equal texts of one source stay apart
                    rows[i] = before + len(new)
                    new.append(i)
            for i in new:
                place.setdefault(texts[i], int(rows[i]))
            added = _renamed(table.take(pa.array(new, pa.int64())), taken[side], number)
            taken[side] |= set(cells(added, "id"))
            sides[side].append(added)
            moved = pa.array(rows[qrels[column].to_numpy()], pa.int32())
            qrels = qrels.set_column(qrels.column_names.index(column), qrels.schema.field(column), moved)
        judged.append(qrels)
    parts = (sides["documents"], sides["queries"], judged)
    return [pa.concat_tables(tables, promote_options="default") for tables in parts]


def _renamed(table: pa.Table, taken: set[str], number: int) -> pa.Table:
    ids: list[Any] = [f"{number}:{one}" if one in taken else one for one in table["id"].to_pylist()]
    return table.set_column(table.column_names.index("id"), "id", pa.array(ids, pa.string()))
