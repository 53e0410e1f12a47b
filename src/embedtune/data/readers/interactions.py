"""Items in one file or frame, who chose what in others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedtune.data.dataset import Dataset
from embedtune.data.problems import Problems
from embedtune.data.readers import Request
from embedtune.data.readers.files import split_files
from embedtune.data.readers.formats import FORMATS, Row
from embedtune.data.readers.histories import Histories
from embedtune.data.readers.memory import rows_of
from embedtune.data.readers.rows import Part, build
from embedtune.data.readers.values import as_id, as_text, split_name
from embedtune.errors import DataError

_IDS = ("_id", "id", "item_id", "item-id", "item", "itemId", "movieId")
_TEXTS = ("title", "name", "text", "description")


class InteractionsReader:
    """Reads a folder with ``items.*`` and train/dev/test files, or ``{"items": …, "interactions": …}``."""

    def accepts(self, source: object) -> bool:
        """Say whether ``source`` is such a folder or dict."""
        if isinstance(source, Path):
            return any((source / f"items{ending}").is_file() for ending in FORMATS)
        return isinstance(source, Mapping) and {"items", "interactions"} <= source.keys()

    def read(self, source: Any, asked: Request) -> Dataset:
        """Read the items, then who chose them; an item's text is its title, a space and its text.

        ``interactions`` in memory may be a dict of split to frame.

        Raises
        ------
        DataError
            When an id comes twice, or a row cannot be used.
        """
        asked = replace(asked, task="recommendation")
        if isinstance(source, Path):
            path = next(p for e in FORMATS if (p := source / f"items{e}").is_file())
            items = _catalogue(FORMATS[path.suffix.lower()](path), str(path), asked.problems)
            return build(split_files(source), asked, str(source), Histories(asked, items))
        items = _catalogue(rows_of(source["items"]), "items", asked.problems)
        given = source["interactions"]
        frames = given if isinstance(given, Mapping) else {"train": given}
        parts = [
            Part("interactions" if len(frames) == 1 else f"interactions {split!r}",
                 split_name(str(split)), rows_of(frame))
            for split, frame in frames.items()
        ]  # fmt: skip
        return build(parts, asked, "data", Histories(asked, items))


def _catalogue(rows: Iterator[Row], name: str, problems: Problems) -> list[tuple[str, str, str, int]]:
    """Read the items: (id, text, file, line) each."""
    found: dict[str, tuple[str, str, str, int]] = {}
    for line, row in rows:
        key = next((key for key in _IDS if key in row), None)
        if key is None:
            raise DataError(
                f"no column for the item's id; columns seen: {', '.join(row)}",
                where=f"{name}:{line}",
                fix=f"call it one of {', '.join(_IDS)}",
            )
        id = as_id(row[key], key, name, line)
        texts = [as_text(row.get(column), column, name, line).strip() for column in _TEXTS]
        if id in found:
            what, fix = f"item id {id!r} is there already at {name}:{found[id][3]}", "remove one of the two"
            problems.add("duplicate-ids", what, file=name, line=line, fix=fix)
            continue
        found[id] = (id, " ".join(text for text in texts if text), name, line)
    if not found:
        raise DataError("there are no items", where=name, fix="add rows with an id and a text")
    return list(found.values())
