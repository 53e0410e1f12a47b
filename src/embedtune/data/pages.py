"""A collection without labels: pages with a text, and where there are, an id, a title and links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedtune.data.dataset import Dataset
from embedtune.data.readers.formats import FORMATS
from embedtune.data.readers.values import as_id, as_text
from embedtune.errors import DataError

_IDS = ("id", "_id", "doc_id", "document_id")
_TEXTS = ("text", "body", "content", "document", "passage", "abstract")
_TITLES = ("title", "heading", "name", "subject")
_LINKS = ("links", "link", "citations", "cites", "references", "see_also")


@dataclass(frozen=True)
class Page:
    """One document of a collection."""

    id: str
    """Its own, or its number from 0."""
    title: str
    """Empty where there is none."""
    text: str
    """Without the title."""
    links: tuple[str, ...]
    """Ids of the pages that it cites."""
    file: str
    line: int


def pages(source: Any) -> list[Page]:
    """Read a collection.

    Parameters
    ----------
    source : path, sequence of str or of dicts, Dataset
        A file of rows with a column ``text`` and perhaps ``id``, ``title`` and ``links`` (a list of ids, or
        ids with spaces or commas between them); a folder with such a ``corpus.jsonl``; texts; rows; or
        the documents of a Dataset. Rows without text and title are passed over.

    Raises
    ------
    DataError
        When there is no column of texts, an id comes twice, or nothing is left.
    """
    found: dict[str, Page] = {}
    for page in _read(source):
        if page.id in found:
            where = f"{page.file}:{page.line}" if page.line else page.file
            raise DataError(f"id {page.id!r} comes twice", where=where, fix="give every document its own id")
        if page.text.strip() or page.title.strip():
            found[page.id] = page
    if not found:
        raise DataError("there are no texts", where=_name(source), fix="give rows with a column 'text'")
    return list(found.values())


def _read(source: Any) -> Iterator[Page]:
    if isinstance(source, Dataset):
        rows: Iterable[tuple[int, Any]] = enumerate(
            (
                {"id": id, "text": text}
                for id, text in zip(source.document_ids, source.document_texts, strict=True)
            ),
            1,
        )
        yield from _of_rows(rows, source.source)
        return
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            path = next((file for ending in FORMATS if (file := path / f"corpus{ending}").is_file()), path)
        if path.suffix.lower() not in FORMATS:
            what = "there is no collection here" if path.exists() else "there is no such file or folder"
            fix = f"give a file that ends in {', '.join(FORMATS)}, or a folder with corpus.jsonl"
            raise DataError(what, where=str(path), fix=fix)
        yield from _of_rows(FORMATS[path.suffix.lower()](path), str(path))
        return
    if not isinstance(source, Sequence):
        what = f"cannot read a collection from {type(source).__name__}"
        raise DataError(what, fix="give a path, a list of texts or a list of dicts")
    yield from _of_rows(enumerate(source, 1), "data")


def _of_rows(rows: Iterable[tuple[int, Any]], name: str) -> Iterator[Page]:
    for number, (line, row) in enumerate(rows):
        if isinstance(row, str):
            row = {"text": row}
        if not isinstance(row, Mapping):
            what = f"row {line} is a {type(row).__name__}, neither text nor dict"
            raise DataError(what, where=f"{name}:{line}", fix='give texts, or {"title": …, "text": …}')
        by_name = {key.strip().lower(): key for key in row}
        id, text, title, links = (
            next((by_name[one] for one in names if one in by_name), None)
            for names in (_IDS, _TEXTS, _TITLES, _LINKS)
        )
        if text is None:
            fix = f"columns seen: {', '.join(row)}; call it 'text'"
            raise DataError("there is no column of texts", where=f"{name}:{line}", fix=fix)
        yield Page(
            str(number) if id is None else as_id(row[id], id, name, line),
            "" if title is None else as_text(row[title], title, name, line).strip(),
            as_text(row[text], text, name, line).strip(),
            () if links is None else _links(row[links], links, name, line),
            name,
            line,
        )


def _links(value: Any, column: str, file: str, line: int) -> tuple[str, ...]:
    if value is None:
        return ()
    listed = value.replace(",", " ").replace(";", " ").split() if isinstance(value, str) else value
    if not isinstance(listed, Sequence):
        listed = [listed]
    return tuple(dict.fromkeys(as_id(one, column, file, line) for one in listed))


def _name(source: Any) -> str:
    return (
        source.source if isinstance(source, Dataset) else str(source) if isinstance(source, Path) else "data"
    )
