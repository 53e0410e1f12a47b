"""Files of vectors with ids: opened without copying, checked block by block, converted once if need be.

=================  ==================================================================
``NAME.npy``       array (n, d); ids in ``NAME.ids.txt``, one a line, or ``NAME.ids.json``, a list
``NAME.parquet``   columns ``id`` and ``vector`` (a list of numbers)
``NAME.arrow``     the same as an Arrow IPC file
=================  ==================================================================
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedtune.encoders.cache import cache_folder, cache_size, make_room
from embedtune.encoders.hashes import file_hash
from embedtune.errors import DataError, VectorError
from embedtune.files import atomic_write
from embedtune.types import Similarity, Vectors

BLOCK = 16_384
"""Rows that are read, checked or converted at once."""

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
        scaled = _Source(source.rows, source.width, lambda: _scaled(vectors), None)
        vectors = _converted(scaled, digest, "unit", path)
    return IdVectors(ids, vectors, digest)


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
    if broken.count:
        raise VectorError(
            f"{broken.count} of {len(vectors)} vectors hold NaN or infinity; the first is row {broken.first}, "
            f"id {ids[broken.first].as_py()!r}",
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
            file.write(np.ascontiguousarray(block, "<f4").data)


class _Rows:
    """Counts rows and remembers the first."""

    def __init__(self) -> None:
        self.count, self.first = 0, -1

    def add(self, rows: NDArray[np.int64]) -> None:
        if len(rows) and not self.count:
            self.first = int(rows[0])
        self.count += len(rows)


@dataclass(frozen=True)
class _Source:
    """Rows of a file: as blocks always, as one array where that needs no copy."""

    rows: int
    width: int
    blocks: Callable[[], Iterator[NDArray[np.floating]]]
    array: NDArray[np.floating] | None


def _converted(source: _Source, digest: str, how: str, path: Path) -> Vectors:
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
        yield block / np.linalg.norm(block.astype(np.float64), axis=1, keepdims=True)


def _read_npy(path: Path) -> tuple[pa.StringArray, _Source]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise VectorError(
            f"not a .npy file of numbers: {error}", where=str(path), fix="save it with numpy.save"
        ) from None
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise VectorError(
            f"an array of shape {array.shape} and type {array.dtype} is not a table of vectors",
            where=str(path),
            fix="save a float array of shape (rows, dimension)",
        )

    def blocks() -> Iterator[NDArray[np.floating]]:
        for start in range(0, len(array), BLOCK):
            yield array[start : start + BLOCK]

    return _read_ids(path), _Source(array.shape[0], array.shape[1], blocks, array)


def _read_ids(path: Path) -> pa.StringArray:
    """Read the ids that lie beside a ``.npy``."""
    text, listed = path.with_suffix(".ids.txt"), path.with_suffix(".ids.json")
    if listed.is_file():
        try:
            ids = json.loads(listed.read_text("utf-8"))
        except ValueError as error:
            raise DataError(f"not JSON: {error}", where=str(listed), fix="write a list of ids") from None
        if not isinstance(ids, list):
            raise DataError("not a list of ids", where=str(listed), fix='write them as ["id1", "id2"]')
        return pa.array([str(one) for one in ids], pa.string())
    if not text.is_file():
        raise DataError(
            "the ids of its rows are missing",
            where=str(path),
            fix=f"write {text.name} beside it, one id a line",
        )
    try:
        return pa.array(text.read_text("utf-8").removesuffix("\n").split("\n"), pa.string())
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error}", where=str(text), fix="save it as UTF-8") from None


def _read_parquet(path: Path) -> tuple[pa.StringArray, _Source]:
    with _arrow_errors(path):
        file = pq.ParquetFile(path)
        _check_columns(file.schema_arrow, path)
        ids = _strings(file.read(columns=["id"])["id"])
        width = next((_matrix(batch.column(0), path, 0).shape[1] for batch in _parquet_batches(path, 1)), 0)
    return ids, _Source(
        file.metadata.num_rows, width, lambda: _blocks(_parquet_batches(path, BLOCK), width, path), None
    )


def _parquet_batches(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    yield from pq.ParquetFile(path).iter_batches(rows, columns=["vector"])


def _read_arrow(path: Path) -> tuple[pa.StringArray, _Source]:
    with _arrow_errors(path):
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        _check_columns(reader.schema, path)
        table = reader.read_all()
    vectors, rows = table["vector"], len(table)
    parts = [chunk for chunk in vectors.chunks if len(chunk)]
    one = _matrix(parts[0], path, 0) if len(parts) == 1 else None
    width = one.shape[1] if one is not None else (_matrix(parts[0], path, 0).shape[1] if parts else 0)
    batches = pa.table({"vector": vectors}).to_batches(BLOCK)
    return _strings(table["id"]), _Source(rows, width, lambda: _blocks(iter(batches), width, path), one)


def _check_columns(schema: pa.Schema, path: Path) -> None:
    missing = [name for name in ("id", "vector") if name not in schema.names]
    if missing:
        raise DataError(
            f"column {missing[0]!r} is missing (columns: {', '.join(schema.names)})",
            where=str(path),
            fix=f"name the column {missing[0]!r}",
        )
    kind = schema.field("vector").type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not pa.types.is_floating(kind.value_type):
        raise VectorError(
            f"column 'vector' holds {kind}", where=str(path), fix="store lists of floats, all of one length"
        )


def _matrix(column: Any, path: Path, start: int) -> NDArray[np.floating]:
    """Give one chunk of lists as an array (rows, width), without copying where Arrow allows."""
    if column.null_count:
        row = start + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise VectorError(f"row {row} has no vector", where=str(path), fix="encode this item or leave it out")
    lengths = pc.list_value_length(column)
    width = lengths[0].as_py()
    odd = np.flatnonzero(lengths.to_numpy(zero_copy_only=False) != width)
    if len(odd):
        row = int(odd[0])
        raise VectorError(
            f"row {start + row} has {lengths[row].as_py()} numbers, others have {width}",
            where=str(path),
            fix="give all vectors one dimension",
        )
    values = column.flatten()
    if values.null_count:
        at = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise VectorError(
            f"row {start + at // width} holds an empty number", where=str(path), fix="fill it in"
        )
    flat: NDArray[np.floating] = values.to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), width)


def _blocks(batches: Iterator[pa.RecordBatch], width: int, path: Path) -> Iterator[NDArray[np.floating]]:
    row = 0
    for batch in batches:
        if not len(batch):
            continue
        block = _matrix(batch.column(0), path, row)
        if block.shape[1] != width:
            raise VectorError(
                f"row {row} has {block.shape[1]} numbers, others have {width}",
                where=str(path),
                fix="give all vectors one dimension",
            )
        row += len(block)
        yield block


def _strings(column: Any) -> pa.StringArray:
    joined: pa.StringArray = pa.concat_arrays([pa.array([], pa.string()), *column.cast(pa.string()).chunks])
    return joined


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


@contextlib.contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"cannot be read: {reason}", where=str(path), fix="write the file again") from None


READERS: dict[str, Callable[[Path], tuple[pa.StringArray, _Source]]] = {
    ".npy": _read_npy,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
}
"""How each ending is read."""
