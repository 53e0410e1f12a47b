"""File formats of rows: each function streams (line, cells by column name)."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embedtune.data.readers.text import lines
from embedtune.errors import DataError

Row = tuple[int, dict[str, Any]]
"""Line in a text file or row in a table, from 1, and the cells."""

_LONGEST_CELL = 2**31 - 1
"""Bytes of a CSV cell; the csv module's own limit of 131,072 is less than a long document."""


def json_lines(path: Path) -> Iterator[Row]:
    """Stream a file with one JSON object a line; blank lines are skipped.

    Raises
    ------
    DataError
        When a line is not a JSON object.
    """
    for number, line in lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line.rstrip("\r\n"))
        except json.JSONDecodeError as error:
            raise _broken_json(path, number, error) from None
        yield number, _object(row, path, number)


def json_list(path: Path) -> Iterator[Row]:
    """Stream a JSON list of objects, each with the line it begins on; JSONL under the name .json works too.

    Raises
    ------
    DataError
        When the JSON is broken, or something in the list is not an object.
    """
    text = "".join(line for _, line in lines(path))
    at = _next(text, 0)
    if text[at : at + 1] != "[":
        yield from json_lines(path)
        return
    decoder, line, counted = json.JSONDecoder(), 1, 0
    at = _next(text, at + 1)
    try:
        while text[at : at + 1] != "]":
            line, counted = line + text.count("\n", counted, at), at
            row, at = decoder.raw_decode(text, at)
            yield line, _object(row, path, line)
            at = _next(text, at)
            if text[at : at + 1] == ",":
                at = _next(text, at + 1)
            elif text[at : at + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    except json.JSONDecodeError as error:
        raise _broken_json(path, error.lineno, error) from None


def comma_separated(path: Path) -> Iterator[Row]:
    """Stream a CSV file; semicolons or tabs separate where the header has those and no comma."""
    header = next(lines(path))[1]
    yield from _separated(
        path, "," if "," in header else ";" if ";" in header else "\t" if "\t" in header else ","
    )


def tab_separated(path: Path) -> Iterator[Row]:
    """Stream a TSV file, with the quoting of CSV."""
    yield from _separated(path, "\t")


def _separated(path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader((line for _, line in lines(path)), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            if header is None and cells:
                header = _header(cells, path, start)
            elif header is not None and cells:
                if len(cells) != len(header):
                    raise DataError(
                        f"the row has {len(cells)} cells, the header {len(header)}",
                        where=f"{path}:{start}",
                        fix="put cells that contain the separator or a line break in double quotes",
                    )
                yield start, dict(zip(header, cells, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        fix = "double the quotes inside a quoted cell, and close every quote; or use JSONL"
        raise DataError(f"the row cannot be parsed: {error}", where=f"{path}:{start}", fix=fix) from None


def _header(cells: list[str], path: Path, line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"column {twice[0]!r} comes twice", where=f"{path}:{line}", fix="rename one of the two"
        )
    return names


def parquet(path: Path) -> Iterator[Row]:
    """Stream a Parquet file, batch by batch."""
    with _readable(path, "Parquet"), pq.ParquetFile(path) as file:
        yield from batches(file.iter_batches())


def arrow(path: Path) -> Iterator[Row]:
    """Stream an Arrow file (also called Feather) or an Arrow stream, batch by batch."""
    with _readable(path, "Arrow"), pa.memory_map(str(path)) as source:
        try:
            file = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            yield from batches(iter(pa.ipc.open_stream(source)))
        else:
            yield from batches(file.get_batch(n) for n in range(file.num_record_batches))


def batches(source: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    """Give the rows of Arrow record batches, numbered from 1."""
    row = 0
    for batch in source:
        for cells in batch.to_pylist():
            row += 1
            yield row, cells


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Turn what Arrow says of a damaged or missing file into one line."""
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), fix="check the path")
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        what = f"this is not a readable {kind} file: {str(error).splitlines()[0]}"
        raise DataError(what, where=str(path), fix="write the file anew") from None


def _object(row: object, path: Path, line: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        what = f"this is a JSON {type(row).__name__}, not an object"
        raise DataError(what, where=f"{path}:{line}", fix='write rows as {"column": value, …}')
    return row


def _broken_json(path: Path, line: int, error: json.JSONDecodeError) -> DataError:
    return DataError(
        f"broken JSON at column {error.colno}: {error.msg}",
        where=f"{path}:{line}",
        fix="mend the line: .jsonl has one object a line, .json one list of objects",
    )


def _next(text: str, at: int) -> int:
    """Position of the next character that is not white space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


FORMATS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_list,
    ".csv": comma_separated,
    ".tsv": tab_separated,
    ".tab": tab_separated,
    ".parquet": parquet,
    ".pq": parquet,
    ".arrow": arrow,
    ".feather": arrow,
}
"""File name ending to the function that streams it."""
