"""Vectors in Parquet or NumPy files, as ``vectors:FOLDER`` reads them, or in a folder of Parquet files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedtune.encoders.vector_formats import READERS
from embedtune.errors import MixedDimensions, UserError
from embedtune.files import atomic_write
from embedtune.folders import new_folder
from embedtune.mapped import release
from embedtune.stores.base import Id
from embedtune.stores.files import FileStore
from embedtune.stores.url import StoreURL
from embedtune.types import Vectors


class Folder(FileStore):
    """``parquet:///folder``, ``parquet:///file.parquet`` or ``numpy:///documents.npy``.

    A folder with ``documents.npy`` or ``documents.parquet`` means that file; another folder means all of the
    Parquet files in it, which change together. The ids of an ``.npy`` lie beside it, in ``.ids.txt``.

    Parameters
    ----------
    url : StoreURL
        ``column``, by default ``vector``, ``id``, by default ``id``, and ``text`` name columns of Parquet.

    Raises
    ------
    StoreError
        When there are no such files, or they do not hold vectors of one dimension.
    """

    def __init__(self, url: StoreURL) -> None:
        url.only("column", "id", "text")
        self._column, self._key = url.parameters.get("column", "vector"), url.parameters.get("id", "id")
        self._text = url.parameters.get("text")
        super().__init__(url)
        self._npy = self._path.suffix == ".npy"
        try:
            if not self._npy:
                for part in self._parts(self._path):
                    self._check(part)
            first = next((block for block in self._blocks(self._path, 1024) if len(block)), None)
            self._ids(self._path)
        except (pa.ArrowInvalid, ValueError, OSError) as error:
            if isinstance(error, MixedDimensions):
                raise
            if isinstance(error, UserError):
                self._refuse(error.what, error.fix or "mend it")
            self._refuse(f"it cannot be read ({str(error).splitlines()[0]})", "write it again")
        if first is None or not first.shape[1]:
            self._refuse("there are no vectors in it", "fill it first")
        self.dimension = int(first.shape[1])

    def _find(self, path: Path) -> Path:
        if path.is_file() and path.suffix in (".npy", ".parquet"):
            return path
        if not path.is_dir():
            self._refuse("there is no such folder, nor such an .npy or .parquet file", "check the path")
        for name in ("documents.npy", "documents.parquet"):
            if (path / name).is_file():
                return path / name
        if not any(path.glob("*.parquet")):
            self._refuse("there are no vectors here", "put documents.npy or Parquet files in it")
        return path

    def _parts(self, path: Path) -> list[Path]:
        return sorted(path.glob("*.parquet")) if path.is_dir() else [path]

    def _check(self, part: Path) -> None:
        schema = pq.read_schema(part)
        for name in filter(None, (self._column, self._key, self._text)):
            if name not in schema.names:
                self._refuse(f"{part.name} has no column {name!r}", f"choose from {', '.join(schema.names)}")
        kind = schema.field(self._column).type
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not lists or not pa.types.is_floating(kind.value_type):
            self._refuse(
                f"column {self._column!r} of {part.name} holds {kind}, not lists of numbers", "check it"
            )

    def _ids(self, path: Path) -> list[Id]:
        if self._npy:
            return [str(name) for name in READERS[".npy"](self._path)[0].to_pylist()]
        found: list[Any] = []
        for part in self._parts(path):
            found += pq.read_table(part, columns=[self._key])[self._key].to_pylist()
        return found

    def _blocks(self, path: Path, batch: int) -> Iterator[Vectors]:
        if self._npy:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            for start in range(0, len(array), batch):
                yield np.ascontiguousarray(array[start : start + batch], np.float32)
                release(array)  # or all that was read would stay resident
            return
        width = self._list_width(path)
        for part in self._parts(path):
            with pq.ParquetFile(part) as file:
                for rows in file.iter_batches(batch, columns=[self._column]):
                    column = rows.column(0)
                    if set(_widths(column)) - {width}:
                        raise self._mixed(path)
                    yield self._dense(column, width)

    def _list_width(self, path: Path) -> int:
        """Give the dimension of the first row that has a vector; 0 where none has."""
        for part in self._parts(path):
            kind = pq.read_schema(part).field(self._column).type
            if pa.types.is_fixed_size_list(kind):
                return int(kind.list_size)
            with pq.ParquetFile(part) as file:
                for rows in file.iter_batches(1024, columns=[self._column]):
                    if len(there := rows.column(0).drop_null()):
                        return len(there[0])
        return 0

    def _mixed(self, path: Path) -> MixedDimensions:
        """Count the rows of each dimension, and find the first that has not the most frequent one."""
        column = pa.chunked_array(
            [
                _lengths(chunk)
                for part in self._parts(path)
                for chunk in pq.read_table(part, columns=[self._column])[self._column].chunks
            ]
        )
        lengths = column.to_numpy()
        there = lengths[lengths >= 0]
        widths, counts = np.unique(there, return_counts=True)
        most = int(widths[np.argmax(counts)])
        odd = np.flatnonzero((lengths >= 0) & (lengths != most))
        first = self._ids(path)[odd[0]]
        return MixedDimensions(len(there), len(odd), most, first, int(lengths[odd[0]]), where=self.url)

    def _dense(self, column: Any, width: int) -> Vectors:
        """Give lists as float32 (n, d); NaN for rows that are null."""
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        there = column.drop_null()
        rows = np.full((len(column), width), np.nan, np.float32)
        rows[valid] = there.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        return rows

    def texts(self, ids: Any) -> dict[Id, str]:
        """Give the texts of the column ``text``."""
        if self._text is None or self._npy:
            return {}
        wanted, found = set(map(str, ids)), {}
        for part in self._parts(self._path):
            for name, text in zip(*_columns(part, self._key, self._text), strict=True):
                if str(name) in wanted and text is not None:
                    found[name] = str(text)
        return found

    def _make(self, path: Path, vectors: Vectors, target: Path, batch: int) -> None:
        if self._npy:
            with atomic_write(target) as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": vectors.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for start in range(0, len(vectors), batch):
                    file.write(np.ascontiguousarray(vectors[start : start + batch], "<f4").data)
        elif path.is_file():
            self._rewrite(path, vectors, target, batch)
        else:
            start = 0
            with new_folder(target) as folder:
                for one in sorted(path.iterdir()):
                    if one.suffix != ".parquet":
                        (shutil.copytree if one.is_dir() else shutil.copy2)(one, folder / one.name)
                        continue
                    rows = pq.read_metadata(one).num_rows
                    self._rewrite(one, vectors[start : start + rows], folder / one.name, batch)
                    start += rows

    def _rewrite(self, source: Path, vectors: Vectors, target: Path, batch: int) -> None:
        """Copy a Parquet file with other vectors; rows without one stay so."""
        start = 0
        with pq.ParquetFile(source) as file, atomic_write(target) as out:
            place = file.schema_arrow.get_field_index(self._column)
            kind = file.schema_arrow.field(place).type
            fixed = pa.types.is_fixed_size_list(kind)
            made = pa.list_(pa.float32(), vectors.shape[1] if fixed else -1)
            schema = file.schema_arrow.set(place, pa.field(self._column, made))
            with pq.ParquetWriter(out, schema) as writer:
                for rows in file.iter_batches(batch):
                    block = np.array(vectors[start : start + len(rows)])
                    missing: Any = ~np.isfinite(block).all(axis=1)
                    column = pa.FixedSizeListArray.from_arrays(
                        pa.array(block.ravel()),
                        vectors.shape[1],
                        mask=pa.array(missing.tolist()) if missing.any() else None,
                    ).cast(made)
                    columns = [column if i == place else one for i, one in enumerate(rows.columns)]
                    writer.write_batch(pa.record_batch(columns, schema=schema))
                    start += len(rows)


def _lengths(column: Any) -> Any:
    """Give the length of each list as an Arrow array; -1 for rows that are null."""
    return column.value_lengths().cast(pa.int64()).fill_null(-1)


def _widths(column: Any) -> list[int]:
    """Give the different lengths of lists that are not null."""
    return [int(one) for one in np.unique(_lengths(column).to_numpy(zero_copy_only=False)) if one >= 0]


def _columns(part: Path, *names: str) -> list[list[Any]]:
    table = pq.read_table(part, columns=list(names))
    return [table[name].to_pylist() for name in names]
