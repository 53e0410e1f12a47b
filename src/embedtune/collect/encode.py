"""Items of a dataset to vectors, whatever the encoder reads: texts, images, or ids of known vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from embedtune.data.dataset import Dataset
from embedtune.encoders.cached import CachedEncoder
from embedtune.errors import DataError, TextsFailed, UserError
from embedtune.types import Encoder, Kind, Vectors

Progress = Callable[[str, int, int], None]


def documents_of(
    dataset: Dataset, encoder: Encoder, progress: Progress | None
) -> tuple[Vectors, list[str], NDArray[np.int64]]:
    """Give the collection's vectors and ids, and the column of each of the dataset's documents in it.

    Precomputed vectors are a collection of their own, of which the dataset may name a part; so are those
    that lie in a store.
    """
    if not by_id(encoder, "document"):
        vectors = encode(encoder, _readable(dataset, encoder, "document"), "document", progress, dataset)
        return vectors, dataset.document_ids, np.arange(len(vectors))
    every = _known(encoder, "document")
    position = {name: i for i, name in enumerate(every)}
    column = np.array([position[name] for name in _names(dataset, "document", position)], np.int64)
    return encoder.encode(every, kind="document"), every, column


def items_of(dataset: Dataset, encoder: Encoder, kind: Kind, rows: NDArray[np.int64]) -> list[str]:
    """Give what the encoder is to read of some queries or documents."""
    if not by_id(encoder, kind):
        items = _readable(dataset, encoder, kind)
        return [items[row] for row in rows]
    known = dict.fromkeys(_known(encoder, kind), 0)
    names = _names(dataset, kind, known)
    return [names[row] for row in rows]


def by_id(encoder: Encoder, kind: Kind) -> bool:
    """Say whether vectors are looked up by id: of all that is precomputed, and of documents in a store."""
    return encoder.content == "id" or (kind == "document" and getattr(encoder, "documents_by_id", False))


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


def encode(
    encoder: Encoder,
    items: list[str],
    kind: Kind,
    progress: Progress | None,
    dataset: Dataset | None = None,
) -> Vectors:
    """Encode with progress; float32 (n, d), unit length where the similarity is cosine.

    An encoder of the user's own is given the texts in chunks, each text once.

    Raises
    ------
    TextsFailed
        When an API gives no vector for some; with file and line where ``dataset`` has the items.
    Unfinished
        When the time that holds here ends before, see :mod:`embedtune.encoders.pace`.
    """
    stage = "encode queries" if kind == "query" else "encode documents"
    if encoder.content != "id" and not hasattr(encoder, "progress"):
        encoder = CachedEncoder(encoder)
    if progress and hasattr(encoder, "progress"):
        encoder.progress = lambda done, total: progress(stage, done, total)
    with places_of(dataset, kind, items):
        return encoder.encode(items, kind=kind)


@contextlib.contextmanager
def places_of(dataset: Dataset | None, kind: Kind, items: Sequence[str]) -> Iterator[None]:
    """Say of texts that an API gave no vector for which file and line of a dataset they come from."""
    try:
        yield
    except TextsFailed as error:
        if dataset is None:
            raise
        table = dataset.queries if kind == "query" else dataset.documents
        rows = {text: row for row, text in reversed([*enumerate(dataset.items(kind))])}
        found = [rows[items[row]] for row in error.rows if items[row] in rows]
        if len(found) < len(error.rows):
            raise
        places = [f"{table['file'][row].as_py()}:{table['line'][row].as_py()}" for row in found]
        raise error.placed(error.rows, error.reasons, error.total, places) from None
