"""Hugging Face datasets: ``Dataset`` and ``DatasetDict`` in memory, and folders of ``save_to_disk``.

The folders are Arrow streams with a little JSON beside them, so they are read without the library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedtune.data.dataset import Dataset
from embedtune.data.readers import Request
from embedtune.data.readers.formats import Row, arrow
from embedtune.data.readers.rows import Part, build
from embedtune.data.readers.values import split_name
from embedtune.errors import DataError
from embedtune.files import atomic_write

_STATE, _DICT = "state.json", "dataset_dict.json"
_BATCH = 1000


class HuggingFace:
    """Reads what the library ``datasets`` makes; class labels get their names, images their files."""

    def accepts(self, source: object) -> bool:
        """Say whether ``source`` is an object of the library, or a folder that it saved."""
        if isinstance(source, Path):
            return (source / _STATE).is_file() or (source / _DICT).is_file()
        return type(source).__module__.partition(".")[0] == "datasets"

    def read(self, source: Any, asked: Request) -> Dataset:
        """Read the rows; the splits of a dict are the splits, anything else is 'train'.

        Raises
        ------
        DataError
            When a folder is not whole, or holds an index that only the library can apply.
        """
        if isinstance(source, Path):
            return build(_in_order(_saved(source)), asked, str(source))
        named = source if isinstance(source, Mapping) else {"train": source}
        parts = []
        for name, one in named.items():
            split = split_name(str(name))
            where = "data" if len(named) == 1 else f"data[{name!r}]"
            parts.append(Part(where, split, _in_memory(one, where)))
        if not parts:
            raise DataError("the DatasetDict is empty", where="data", fix="give one with a split")
        return build(_in_order(parts), asked, "data")


def _in_order(parts: list[Part]) -> list[Part]:
    """Put train, dev and test first."""
    order = ("train", "dev", "test")
    return sorted(parts, key=lambda part: order.index(part.split) if part.split in order else len(order))


def _in_memory(source: Any, where: str) -> Iterator[Row]:
    features = getattr(source, "features", None)
    known = features.to_dict() if features else {}
    rows = source.with_format("arrow").iter(batch_size=_BATCH)  # by way of its indices, undecoded
    return _cells(
        ((batch if isinstance(batch, pa.Table) else pa.table(batch)) for batch in rows), known, where
    )


def _saved(folder: Path) -> list[Part]:
    if (folder / _DICT).is_file():
        names = _json(folder / _DICT).get("splits", [])
        return [part for name in names for part in _saved_split(folder / name, split_name(name))]
    return _saved_split(folder, "train")


def _saved_split(folder: Path, default: str) -> list[Part]:
    state, info = _json(folder / _STATE), _json(folder / "dataset_info.json")
    if state.get("_indices_data_files"):
        fix = "call flatten_indices() before save_to_disk()"
        raise DataError("the rows are chosen by an index beside the data", where=str(folder), fix=fix)
    split = split_name(state["_split"]) if default == "train" and state.get("_split") else default
    parts = []
    for file in state.get("_data_files") or ():
        path = folder / file["filename"]
        if path.parent != folder:
            raise DataError(
                "a data file is named outside the folder", where=str(folder / _STATE), fix="save anew"
            )
        tables = _tables(path)
        parts.append(
            Part(str(path), split, _cells(tables, info.get("features") or {}, str(path)), str(folder))
        )
    if not parts:
        raise DataError("the folder names no data files", where=str(folder / _STATE), fix="save it anew")
    return parts


def _tables(path: Path) -> Iterator[pa.Table]:
    """Stream a file as tables of a few rows."""
    batch: list[dict[str, Any]] = []
    for _, row in arrow(path):
        batch.append(row)
        if len(batch) == _BATCH:
            yield pa.Table.from_pylist(batch)
            batch = []
    if batch:
        yield pa.Table.from_pylist(batch)


def _cells(tables: Iterator[pa.Table], features: Mapping[str, Any], where: str) -> Iterator[Row]:
    """Give the rows of tables, numbered from 1, with names for class labels and paths for images."""
    changes = {name: change for name, feature in features.items() if (change := _change(feature))}
    number = 0
    for table in tables:
        for row in table.to_pylist():
            number += 1
            for name, change in changes.items():
                if name in row:
                    row[name] = change(row[name], f"{where}:{number}, column {name!r}")
            yield number, row


def _change(feature: Any) -> Callable[[Any, str], Any] | None:
    """Give what turns a stored cell of a feature into text, where it is not text already."""
    if isinstance(feature, list):
        feature = {"_type": "List", "feature": feature[0]}
    if not isinstance(feature, Mapping):
        return None
    kind = feature.get("_type")
    if kind == "ClassLabel" and feature.get("names"):
        names = list(feature["names"])
        return lambda cell, place: _label(cell, names, place)
    if kind == "Image":
        return _image
    if kind in ("Sequence", "List", "LargeList") and (inner := _change(feature.get("feature"))):
        return lambda cell, place: None if cell is None else [inner(one, place) for one in cell]
    return None


def _label(cell: Any, names: list[str], place: str) -> str | None:
    if cell is None or cell == -1:  # the library's sign for 'not labelled'
        return None
    if isinstance(cell, int) and 0 <= cell < len(names):
        return names[cell]
    raise DataError(
        f"{cell!r} is none of the {len(names)} class labels", where=place, fix="mend the features"
    )


def _image(cell: Any, place: str) -> str | None:
    """Give the path of an image; one that is in the table is written to the cache, named by its content."""
    from embedtune.cache_place import cache_folder

    if not isinstance(cell, Mapping):
        return cell if cell is None else str(cell)
    content, path = cell.get("bytes"), cell.get("path")
    if content is None:
        return path
    file = cache_folder() / "images" / hashlib.sha256(content).hexdigest()
    if not file.is_file():
        with atomic_write(file) as out:
            out.write(content)
    return str(file.resolve())


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise DataError("this file is missing or damaged", where=str(path), fix="call save_to_disk() again")
    return content
