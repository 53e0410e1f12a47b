"""The flow of a migration on one page: sample, fit, judge, advise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.collect.encode import encode, items_of
from embedtune.data import read
from embedtune.data.dataset import Dataset
from embedtune.encoders import load_encoder
from embedtune.errors import DataError, UserError
from embedtune.migration.advice import Advised, advise, order
from embedtune.migration.choose import choose, cosines, gather
from embedtune.migration.quality import Kept, Quality, judge, ratio
from embedtune.models import open_model
from embedtune.transforms import Identity
from embedtune.transforms.bridge import Bridge
from embedtune.types import Encoder, Vectors

LEAST = 50
"""Documents below which there is nothing to learn a map from: re-embed them."""

QUERIES = 4000
"""Labelled queries that are judged, at most."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Migration:
    """The map from stored vectors to a new model's space, and what it is worth."""

    bridge: Bridge
    old: Mapping[str, Any]
    """Name, fingerprint, dimension and similarity of the model of the stored vectors."""
    new: Mapping[str, Any]
    """The same of the new one, and whether it is a tuned one."""
    method: str
    neighbours: Kept
    """Share of a document's ten nearest that is kept, among the sampled documents."""
    quality: Quality | None
    """None without labelled queries."""
    advised: Advised
    curve: tuple[tuple[int, float], ...]
    """(documents learned from, mean cosine of mapped and new vectors of others)."""
    tried: Mapping[str, float]
    """Share of neighbours kept, by map."""
    sampled: int
    """Documents encoded anew to learn from."""
    documents: int
    order: NDArray[np.int64]
    """Rows of the documents, the first to be re-embedded first; those of the sample are not in it."""
    expected: NDArray[np.float64]
    """Expected error of each document, 1 minus cosine, (N,)."""
    document_ids: list[str] = field(repr=False)
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Measured: ``a_document`` to encode anew, ``map`` of all documents."""
    kept: Kept | None = None
    """Share of full re-embedding's metric; None without labelled queries."""
    cost: Mapping[str, Any] | None = None
    """Of a new model behind an API: ``bridge`` and ``re_embed``, estimated, in ``currency``."""

    def to_dict(self) -> dict[str, Any]:
        """Give the report as JSON-able data."""
        quality = self.quality
        a_document = self.seconds["a_document"]
        return {
            "old": dict(self.old),
            "new": dict(self.new),
            "advice": self.advised.advice,
            "reasons": list(self.advised.reasons),
            "method": self.method,
            "tried": dict(self.tried),
            "documents": self.documents,
            "sampled": self.sampled,
            "encoded_to_judge": 0 if quality is None else quality.encoded,
            "curve": [list(point) for point in self.curve],
            "neighbours_kept": self.neighbours.to_dict(),
            "quality_kept": None if self.kept is None else self.kept.to_dict(),
            "metric": None if quality is None else quality.metric,
            "bridged": None if quality is None else float(quality.bridged.mean()),
            "re_embedded": None if quality is None else float(quality.full.mean()),
            "today": None if quality is None or quality.today is None else float(quality.today.mean()),
            "seconds": {
                "bridge": round(self.seconds["map"], 3),
                "re_embed": round(a_document * self.documents, 1),
            },
            "cost": None if self.cost is None else dict(self.cost),
        }


def migrate(
    *,
    old: str | Path | Encoder | Mapping[str, Any],
    new: Any,
    data: Any,
    sample: int | None = None,
    traffic: Mapping[str, float] | None = None,
    metric: str = "ndcg@10",
    seed: int = 0,
    progress: Progress | None = None,
) -> Migration:
    """Learn a map from stored vectors to another model's space, and say whether to use it.

    Parameters
    ----------
    old : str, pathlib.Path, Encoder or mapping
        The model that the stored vectors come from, or the vectors themselves (``"vectors:FOLDER"``, a
        store's URL): whatever :func:`embedtune.encoders.load_encoder` or
        :func:`embedtune.stores.open_store` takes.
    new : str, pathlib.Path, Encoder or Tuned
        The model to move to; a tuned one is moved to with its map.
    data : path, DataFrame, Dataset, ...
        The documents' texts and, to judge by, queries with judgements: what
        :func:`embedtune.data.read` reads. Labels train nothing here.
    sample : int, optional
        Documents to encode anew; by default as many as the learning curve asks for.
    traffic : mapping of id to number, optional
        How often each document is asked for; the order of re-embedding goes by it.
    metric : str
        What is judged on labelled queries.
    seed : int
        Seed of the sample, the folds and the intervals.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    Migration

    Raises
    ------
    UserError
        When there are too few documents, or both models are the same.
    DataError
        When a document has no stored vector.
    StoreError
        When the store cannot be read.
    """
    dataset = read(data)
    before, after = _opened(old, progress), open_model(new)
    if before.fingerprint == after.encoder.fingerprint:
        raise UserError("the old and the new model are the same", fix="name the model to move to")
    if len(dataset.documents) < LEAST:
        raise UserError(
            f"{len(dataset.documents)} documents are too few to learn a map from", fix="encode them anew"
        )
    normalise = after.similarity == "cosine"
    every = np.arange(len(dataset.documents))
    stored = encode(before, items_of(dataset, before, "document", every), "document", progress)
    texts = items_of(dataset, after.encoder, "document", every)
    ids = dataset.document_ids
    estimate = getattr(after.encoder, "cost", lambda _: None)(texts)
    spent = [0.0, 0]

    def encode_new(rows: NDArray[np.int64]) -> Vectors:
        start = time.perf_counter()
        if progress and hasattr(after.encoder, "progress"):
            after.encoder.progress = lambda done, total: progress("encode a sample", done, total)
        found = after.encode_documents([texts[row] for row in rows], [ids[row] for row in rows])
        spent[0] += time.perf_counter() - start
        spent[1] += len(rows)
        return found

    drawn = gather(stored, encode_new, asked=sample, normalise=normalise, seed=seed)
    chosen = choose(np.asarray(stored[drawn.rows], np.float32), drawn.new, normalise=normalise, seed=seed)
    start = time.perf_counter()
    mapped = chosen.bridge.documents(np.asarray(stored, np.float32))
    seconds = {"a_document": spent[0] / max(spent[1], 1), "map": time.perf_counter() - start}
    sampled = (drawn.rows, drawn.new)
    quality = (
        _judged(dataset, before, after, stored, mapped, sampled, encode_new, metric, seed)
        if len(dataset.qrels)
        else None
    )
    neighbours = ratio(chosen.neighbours, np.ones(len(chosen.neighbours)), seed)
    error = 1 - cosines(chosen.held_out, drawn.new)
    weight = np.array([(traffic or {}).get(name, 0.0 if traffic else 1.0) for name in ids])
    rows, expected = order(stored, drawn.rows, error, weight)
    return Migration(
        chosen.bridge,
        _described(before),
        {
            **_described(after.encoder),
            "dimension": drawn.new.shape[1],
            "tuned": not isinstance(after.transform, Identity),
        },
        chosen.name,
        neighbours,
        quality,
        advise(neighbours, quality, seed=seed),
        drawn.curve,
        chosen.tried,
        len(drawn.rows),
        len(every),
        rows[~np.isin(rows, drawn.rows)],
        expected,
        ids,
        seconds,
        None if quality is None else quality.kept(seed),
        _cost(estimate, spent[1], len(every)),
    )


def _opened(old: Any, progress: Progress | None) -> Encoder:
    """Open the old model, or its vectors where they lie."""
    if isinstance(old, str) and "://" in old:
        from embedtune.stores.stored import stored_vectors

        return stored_vectors(old, progress=progress)
    return load_encoder(old)


def _cost(estimate: Any, encoded: float, documents: int) -> dict[str, Any] | None:
    """Give what the documents of the bridge cost, and all of them; None where no price is known."""
    if estimate is None or estimate.cost is None:
        return None
    return {
        "bridge": estimate.cost * encoded / documents,
        "re_embed": estimate.cost,
        "currency": estimate.price.currency,
        "price": str(estimate.price),
    }


def _judged(
    dataset: Dataset,
    before: Encoder,
    after: Any,
    stored: Vectors,
    mapped: Vectors,
    sampled: tuple[NDArray[np.int64], Vectors],
    encode_new: Callable[[NDArray[np.int64]], Vectors],
    metric: str,
    seed: int,
) -> Quality:
    rows = dataset.query_rows(dataset.splits)
    if len(rows) > QUERIES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, QUERIES, replace=False))
    queries = after.encode_queries(items_of(dataset, after.encoder, "query", rows))
    try:
        asked = encode(before, items_of(dataset, before, "query", rows), "query", None)
        today = (asked, np.asarray(stored, np.float32))
    except DataError:  # stored vectors of documents alone
        today = None
    return judge(
        queries=queries,
        relevance=dataset.relevance(dataset.splits)[rows],
        mapped=mapped,
        sampled=sampled,
        encode=encode_new,
        today=today,
        metric=metric,
    )


def _described(encoder: Encoder) -> dict[str, Any]:
    return {
        "name": encoder.name,
        "fingerprint": encoder.fingerprint,
        "content": encoder.content,
        "dimension": encoder.dimension,
        "similarity": encoder.similarity,
    }
