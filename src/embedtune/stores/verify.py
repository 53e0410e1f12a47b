"""Whether a new version is what it should be, before anybody sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from embedtune.data.dataset import Dataset
from embedtune.data.duplicates import near_duplicates
from embedtune.errors import StoreError
from embedtune.stores.base import LIVE, Batch, Id, Store, in_order
from embedtune.stores.best import Best, K
from embedtune.stores.inside import METRIC, TIED, Inside, judge
from embedtune.stores.mapping import DocumentMap
from embedtune.stores.opening import Applicable
from embedtune.transforms.blocks import unit_length
from embedtune.transforms.bridge import Bridge
from embedtune.types import Similarity, Vectors

SAMPLE = 1000
"""Rows whose vectors are compared with the map applied here."""

QUERIES = 100
"""Stored rows that are searched for where there are no labelled queries."""

EXACT_QUERIES = 10
"""The same where there is no index: each search reads every row, and misses none."""

LABELLED = 500
"""Labelled queries that are searched for, at most."""

RECALL = 0.98
"""What the index must find of the exact ten best."""

EFFORTS = (None, 80, 160, 320, 640)
"""Candidates that the index looks at: its own setting first, then more."""


@dataclass(frozen=True)
class Verified:
    """What was found out about a version."""

    rows: int
    sample: int
    checksum: str
    """sha256 of the sample's ids and vectors, little-endian float32, the same in the store and here."""
    recall: float
    """Share of the exact ten best that the store finds; NaN where it cannot be searched before the switch."""
    effort: int | None = None
    """What the index's search has to be set to for that recall; None for the store's own setting."""
    metric: dict[str, float] = field(default_factory=dict)
    """nDCG@10 of the labelled ``queries``: ``base`` before, ``offline`` with the map here, ``store`` inside;
    ``difference`` of the last two with its 95 % interval, ``difference_low`` to ``difference_high``."""


@dataclass(frozen=True)
class Asked:
    """Queries, before and after the map, and what they should find."""

    base: Vectors | None
    """None where the model that came before cannot encode them."""
    tuned: Vectors
    relevant: list[dict[str, float]]
    """Grades by document id; empty where nothing is known."""
    groups: NDArray[np.int64] | None = None
    """Near-duplicate queries share a number, (n,)."""

    @classmethod
    def labelled(cls, dataset: Dataset, applied: Applicable, seed: int) -> Asked:
        """Encode labelled queries of retrieval: those of the test split where there is one."""
        splits = ["test"] if "test" in dataset.splits else list(dataset.splits)
        rows = dataset.query_rows(splits)
        if len(rows) > LABELLED:
            rows = np.sort(np.random.default_rng(seed).choice(rows, LABELLED, replace=False))
        base, tuned = applied.queries(dataset, rows)
        grades = dataset.relevance(splits)[rows]
        names = dataset.document_ids
        relevant = [
            {names[column]: float(grade) for column, grade in zip(row.indices, row.data, strict=True)}
            for row in grades
        ]
        contents = dataset.contents("query")
        return cls(base, tuned, relevant, near_duplicates([contents[row] for row in rows]))


def verify(
    store: Store,
    version: str,
    mapped: DocumentMap,
    *,
    asked: Asked | None,
    indexed: bool,
    similarity: Similarity,
    batch: int,
    seed: int,
    catch_up: Callable[[], int],
    tell: Callable[[int], None],
) -> Verified:
    """Compare a new version with the live one and the map.

    Raises
    ------
    StoreError
        When rows are missing, a vector is not what the map gives, the index finds too little, or the labelled
        queries find less than they should.
    """
    rows = _count(store, version, catch_up)
    if asked is None:
        asked = _stored_queries(store, mapped, similarity, batch, QUERIES if indexed else EXACT_QUERIES)
    sample, before, exact = _one_pass(store, mapped, asked, batch, seed, tell)
    checksum = _compare(store, version, mapped, sample) if store.readable else ""
    if not store.searchable:
        return Verified(rows, len(sample.ids) if checksum else 0, checksum, float("nan"))
    recall, effort, inside = _searched(store, version, asked, before, exact, similarity, seed)
    metric = inside.metric() if inside else {}
    return Verified(rows, len(sample.ids) if checksum else 0, checksum, recall, effort, metric)


def _searched(
    store: Store,
    version: str,
    asked: Asked,
    before: Best | None,
    exact: Best,
    similarity: Similarity,
    seed: int,
) -> tuple[float, int | None, Inside | None]:
    """Search as wide as it takes to find what the map makes queries find; give recall, effort and metric."""
    recall, inside = 0.0, None
    for effort in EFFORTS:
        found = store.search(asked.tuned, K, similarity, version, effort)
        pairs = _scored(store, version, asked.tuned, exact, found)
        recall = _recall(exact, found, pairs)
        if recall < RECALL:
            continue
        if not asked.relevant:
            return recall, effort, None
        names = None if before is None else before.names
        inside = judge(found, pairs, names, asked.relevant, groups=asked.groups, seed=seed)
        if inside.within_noise:
            break
    if inside is None:
        _failed(store, f"the new index finds only {recall:.3f} of the exact {K} best (at least {RECALL})")
    if not inside.within_noise:
        _failed(
            store,
            f"{METRIC} inside the store is {inside.store:.4f}, and {inside.offline:.4f} with the map here: a "
            f"difference of {inside.told()}, which is not noise",
        )
    if inside.worse:
        _failed(store, f"{METRIC} inside the store would fall from {inside.base:.4f} to {inside.store:.4f}")
    return recall, effort, inside


def _count(store: Store, version: str, catch_up: Callable[[], int]) -> int:
    """Count the new version's rows, and the live one's, while others may be writing."""
    live = rows = 0
    for _ in range(5):
        live = store.count(LIVE)
        catch_up()
        rows = store.count(version)
        if rows >= live or rows == store.count(LIVE):
            return rows
    return _failed(store, f"it has {rows:,} rows, and the old one {live:,}")


def _failed(store: Store, what: str) -> NoReturn:
    raise StoreError(
        f"the new version did not pass: {what}",
        where=store.url,
        fix="nothing was switched; the old one serves",
    )


def _stored_queries(
    store: Store, mapped: DocumentMap, similarity: Similarity, batch: int, count: int
) -> Asked:
    """Take a few of the first rows as queries, where there are none with labels."""
    with closing(store.scan(batch)) as rows:
        first = next(rows)
    chosen = np.unique(np.linspace(0, len(first.ids) - 1, count).astype(int))
    vectors = np.array(first.vectors[chosen])
    if similarity == "cosine":
        vectors = unit_length(vectors)
    if isinstance(mapped.transform, Bridge):  # to search for a row is to search for what it was mapped to
        return Asked(vectors, mapped([first.ids[row] for row in chosen.tolist()], vectors), [])
    return Asked(vectors, mapped.transform.queries(vectors), [])


def _one_pass(
    store: Store, mapped: DocumentMap, asked: Asked, batch: int, seed: int, tell: Callable[[int], None]
) -> tuple[Batch, Best | None, Best]:
    """Draw rows evenly, and search exactly: the live version, and the same with the map applied here."""
    sample = RowSample(store.dimension, seed)
    before = Best(asked.base) if asked.relevant and asked.base is not None else None
    after, seen = Best(asked.tuned), 0
    for rows in store.scan(batch):
        sample.add(rows)
        if before is not None:
            before.add(rows.ids, rows.vectors)
        after.add(rows.ids, mapped(rows.ids, rows.vectors))
        seen += len(rows.ids)
        tell(seen)
    return sample.rows(), before, after


class RowSample:
    """Rows drawn evenly while they go by: Vitter's Algorithm R (1985)."""

    def __init__(self, dimension: int, seed: int) -> None:
        self._rng, self._seen = np.random.default_rng(seed), 0
        self._ids: list[Id] = []
        self._vectors = np.empty((SAMPLE, dimension), np.float32)

    def add(self, rows: Batch) -> None:
        """Let rows go by."""
        order = np.arange(self._seen, self._seen + len(rows.ids))
        places = np.where(order < SAMPLE, order, self._rng.integers(0, order + 1))
        for i in np.flatnonzero(places < SAMPLE):
            self._vectors[places[i]] = rows.vectors[i]
            self._ids[places[i] : places[i] + 1] = [rows.ids[i]]
        self._seen += len(rows.ids)

    def rows(self) -> Batch:
        """Give what was drawn."""
        return Batch(self._ids, self._vectors[: len(self._ids)])


def _compare(store: Store, version: str, mapped: DocumentMap, sample: Batch) -> str:
    """Give the checksum of a sample, if it is the same in the store and here; changed rows are left out."""
    now = store.fetch(sample.ids)
    places, rows = in_order(now, sample.ids)
    same = (now.vectors[rows] == sample.vectors[places]).all(axis=1)
    names = [sample.ids[place] for place in places[same]]
    expected = mapped(names, sample.vectors[places[same]])
    found = store.fetch(names, version)
    at, rows = in_order(found, names)
    if len(at) < len(names):
        _failed(store, f"{len(names) - len(at)} of {len(names)} sampled rows are not there")
    stored = found.vectors[rows]
    right = agree(store, expected, stored)
    if not right.all():
        first = names[int(np.flatnonzero(~right)[0])]
        _failed(
            store,
            f"{(~right).sum()} of {len(names)} sampled rows are not what the map gives, {first!r} first",
        )
    digest = hashlib.sha256("\n".join(map(str, names)).encode())
    digest.update(stored.astype("<f4").tobytes())
    return digest.hexdigest()


def agree(store: Store, made: Vectors, stored: Vectors) -> NDArray[np.bool_]:
    """Say which rows are the same, to the bit, or within what the store does to them."""
    if made.shape != stored.shape:
        return np.zeros(len(made), bool)
    if not store.tolerance:
        return np.asarray((made.view(np.uint32) == stored.view(np.uint32)).all(axis=1))
    length = np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
    return np.asarray((np.abs(made - stored) <= store.tolerance * length).all(axis=1))


def _scored(
    store: Store, version: str, queries: Vectors, exact: Best, found: list[list[Id]]
) -> list[list[tuple[Id, float]]]:
    """Give the exact best of each query with their scores, and what else was found for it."""
    strange = {
        str(n): n for names, wanted in zip(found, exact.names, strict=True) for n in set(names) - set(wanted)
    }
    extra = store.fetch(list(strange.values()), version) if strange else None
    vectors: dict[str, Any] = (
        {} if extra is None else dict(zip(map(str, extra.ids), extra.vectors, strict=True))
    )
    pairs = []
    for query, names, wanted, scores in zip(queries, found, exact.names, exact.scores, strict=True):
        known = set(wanted)
        others = [name for name in names if name not in known and str(name) in vectors]
        more = [(name, float(query @ vectors[str(name)])) for name in others]
        pairs.append([*zip(wanted, scores.tolist(), strict=False), *more])
    return pairs


def _recall(exact: Best, found: list[list[Id]], pairs: list[list[tuple[Id, float]]]) -> float:
    """Give the share of the exact best that was found; what scores as high as the last of them counts too."""
    hits = wanted_all = 0
    for names, wanted, scored in zip(found, exact.names, pairs, strict=True):
        last = scored[len(wanted) - 1][1] if wanted else 0.0
        good = {name for name, score in scored if score >= last - TIED}
        hits += sum(name in good for name in names)
        wanted_all += len(wanted)
    return min(1.0, hits / max(wanted_all, 1))
