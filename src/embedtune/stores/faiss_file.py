"""FAISS index files: a version is a file of its own, an index of the same kind built anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from embedtune.errors import DiskFull, StoreError
from embedtune.files import TEMPORARY
from embedtune.stores.base import LIVE, Id
from embedtune.stores.files import FileStore
from embedtune.stores.url import StoreURL
from embedtune.types import Similarity, Vectors

TRAINING = 100_000
"""Rows that the clusters of an IVF index are found from, at most."""


class Faiss(FileStore):
    """An index that holds its vectors exactly, ``faiss:///path/to/file.index``.

    It may be Flat, HNSWFlat or IVFFlat, with an IDMap around it or none.
    An index is in memory while it is read or built. Ids are the index's own numbers, or lines of
    ``FILE.ids.txt``.

    Parameters
    ----------
    url : StoreURL
        Without parameters.

    Raises
    ------
    StoreError
        When there is no such file, or its vectors are compressed, so that the map would get others.
    """

    def __init__(self, url: StoreURL) -> None:
        url.only()
        self._open: tuple[Path, int, Any] | None = None
        super().__init__(url)
        self.dimension = int(self._index(self._path).d)

    def _find(self, path: Path) -> Path:
        if not path.is_file():
            self._refuse("there is no such file", "check the path")
        return path

    def _index(self, path: Path) -> Any:
        """Give an index, kept until another one is asked for, or its file changes."""
        changed = path.stat().st_mtime_ns
        if self._open is None or self._open[:2] != (path, changed):
            try:
                index = faiss.read_index(str(path))
            except RuntimeError as error:
                self._refuse(f"FAISS cannot read it ({str(error).splitlines()[-1]})", "check the path")
            inner = _inner(index)
            if isinstance(inner, faiss.IndexIVFFlat):
                inner.make_direct_map()
            elif not isinstance(inner, faiss.IndexFlat | faiss.IndexHNSWFlat):
                self._refuse(
                    f"an index of the kind {type(inner).__name__} does not hold vectors exactly",
                    "apply the map to the vectors that it was built from, and build it anew",
                )
            self._open = path, changed, index
        return self._open[2]

    def _ids(self, path: Path) -> list[Id]:
        index, named = self._index(path), self._path.with_suffix(".ids.txt")
        if isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
            return [int(i) for i in faiss.vector_to_array(index.id_map)]
        if named.is_file():
            names: list[Id] = list(named.read_text("utf-8").removesuffix("\n").split("\n"))
            if len(names) != index.ntotal:
                raise StoreError(
                    f"{index.ntotal} vectors, but {len(names)} ids", where=str(named), fix="give one for each"
                )
            return names
        return list(range(index.ntotal))

    def _blocks(self, path: Path, batch: int) -> Iterator[Vectors]:
        index = _inner(self._index(path))
        for start in range(0, index.ntotal, batch):
            yield index.reconstruct_n(start, min(batch, index.ntotal - start))

    def _make(self, path: Path, vectors: Vectors, target: Path, batch: int) -> None:
        old = self._index(path)
        inner = _inner(old)
        new = _like(inner, vectors, old.metric_type)
        named = isinstance(old, faiss.IndexIDMap | faiss.IndexIDMap2)
        if named:
            new, ids = type(old)(new), faiss.vector_to_array(old.id_map)
            vectors = vectors[: len(ids)]  # rows that came or went since are caught up
        for start in range(0, len(vectors), batch):
            block = np.ascontiguousarray(vectors[start : start + batch])
            if named:
                new.add_with_ids(block, ids[start : start + batch])
            else:
                new.add(block)
        temporary = target.with_name(f"{TEMPORARY}{target.name}")
        try:
            faiss.write_index(new, str(temporary))
            temporary.replace(target)
        except RuntimeError as error:
            temporary.unlink(missing_ok=True)
            raise DiskFull(f"{target} could not be written ({str(error).splitlines()[-1]})") from None

    def search(
        self, queries: Vectors, k: int, similarity: Similarity, version: str = LIVE, effort: int | None = None
    ) -> list[list[Id]]:
        """Search the index; ``effort`` sets ``nprobe`` and ``efSearch``."""
        if version != LIVE:
            self._finish(version)  # rows that were caught up since it was indexed lie in the scratch file
        path = self._of(version)
        index, ids = self._index(path), self._ids(path)
        inner = _inner(index)
        if effort is not None and isinstance(inner, faiss.IndexIVFFlat):
            inner.nprobe = min(inner.nlist, max(1, effort // 8))
        if effort is not None and isinstance(inner, faiss.IndexHNSWFlat):
            inner.hnsw.efSearch = effort
        rows = inner.search(np.ascontiguousarray(queries, np.float32), k)[1]
        return [[ids[row] for row in found if row >= 0] for found in rows]


def _inner(index: Any) -> Any:
    """Give the index inside a map of ids."""
    if isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
        return faiss.downcast_index(index.index)
    return faiss.downcast_index(index)


def _like(old: Any, vectors: Vectors, metric: int) -> Any:
    """Make an empty index of the same kind and settings."""
    width = vectors.shape[1]
    new: Any
    if isinstance(old, faiss.IndexIVFFlat):
        new = faiss.IndexIVFFlat(faiss.IndexFlat(width, metric), width, old.nlist, metric)
        step = max(1, len(vectors) // TRAINING)
        new.train(np.ascontiguousarray(vectors[::step]))
        new.nprobe = old.nprobe
        return new
    if isinstance(old, faiss.IndexHNSWFlat):
        graph: Any = old.hnsw
        new = faiss.IndexHNSWFlat(width, graph.nb_neighbors(1), metric)
        new.hnsw.efConstruction, new.hnsw.efSearch = graph.efConstruction, graph.efSearch
        return new
    return faiss.IndexFlat(width, metric)
