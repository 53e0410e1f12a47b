"""Whether stored vectors come from the base that a map was made for, told by encoding a few texts again."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from embedtune.data.dataset import Dataset
from embedtune.errors import ArtifactError, StoreError
from embedtune.stores.base import Batch, Id, Store, in_order
from embedtune.types import Encoder, Vectors

PROBES = 24
"""Rows that are encoded again."""

ALIKE = 0.98
"""Median cosine of a stored vector and the same text's own from which both count as the same model's."""


Compared = Literal["", "texts", "fingerprint", "dimensions"]
"""What of stored vectors and a base was compared; nothing where it is empty."""


@dataclass(frozen=True)
class Likeness:
    """How a store's vectors were found to be the base's."""

    compared: Compared
    cosine: float | None = None
    """Median cosine of stored vectors and the same texts encoded again; None where no text was."""


def check_base(
    store: Store, encoder: Encoder, dataset: Dataset | None = None, *, probe: bool = True
) -> Likeness:
    """Compare stored vectors with what the base gives.

    Parameters
    ----------
    store : Store
        Whose live vectors are compared.
    encoder : Encoder
        The base. One that reads texts is given those of the store, or of ``dataset`` by id.
    dataset : Dataset, optional
        Texts by id.
    probe : bool
        Whether to encode anything. Where nothing is, also because neither the store nor the data has a text
        for an id of the store, dimensions are compared, and the base's fingerprint with that of the base that
        a run before this one has proved, if one has.

    Returns
    -------
    Likeness
        What was compared, and the median cosine.

    Raises
    ------
    StoreError
        When dimensions differ, or the vectors are not those of the base.
    """
    if store.dimension != encoder.dimension:
        raise StoreError(
            f"the store has vectors of {store.dimension} dimensions, and the base {encoder.name!r} of this "
            f"model gives {encoder.dimension}",
            where=store.url,
            fix="give the store whose vectors that base made",
        )
    if not probe:
        return _compare_with_note(store, encoder)
    try:
        _, stored, items = probes(store, encoder, dataset, _spread(store))
        if not items:
            return _compare_with_note(store, encoder)
        again = encoder.encode(items, kind="document")
    except ArtifactError as error:
        raise StoreError(
            f"it cannot be seen whether the vectors are the base's: {error.what}",
            where=store.url,
            fix="run where the base is found, or trust that they are with --no-probe",
        ) from None
    likeness = float(np.median(cosines(stored, again)))
    if likeness < ALIKE:
        raise StoreError(
            f"the stored vectors are not those of the base {encoder.name!r}: the median cosine of "
            f"{len(items)} rows with their texts, encoded again, is {likeness:.2f}",
            where=store.url,
            fix="give the store that the base filled; where other texts than these were encoded, --no-probe",
        )
    return Likeness("texts", likeness)


def _compare_with_note(store: Store, encoder: Encoder) -> Likeness:
    """Refuse a base other than the one whose vectors were found here when texts were encoded again."""
    proved = store.read_note().get("proved")
    if not proved:
        return Likeness("dimensions")
    if proved["fingerprint"] == encoder.fingerprint:
        return Likeness("fingerprint")
    raise StoreError(
        f"the vectors were those of {proved['base']!r} when texts were last encoded again, and this model's "
        f"base is {encoder.name!r}, with another fingerprint",
        where=store.url,
        fix="leave --no-probe out; where the store has no texts, give them with --data",
    )


def probes(
    store: Store, encoder: Encoder, dataset: Dataset | None, batch: Batch
) -> tuple[list[Id], Vectors, list[str]]:
    """Give ids and stored vectors of rows, and what the encoder is to read for them.

    Rows are those of ``batch`` whose text is known; where the store has none, some that ``dataset`` names.
    """
    if encoder.content == "id":
        known = set(map(str, getattr(encoder, "ids", lambda kind: [])("document")))
        return _matching(batch, {name: str(name) for name in batch.ids if str(name) in known})
    found = _matching(batch, store.texts(batch.ids))
    if found[2] or dataset is None:
        return found
    step = max(1, len(dataset.documents) // PROBES)
    texts = dict(zip(dataset.document_ids[::step], dataset.items("document")[::step], strict=True))
    batch = store.fetch(list(islice(texts, PROBES)))
    return _matching(batch, {name: texts[str(name)] for name in batch.ids if str(name) in texts})


def _spread(store: Store) -> Batch:
    """Give a few rows of the first ones of the store."""
    with closing(store.scan(PROBES * 16)) as rows:
        first = next(rows, None)
    if first is None:
        raise StoreError("there are no vectors in it", where=store.url, fix="fill it first")
    chosen = np.linspace(0, len(first.ids) - 1, min(PROBES, len(first.ids))).astype(int)
    return Batch([first.ids[row] for row in chosen], first.vectors[chosen])


def _matching(batch: Batch, texts: dict[Id, str]) -> tuple[list[Id], Vectors, list[str]]:
    named: list[Id] = [name for name in batch.ids if texts.get(name)]
    _, rows = in_order(batch, named)
    return named, batch.vectors[rows], [texts[name] for name in named]


def cosines(a: Vectors, b: Vectors) -> Vectors:
    """Give the cosine of each pair of rows, (n,); 0 where one of them is zero."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.einsum("ij,ij->i", a, b) / np.maximum(lengths, 1e-12), np.float32)
