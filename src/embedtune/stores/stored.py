"""A base model whose documents have vectors in a store: they are read there, and only queries are encoded."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embedtune.cache_place import cache_folder
from embedtune.data.dataset import Dataset
from embedtune.encoders.vector_files import IdVectors
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.errors import DiskFull, StoreError
from embedtune.files import FULL, TEMPORARY
from embedtune.stores.base import Store
from embedtune.stores.mapping import UNIT
from embedtune.stores.probing import check_base
from embedtune.stores.table import open_store
from embedtune.transforms.blocks import unit_length
from embedtune.types import Content, Encoder, Kind, Similarity, Vectors

BATCH = 4096
"""Rows read at a time."""


class StoredEncoder:
    """Queries through the base; documents by id, from a memory-mapped copy of what the store has.

    Parameters
    ----------
    base : Encoder
        Encodes the queries.
    ids : pyarrow.StringArray
        One a row.
    vectors : float32 array of shape (n, d)
        Of the documents; unit length where the similarity is cosine.
    where : str
        The store's URL, without secrets.
    """

    documents_by_id = True
    """Documents are asked for by their ids, not their texts."""

    def __init__(self, base: Encoder, ids: pa.StringArray, vectors: Vectors, where: str) -> None:
        self.base, self._rows, self._where = base, IdVectors(ids, vectors, base.fingerprint), where
        self.name: str = base.name
        self.dimension: int = base.dimension
        self.similarity: Similarity = base.similarity
        self.fingerprint: str = base.fingerprint
        self.max_tokens: int | None = base.max_tokens
        self.content: Content = base.content
        self.images: bool = getattr(base, "images", False)
        self.progress: Callable[[int, int], None] | None = None

    @classmethod
    def of(
        cls,
        url: str,
        base: Encoder,
        dataset: Dataset | None = None,
        *,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> StoredEncoder:
        """Read a store.

        Parameters
        ----------
        url : str
            See :func:`embedtune.stores.open_store`.
        base : Encoder
            What made the vectors there; a few texts are encoded again to make sure.
        dataset : Dataset, optional
            Has texts for that, where the store has none.
        progress : callable, optional
            Called with (stage, done, total).

        Raises
        ------
        StoreError
            When the store cannot be read, or holds another base's vectors.
        DiskFull
            When the cache has no room for a copy.
        """
        store = open_store(url)
        try:
            check_base(store, base, dataset)
            ids, vectors = _copied(store, base.similarity, progress)
            return cls(base, ids, vectors, store.url)
        finally:
            store.close()

    def ids(self, kind: Kind) -> list[str]:
        """Give the ids of the documents, and of the queries those that the base knows."""
        if kind == "query":
            return list(getattr(self.base, "ids")(kind))  # noqa: B009 - encoders of ids have it
        return [str(one) for one in self._rows.ids.to_pylist()]

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Give float32 vectors (n, d): of queries from the base, of documents by their ids.

        All ids in the order of the store give the memory-mapped array, without a copy.

        Raises
        ------
        DataError
            When an id is not in the store.
        """
        if kind == "query":
            if hasattr(self.base, "progress"):
                self.base.progress = self.progress
            return self.base.encode(items, kind=kind)
        fix = "add them to it, or remove them from the data"
        return self._rows.of(items, "documents are not in the store", self._where, fix)

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Give the tokens of each text before truncation, or None where that is not known."""
        return self.base.count_tokens(texts)


def stored_vectors(
    url: str,
    similarity: Similarity = "cosine",
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> VectorsEncoder:
    """Open a store's vectors as those of documents, by id, whatever model made them.

    They are copied to a file that is mapped into memory and gone with the process.

    Raises
    ------
    StoreError
        When the store cannot be read.
    DiskFull
        When the cache has no room for a copy.
    """
    store = open_store(url)
    try:
        ids, vectors = _copied(store, similarity, progress)
        arrays = {"documents": ([str(one) for one in ids.to_pylist()], vectors)}
        return VectorsEncoder.from_arrays(arrays, name=store.url, similarity=similarity)
    finally:
        store.close()


def _copied(
    store: Store, similarity: Similarity, progress: Callable[[str, int, int], None] | None
) -> tuple[pa.StringArray, Vectors]:
    """Copy all vectors to a file that is mapped and gone with the process; give their ids and them."""
    total, ids = store.count(), []
    path = cache_folder() / "stores" / f"{TEMPORARY}{secrets.token_hex(8)}.f32"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("wb") as file:
            for rows in store.scan(BATCH):
                block = np.array(rows.vectors)
                if similarity == "cosine":
                    length = np.sqrt(np.einsum("ij,ij->i", block, block))
                    off = np.flatnonzero(np.abs(length - 1) > UNIT)
                    block[off] = unit_length(block[off])
                file.write(block.data)
                ids.append(pa.array([str(name) for name in rows.ids], pa.string()))
                if progress is not None:
                    progress("read the store", min(sum(map(len, ids)), total), total)
        return _mapped(store, path, ids)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(f"no room left on the disk for {total:,} vectors in {path.parent}") from None
    finally:
        with contextlib.suppress(OSError):  # where an open file cannot go, the next clean-up takes it
            path.unlink()


def _mapped(store: Store, path: Path, ids: list[pa.StringArray]) -> tuple[pa.StringArray, Vectors]:
    names: pa.StringArray = pa.concat_arrays(ids) if ids else pa.array([], pa.string())
    if not len(names):
        raise StoreError("there are no vectors in it", where=store.url, fix="fill it first")
    if (different := pc.count_distinct(names).as_py()) < len(names):
        raise StoreError(
            f"{len(names) - different} ids come more than once",
            where=store.url,
            fix="name another column of ids",
        )
    return names, np.memmap(path, np.float32, "r", shape=(len(names), store.dimension))
