"""Vectors with ids from files: mapped without copying, checked block by block, converted once if need be."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embedtune.cache_place import cache_folder, cache_size, make_room
from embedtune.encoders.hashes import file_hash
from embedtune.encoders.vector_formats import BLOCK, READERS, Source
from embedtune.errors import DataError, VectorError
from embedtune.files import atomic_write
from embedtune.mapped import gather, release
from embedtune.types import Similarity, Vectors

UNIT = 1e-5
"""How far a row's length may be from 1 before the rows count as not normalised."""


@dataclass(frozen=True)
class IdVectors:
    """Vectors and the ids of their rows.

    Parameters
    ----------
    ids : pyarrow.StringArray
        One a row, all different.
    vectors : float32 array of shape (n, d)
        Memory-mapped if they come from a file; unit length if the similarity is cosine.
    fingerprint : str
        sha256 of the content.
    """

    ids: pa.StringArray
    vectors: Vectors
    fingerprint: str

    def of(self, items: Sequence[str], lack: str, where: str, fix: str) -> Vectors:
        """Give the rows (n, d) called ``items``; what lies together in their order is the array's own part.

        Raises
        ------
        DataError
            When an id is not there: ``lack`` says what that means for how many of how many.
        """
        asked = pa.array(items, pa.string())
        if asked.equals(self.ids):
            return self.vectors
        rows = pc.index_in(asked, value_set=self.ids)
        if rows.null_count:
            first = int(np.flatnonzero(rows.is_null().to_numpy(zero_copy_only=False))[0])
            missing = f"{rows.null_count} of {len(asked)} {lack}, the first is {items[first]!r}"
            raise DataError(missing, where=where, fix=fix)
        return _rows(self.vectors, rows.to_numpy().astype(np.int64))


def open_vectors(folder: Path, name: str, similarity: Similarity) -> IdVectors | None:
    """Open ``name`` (``queries`` or ``documents``) in a folder; None if it is not there.

    float32 rows that fit the similarity are mapped as they lie in ``.npy`` and ``.arrow``; anything
    else is converted once, in blocks, to a ``.npy`` in the cache.

    Raises
    ------
    DataError
        When ids are missing, repeated or not as many as rows, or a file is there in two formats.
    VectorError
        When vectors are not finite, are zero, or are not a table of numbers.
    """
    found = [folder / f"{name}{ending}" for ending in READERS if (folder / f"{name}{ending}").is_file()]
    if not found:
        return None
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"vectors are there twice: {names}", where=str(folder), fix="remove one of them")
    path = found[0]
    ids, source = READERS[path.suffix](path)
    check_ids(ids, source.rows, path)
    digest = file_hash(path)
    direct = source.array
    if direct is None or direct.dtype != np.float32 or not direct.flags.c_contiguous:
        vectors = _converted(source, digest, "float32", path)
    else:
        vectors = direct
    unit = check_rows(vectors, ids, str(path))
    if similarity == "cosine" and not unit:
        scaled = Source(source.rows, source.width, lambda: _scaled(vectors), None)
        vectors = _converted(scaled, digest, "unit", path)
    return IdVectors(ids, vectors, content_hash(ids, digest))


def check_rows(vectors: NDArray[np.floating], ids: pa.StringArray, where: str) -> bool:
    """Check vectors (n, d) block by block; say whether every row has unit length.

    Raises
    ------
    VectorError
        When a row holds NaN or infinity, or is zero: how many there are, and the first one's id.
    """
    worst, broken, zero = 0.0, _Rows(), _Rows()
    for start in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[start : start + BLOCK], np.float32)
        squares = np.einsum("ij,ij->i", block, block, dtype=np.float64)
        # the squares of a finite row are finite: float32 squares sum below the largest float64
        finite = np.isfinite(squares)
        broken.add(np.flatnonzero(~finite) + start)
        zero.add(np.flatnonzero(squares == 0) + start)
        lengths = np.sqrt(squares[finite])
        worst = max(worst, float(np.abs(lengths - 1).max(initial=0.0)))
        release(vectors)
    if broken.count:
        raise VectorError(
            f"{broken.count} of {len(vectors)} vectors hold NaN or infinity; "
            f"the first is row {broken.first}, id {ids[broken.first].as_py()!r}",
            where=where,
            fix="encode these items again or leave them out",
        )
    if zero.count:
        raise VectorError(
            f"{zero.count} of {len(vectors)} vectors are zero; the first is row {zero.first}, "
            f"id {ids[zero.first].as_py()!r}",
            where=where,
            fix="encode these items again or leave them out",
        )
    return worst <= UNIT


def content_hash(ids: pa.StringArray, digest: str) -> str:
    """Give the sha256 of ids in their order and of the hash of their vectors."""
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"id": ids})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return hashlib.sha256(digest.encode() + memoryview(sink.getvalue())).hexdigest()


def write_npy(path: Path, blocks: Iterable[NDArray[np.floating]], shape: tuple[int, int]) -> None:
    """Write blocks of rows as one float32 ``.npy`` of ``shape``, without holding them all.

    Raises
    ------
    DiskFull
        When there is no room; nothing half-written is left.
    """
    with atomic_write(path) as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is found
                file.write(np.ascontiguousarray(block, "<f4").data)


def _rows(vectors: Vectors, rows: NDArray[np.int64]) -> Vectors:
    """Give some rows: a view where one follows the other, else a copy."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return vectors[rows[0] : rows[-1] + 1]
    return gather(vectors, rows)


class _Rows:
    """Counts rows and remembers the first."""

    def __init__(self) -> None:
        self.count, self.first = 0, -1

    def add(self, rows: NDArray[np.int64]) -> None:
        if len(rows) and not self.count:
            self.first = int(rows[0])
        self.count += len(rows)


def _converted(source: Source, digest: str, how: str, path: Path) -> Vectors:
    """Write a source to the cache as float32 ``.npy``, unless it is there, and map it."""
    target = cache_folder() / "converted" / f"{digest[:40]}-{how}.npy"
    for attempt in (1, 2):
        if not target.is_file():
            make_room(
                cache_folder(), source.rows * source.width * 4, cache_size(), used_since=time.time() - 3600
            )
            write_npy(target, source.blocks(), (source.rows, source.width))
        with contextlib.suppress(OSError):
            target.touch()  # it was used now, so it goes last
        try:
            mapped: Vectors = np.load(target, mmap_mode="r")
        except (OSError, ValueError):  # damaged: write it once more
            target.unlink(missing_ok=True)
            if attempt == 2:
                raise
            continue
        if mapped.shape == (source.rows, source.width):
            return mapped
        target.unlink(missing_ok=True)
    raise VectorError(f"{source.rows} rows could not be converted", where=str(path), fix="check the file")


def _scaled(vectors: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    for start in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[start : start + BLOCK], np.float32)
        yield block / np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))[:, None]


def check_ids(ids: pa.StringArray, rows: int, path: Path) -> None:
    """Check that there is one id for each of ``rows`` rows, and that no two are the same.

    Raises
    ------
    DataError
        When there is not.
    VectorError
        When there are no rows.
    """
    if not rows:
        raise VectorError("there are no vectors in it", where=str(path), fix="encode some items first")
    if len(ids) != rows:
        raise DataError(
            f"{rows} vectors, but {len(ids)} ids", where=str(path), fix="give one id for each row"
        )
    if ids.null_count:
        raise DataError(f"{ids.null_count} rows have no id", where=str(path), fix="give one id for each row")
    if pc.count_distinct(ids).as_py() < rows:
        counts: Any = pc.value_counts(ids)
        repeated = counts.filter(pc.greater(counts.field("counts"), pa.scalar(1)))[0]
        raise DataError(
            f"id {repeated['values'].as_py()!r} stands for {repeated['counts'].as_py()} rows",
            where=str(path),
            fix="keep one row for each id",
        )
