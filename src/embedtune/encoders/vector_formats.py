"""How vectors and their ids lie in ``.npy``, Parquet and Arrow files, read in blocks or mapped as they are.

=================  ==================================================================
``NAME.npy``       array (n, d); ids in ``NAME.ids.txt``, one a line, or ``NAME.ids.json``, a list
``NAME.parquet``   columns ``id`` and ``vector`` (a list of numbers)
``NAME.arrow``     the same as an Arrow IPC file
=================  ==================================================================
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedtune.errors import DataError, VectorError

BLOCK = 4096
"""Rows that are read, checked or converted at once."""


@dataclass(frozen=True)
class Source:
    """Rows of a file: as blocks always, as one array where that needs no copy."""

    rows: int
    width: int
    blocks: Callable[[], Iterator[NDArray[np.floating]]]
    array: NDArray[np.floating] | None


def _read_npy(path: Path) -> tuple[pa.StringArray, Source]:
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

    return _read_ids(path), Source(array.shape[0], array.shape[1], blocks, array)


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


def _read_parquet(path: Path) -> tuple[pa.StringArray, Source]:
    with _arrow_errors(path):
        file = pq.ParquetFile(path)
        _check_columns(file.schema_arrow, path)
        ids = _strings(file.read(columns=["id"])["id"])
        width = next((_matrix(batch.column(0), path, 0).shape[1] for batch in _parquet_batches(path, 1)), 0)
    return ids, Source(
        file.metadata.num_rows, width, lambda: _blocks(_parquet_batches(path, BLOCK), width, path), None
    )


def _parquet_batches(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    with _arrow_errors(path):
        yield from pq.ParquetFile(path).iter_batches(rows, columns=["vector"])


def _read_arrow(path: Path) -> tuple[pa.StringArray, Source]:
    with _arrow_errors(path):
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        _check_columns(reader.schema, path)
        table = reader.read_all()
    vectors, rows = table["vector"], len(table)
    parts = [chunk for chunk in vectors.chunks if len(chunk)]
    one = _matrix(parts[0], path, 0) if len(parts) == 1 else None
    width = one.shape[1] if one is not None else (_matrix(parts[0], path, 0).shape[1] if parts else 0)
    batches = pa.table({"vector": vectors}).to_batches(BLOCK)
    return _strings(table["id"]), Source(rows, width, lambda: _blocks(iter(batches), width, path), one)


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


@contextlib.contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"cannot be read: {reason}", where=str(path), fix="write the file again") from None


READERS: dict[str, Callable[[Path], tuple[pa.StringArray, Source]]] = {
    ".npy": _read_npy,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
}
"""How each ending is read."""
