"""Dataset and encoder to labelled vectors: which labels train, which judge, and what they search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.data.dataset import Dataset
from embedtune.data.duplicates import near_duplicates
from embedtune.data.splits import seen
from embedtune.errors import DataError, UserError
from embedtune.judging.labelled import Labelled
from embedtune.types import Encoder, Kind, Vectors

HELD_OUT = "test"
"""The split that is never trained on, whichever judges."""

DEV = "dev"
"""The split that trains too, and judges a map that was trained on the others."""

ITEMS_AT_MOST = 3000
"""Labelled items of a classification that are used; a random choice of more."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Collected:
    """The labels that train, and those that judge."""

    train: Labelled
    train_texts: list[str]
    test: Labelled | None
    """None where there is no test split; the verdict is then given out of fold."""
    test_texts: list[str]
    test_seen: NDArray[np.bool_]
    """Whether a test query has a relevant document with a training query."""


def collect(
    dataset: Dataset, encoder: Encoder, *, test: str, seed: int = 0, progress: Progress | None = None
) -> Collected:
    """Encode a dataset and divide its labels.

    Parameters
    ----------
    dataset : Dataset
        Retrieval or classification.
    encoder : Encoder
        The base.
    test : str
        The split that judges; ``"none"`` trains on every split. A missing ``"test"`` is no
        mistake: the verdict is then given out of fold.
    seed : int
        Which items are used where there are too many.
    progress : callable, optional
        Called with (stage, done, total).

    Raises
    ------
    DataError
        When the split does not exist, or leaves nothing to train on.
    """
    splits = dataset.splits
    if test not in (*splits, HELD_OUT, "none"):
        raise DataError(f"there is no split called {test!r}", fix=f"choose from {', '.join(splits)}")
    training = [name for name in splits if test == "none" or name not in (test, HELD_OUT)]
    judging = [test] if test in splits else []
    if not training:
        raise DataError(
            f"all judgements are in the split {splits[0] if splits else test!r}; none are left to train on",
            where=dataset.source,
            fix="add a train split, or train on all and judge out of fold with test='none' (--test none)",
        )
    if dataset.task == "classification":
        return _items(dataset, encoder, training, judging, seed, progress)
    return _retrieval(dataset, encoder, training, judging, progress)


def _retrieval(
    dataset: Dataset, encoder: Encoder, training: list[str], judging: list[str], progress: Progress | None
) -> Collected:
    documents, ids, column = _documents(dataset, encoder, progress)
    train_rows, test_rows = dataset.query_rows(training), dataset.query_rows(judging)
    rows = np.union1d(train_rows, test_rows)
    queries = _encode(encoder, _items_of(dataset, encoder, "query", rows), "query", progress)
    contents = dataset.contents("query")

    def part(rows_of: NDArray[np.int64], splits: list[str]) -> Labelled:
        width = len(documents)
        return Labelled(
            queries[np.searchsorted(rows, rows_of)],
            documents,
            _widen(dataset.relevance(splits)[rows_of], column, width),
            ids,
            near_duplicates([contents[row] for row in rows_of]),
            encoder.similarity,
            _widen(dataset.negatives(splits)[rows_of], column, width),
        )

    train = replace(part(train_rows, training), outside=_outside(dataset, training, train_rows))
    test = part(test_rows, judging) if len(test_rows) else None
    return Collected(
        train,
        [dataset.query_texts[row] for row in train_rows],
        test,
        [dataset.query_texts[row] for row in test_rows],
        seen(test.relevance, train.relevance) if test else np.empty(0, bool),
    )


def _outside(dataset: Dataset, training: list[str], rows: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Which labelled queries are of the dev split alone: the user's own picture of new traffic."""
    if not {"train", DEV} <= set(training):
        return None
    own = np.setdiff1d(
        dataset.query_rows([DEV]), dataset.query_rows([name for name in training if name != DEV])
    )
    return np.isin(rows, own)


def _items(
    dataset: Dataset,
    encoder: Encoder,
    training: list[str],
    judging: list[str],
    seed: int,
    progress: Progress | None,
) -> Collected:
    """Labelled items search for items of their own label; test items search the training items."""
    split = np.array(dataset.documents["split"].to_pylist())
    labels: list[list[str]] = [row or [] for row in dataset.documents["label"].to_pylist()]
    names = {name: i for i, name in enumerate(sorted({one for row in labels for one in row}))}
    rows = np.flatnonzero(np.isin(split, training))
    if len(rows) > ITEMS_AT_MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, ITEMS_AT_MOST, replace=False))
    test_rows = np.flatnonzero(np.isin(split, judging))

    def belongs(which: NDArray[np.int64]) -> csr_matrix:
        pairs = [(i, names[one]) for i, row in enumerate(which) for one in labels[row]]
        where = np.array(pairs, np.int64).reshape(-1, 2).T
        return csr_matrix((np.ones(len(pairs), np.float32), tuple(where)), shape=(len(which), len(names)))

    def texts(which: NDArray[np.int64]) -> list[str]:
        return [dataset.document_texts[row] for row in which]

    contents = dataset.contents("document")
    vectors = _encode(encoder, _items_of(dataset, encoder, "document", rows), "document", progress)
    train_belongs = belongs(rows)
    same = csr_matrix((train_belongs @ train_belongs.T) > 0, dtype=np.float32)
    same.setdiag(0)
    same.eliminate_zeros()
    same.sort_indices()
    paired = np.flatnonzero(np.diff(same.indptr))
    ids = [dataset.document_ids[row] for row in rows]
    train = Labelled(
        vectors[paired],
        vectors,
        same[paired],
        ids,
        near_duplicates([contents[row] for row in rows[paired]]) if len(paired) else np.empty(0, np.int64),
        encoder.similarity,
        own=paired,
    )
    test = None
    if len(test_rows):
        relevance = csr_matrix((belongs(test_rows) @ train_belongs.T) > 0, dtype=np.float32)
        test_rows, relevance = _judgeable(test_rows, relevance)
        queries = _encode(encoder, _items_of(dataset, encoder, "document", test_rows), "document", progress)
        groups = near_duplicates([contents[row] for row in test_rows])
        test = Labelled(queries, vectors, relevance, ids, groups, encoder.similarity)
    return Collected(train, texts(rows[paired]), test, texts(test_rows), np.zeros(len(test_rows), bool))


def _judgeable(rows: NDArray[np.int64], relevance: csr_matrix) -> tuple[NDArray[np.int64], csr_matrix]:
    keep = np.flatnonzero(np.diff(relevance.indptr))
    return rows[keep], relevance[keep]


def _documents(
    dataset: Dataset, encoder: Encoder, progress: Progress | None
) -> tuple[Vectors, list[str], NDArray[np.int64]]:
    """Give the collection's vectors and ids, and the column of each of the dataset's documents in it.

    Precomputed vectors are a collection of their own, of which the dataset may name a part.
    """
    if encoder.content != "id":
        vectors = _encode(encoder, _readable(dataset, encoder, "document"), "document", progress)
        return vectors, dataset.document_ids, np.arange(len(vectors))
    every = _known(encoder, "document")
    position = {name: i for i, name in enumerate(every)}
    column = np.array([position[name] for name in _names(dataset, "document", position)], np.int64)
    return encoder.encode(every, kind="document"), every, column


def _items_of(dataset: Dataset, encoder: Encoder, kind: Kind, rows: NDArray[np.int64]) -> list[str]:
    if encoder.content != "id":
        items = _readable(dataset, encoder, kind)
        return [items[row] for row in rows]
    known = dict.fromkeys(_known(encoder, kind), 0)
    names = _names(dataset, kind, known)
    return [names[row] for row in rows]


def _readable(dataset: Dataset, encoder: Encoder, kind: Kind) -> list[str]:
    """Give the items of one kind, texts or images, if the model reads such.

    Raises
    ------
    UserError
        When it does not.
    """
    if kind in dataset.images and not getattr(encoder, "images", False):
        raise UserError(
            f"the {'queries' if kind == 'query' else 'documents'} are images, and {encoder.name} reads texts",
            where=dataset.source,
            fix="take efficientnet-lite0, or a model of texts and images (CLIP)",
        )
    if kind not in dataset.images and encoder.content == "image":
        raise UserError(
            f"the {'queries' if kind == 'query' else 'documents'} are texts, and {encoder.name} reads images",
            where=dataset.source,
            fix="take a model of texts, or of texts and images (CLIP)",
        )
    return dataset.items(kind)


def _known(encoder: Encoder, kind: Kind) -> list[str]:
    ids = getattr(encoder, "ids", None)
    if ids is None:
        raise UserError(f"encoder {encoder.name!r} looks vectors up by id, but does not list its ids")
    return list(ids(kind))


def _names(dataset: Dataset, kind: Kind, known: dict[str, int]) -> list[str]:
    """Give what precomputed vectors call the items: their texts where most are known, else their ids.

    Never some of each: an item's id may be what another item's vector is called.

    Raises
    ------
    DataError
        When an item has no vector.
    """
    ids = dataset.query_ids if kind == "query" else dataset.document_ids
    texts = dataset.query_texts if kind == "query" else dataset.document_texts
    by_text = 2 * sum(text in known for text in texts) >= len(texts)
    names = texts if by_text else ids
    missing = [i for i, name in enumerate(names) if name not in known]
    if missing:
        table = dataset.queries if kind == "query" else dataset.documents
        raise DataError(
            f"{len(missing)} of {len(names)} {'queries' if kind == 'query' else 'documents'} have no vector, "
            f"the first is {names[missing[0]]!r}",
            where=f"{table['file'][missing[0]].as_py()}:{table['line'][missing[0]].as_py()}",
            fix="add its vector, or remove it from the data",
        )
    return names


def _encode(encoder: Encoder, items: list[str], kind: Kind, progress: Progress | None) -> Vectors:
    stage = "encode queries" if kind == "query" else "encode documents"
    if progress and hasattr(encoder, "progress"):
        encoder.progress = lambda done, total: progress(stage, done, total)
    return encoder.encode(items, kind=kind)


def _widen(pairs: csr_matrix, column: NDArray[np.int64], width: int) -> csr_matrix:
    """Put the columns of judgements where the collection has the documents."""
    if len(column) == width and np.array_equal(column, np.arange(width)):
        return pairs
    moved = csr_matrix((pairs.data, column[pairs.indices], pairs.indptr), shape=(pairs.shape[0], width))
    moved.sort_indices()
    return moved
