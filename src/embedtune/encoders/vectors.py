"""Vectors that exist already, looked up by id; a million of them are mapped, not copied."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedtune.encoders.vector_files import (
    IdVectors,
    check_ids,
    check_rows,
    content_hash,
    open_vectors,
    write_npy,
)
from embedtune.encoders.vector_formats import BLOCK, READERS
from embedtune.errors import DataError, ModelNotFound, VectorError
from embedtune.files import atomic_write
from embedtune.types import Content, Kind, Similarity, Vectors

NAMES: dict[Kind, str] = {"query": "queries", "document": "documents"}
"""What the files of each kind are called."""


class VectorsEncoder:
    """Precomputed vectors of queries and documents.

    Parameters
    ----------
    folder : str or pathlib.Path
        A folder with ``documents`` and ``queries``, each as ``.npy`` (with ``.ids.txt`` or
        ``.ids.json``), ``.parquet`` or ``.arrow``; one of the two may be absent.
    name : str, optional
        What to call it in messages and manifests; ``vectors:FOLDER`` unless given.
    similarity : {"cosine", "dot"}
        With cosine, rows that do not have unit length are normalised, into the cache.

    Raises
    ------
    ModelNotFound
        When the folder is not there or holds no vectors.
    DataError, VectorError
        When ids or vectors are not as they must be.
    """

    content: Content = "id"
    max_tokens: int | None = None
    folder: Path | None = None
    """There is no model that could be shipped."""

    def __init__(
        self, folder: str | Path, *, name: str | None = None, similarity: Similarity = "cosine"
    ) -> None:
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise ModelNotFound("there is no such folder of vectors", where=str(path), fix="check the path")
        opened = {kind: open_vectors(path, stem, similarity) for kind, stem in NAMES.items()}
        self._set(opened, similarity, name or f"vectors:{path}", str(path))

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, tuple[Sequence[str], NDArray[Any]]],
        *,
        name: str = "vectors",
        similarity: Similarity = "cosine",
    ) -> VectorsEncoder:
        """Make one from ``{"queries": (ids, array), "documents": (ids, array)}``; either may be absent.

        float32 arrays that fit the similarity are used as they are, others are copied.

        Raises
        ------
        DataError, VectorError
            When ids or vectors are not as they must be.
        """
        unknown = set(arrays) - set(NAMES.values())
        if unknown:
            raise DataError(
                f"{min(unknown)!r} is neither queries nor documents",
                fix="name them 'queries' and 'documents'",
            )
        opened = {
            kind: _in_memory(*arrays[stem], where=stem, similarity=similarity) if stem in arrays else None
            for kind, stem in NAMES.items()
        }
        encoder = cls.__new__(cls)
        encoder._set(opened, similarity, name, name)
        return encoder

    def _set(
        self, opened: Mapping[Kind, IdVectors | None], similarity: Similarity, name: str, where: str
    ) -> None:
        self.name, self.similarity, self._where = name, similarity, where
        self._sides = {kind: side for kind, side in opened.items() if side is not None}
        if not self._sides:
            raise ModelNotFound(
                "there are no vectors here",
                where=where,
                fix=f"put documents and queries in it, as {', '.join(READERS)}",
            )
        widths = {NAMES[kind]: side.vectors.shape[1] for kind, side in self._sides.items()}
        if len(set(widths.values())) > 1:
            seen = ", ".join(f"{stem} have {width}" for stem, width in widths.items())
            raise VectorError(
                f"dimensions differ: {seen}", where=where, fix="encode both with the same model"
            )
        self.dimension = int(next(iter(widths.values())))
        parts = {NAMES[kind]: side.fingerprint for kind, side in self._sides.items()}
        self.fingerprint = hashlib.sha256(
            json.dumps({**parts, "similarity": similarity}, sort_keys=True).encode()
        ).hexdigest()

    def ids(self, kind: Kind) -> list[str]:
        """Give the ids of one kind, in the order of the file."""
        return [str(one) for one in self._side(kind).ids.to_pylist()]

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Give the float32 vectors (n, d) of the ids ``items``; unit length if similarity is cosine.

        All ids in the order of the file give the file's own memory-mapped array, without a copy;
        treat it as read-only.

        Raises
        ------
        DataError
            When an id has no vector.
        """
        return self._side(kind).of(
            items, f"{NAMES[kind]} have no vector", self._where, "add its vector, or remove it from the data"
        )

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Give None: what the texts were is not known."""
        return None

    def _side(self, kind: Kind) -> IdVectors:
        if kind not in self._sides:
            raise DataError(
                f"there are no vectors of {NAMES[kind]}",
                where=self._where,
                fix=f"add {NAMES[kind]}.npy, or .parquet",
            )
        return self._sides[kind]


def write_vectors(folder: Path, kind: Kind, ids: Sequence[str], vectors: NDArray[np.floating]) -> Path:
    """Write vectors as ``vectors:FOLDER`` reads them: ``documents.npy`` with ``documents.ids.txt``.

    Parameters
    ----------
    folder : pathlib.Path
        Made if it is missing.
    kind : {"query", "document"}
        What the rows are.
    ids : sequence of str
        One a row, all different. With line breaks in them they are written to ``.ids.json``.
    vectors : float array of shape (n, d)
        Written as float32.

    Returns
    -------
    pathlib.Path
        The ``.npy`` file.

    Raises
    ------
    DataError
        When there is not one id a row.
    DiskFull
        When there is no room; nothing half-written is left.
    """
    path = folder / f"{NAMES[kind]}.npy"
    check_ids(pa.array(ids, pa.string()), len(vectors), path)
    text, listed = path.with_suffix(".ids.txt"), path.with_suffix(".ids.json")
    lines = all(not {"\n", "\r"} & set(one) for one in ids)
    for old in (path, text, listed):
        old.unlink(missing_ok=True)  # rows and ids of two runs must never stand side by side
    with atomic_write(text if lines else listed) as file:
        file.write(("".join(f"{one}\n" for one in ids) if lines else json.dumps(list(ids))).encode())
    blocks = (vectors[start : start + BLOCK] for start in range(0, len(vectors), BLOCK))
    write_npy(path, blocks, (len(vectors), vectors.shape[1]))
    return path


def _in_memory(ids: Sequence[str], array: NDArray[Any], *, where: str, similarity: Similarity) -> IdVectors:
    """Check arrays that were given in Python; copy them only if they must change."""
    given = np.asanyarray(array)
    if given.ndim != 2 or not np.issubdtype(given.dtype, np.floating):
        raise VectorError(
            f"an array of shape {given.shape} and type {given.dtype} is not a table of vectors",
            where=where,
            fix="give a float array of shape (rows, dimension)",
        )
    names = pa.array([str(one) for one in ids], pa.string())
    check_ids(names, len(given), Path(where))
    vectors: Vectors = (
        given if given.dtype == np.float32 and given.flags.c_contiguous else given.astype(np.float32, "C")
    )
    if not check_rows(vectors, names, where) and similarity == "cosine":
        vectors = (vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)).astype(
            np.float32
        )
    digest = hashlib.sha256(f"{vectors.shape}".encode())
    for start in range(0, len(vectors), BLOCK):
        digest.update(np.ascontiguousarray(vectors[start : start + BLOCK]).data)
    return IdVectors(names, vectors, content_hash(names, digest.hexdigest()))
