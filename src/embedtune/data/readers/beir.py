"""BEIR folders: corpus.jsonl, queries.jsonl and qrels/<split>.tsv.

References
----------
Thakur et al. 2021, BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information
Retrieval Models, section 3 (the layout is that of its toolkit). Four-column qrels are TREC's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from embedtune.data.dataset import Dataset, judgements, titled
from embedtune.data.problems import Problems
from embedtune.data.readers import Request
from embedtune.data.readers.formats import FORMATS
from embedtune.data.readers.items import Items
from embedtune.data.readers.text import lines
from embedtune.data.readers.values import as_id, as_score, as_text, split_name
from embedtune.data.slices import SliceColumns
from embedtune.errors import DataError

_COLUMNS = {
    "query": ("query-id", "query_id", "qid", "query"),
    "document": ("corpus-id", "corpus_id", "doc-id", "doc_id", "docid", "document-id", "document_id"),
    "score": ("score", "relevance", "grade", "label"),
}
_ROWS = (".jsonl", ".parquet")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
"""What the hub adds to the name of a split's Parquet file."""


class _Judgement(NamedTuple):
    """One line of a qrels file."""

    query: str
    document: str
    grade: float
    line: int


class Beir:
    """Reads a folder in the layout of BEIR."""

    def accepts(self, source: object) -> bool:
        """Say whether ``source`` is a folder with a corpus, queries or qrels of BEIR."""
        names = ("corpus.jsonl", "queries.jsonl", "corpus.parquet", "queries.parquet", "qrels", "qrels.tsv")
        return isinstance(source, Path) and any((source / name).exists() for name in names)

    def read(self, source: Path, asked: Request) -> Dataset:
        """Read corpus, queries and every qrels file; a document is its title, a space and its text.

        Raises
        ------
        DataError
            When a file is missing, or a line cannot be used.
        """
        if asked.task == "classification" or asked.roles:
            what = "a BEIR folder is a retrieval dataset with fixed roles"
            raise DataError(what, where=str(source), fix="leave out task and roles")
        files = self.qrels_files(source)
        titles: dict[int, str] = {}
        documents, queries = (Items(kind, kind[0], asked.problems) for kind in ("document", "query"))
        _read_items(source, "corpus", documents, asked.problems, SliceColumns(), titles)
        _read_items(source, "queries", queries, asked.problems, asked.slices, {})
        judged: dict[tuple[int, int, float, str], tuple[str, int]] = {}
        for path, split in files:
            for judgement in _judgements(path, split, queries, documents, asked.problems):
                key = (
                    queries.by_id[judgement.query],
                    documents.by_id[judgement.document],
                    judgement.grade,
                    split,
                )
                judged.setdefault(key, (str(path), judgement.line))
        if not any(grade > 0 for _, _, grade, _ in judged):
            fix = "add lines with a score above 0 to qrels"
            raise DataError("no query has a relevant document", where=str(source), fix=fix)
        return Dataset(
            "retrieval",
            titled(documents.table(), titles),
            asked.slices.onto(queries.table()),
            judgements([(*key, *where) for key, where in judged.items()]),
            roles={
                "documents": "corpus.jsonl (title and text)",
                "queries": "queries.jsonl",
                "judgements": ", ".join(path.relative_to(source).as_posix() for path, _ in files),
            },
            source=str(source),
            problems=tuple(asked.problems.found),
        )

    def qrels_files(self, folder: Path) -> list[tuple[Path, str]]:
        """Find the qrels and their splits, train, dev and test first.

        Raises
        ------
        DataError
            When there are none.
        """
        inside = sorted(folder.glob("qrels/*"))
        found = [
            (path, split_name(_SHARD.sub("", path.stem)))
            for path in inside
            if path.suffix.lower() in (".tsv", *_ROWS)
        ]
        if not found and (folder / "qrels.tsv").is_file():
            found = [(folder / "qrels.tsv", "train")]
        if not found:
            fix = "add qrels/train.tsv with the columns query-id, corpus-id, score"
            raise DataError("there are no judgements", where=str(folder / "qrels"), fix=fix)
        order = {"train": 0, "dev": 1, "test": 2}
        return sorted(found, key=lambda file: order.get(file[1], 3))


def _parts(folder: Path, stem: str) -> list[Path]:
    """Find the file of corpus or queries, or the files in a folder of that name."""
    whole = [path for ending in _ROWS if (path := folder / f"{stem}{ending}").is_file()]
    inside = sorted(path for path in folder.glob(f"{stem}/*") if path.suffix.lower() in _ROWS)
    return whole[:1] or inside or [folder / f"{stem}.jsonl"]


def _read_items(
    folder: Path, stem: str, into: Items, problems: Problems, slices: SliceColumns, titles: dict[int, str]
) -> None:
    """Read corpus or queries; an empty document is kept, an empty query is reported and left out."""
    for path in _parts(folder, stem):
        _items_of(path, stem, into, problems, slices, titles)


def _items_of(
    path: Path, stem: str, into: Items, problems: Problems, slices: SliceColumns, titles: dict[int, str]
) -> None:
    name = str(path)
    for line, row in FORMATS[path.suffix.lower()](path):
        key = "id" if "id" in row and "_id" not in row else "_id"
        id = as_id(row.get(key), key, name, line)
        text = as_text(row.get("text"), "text", name, line)
        if "text" not in row:
            columns = ", ".join(row)
            raise DataError(
                "column 'text' is missing",
                where=f"{name}:{line}",
                fix=f"columns seen: {columns}; BEIR has _id and text",
            )
        title = as_text(row.get("title"), "title", name, line)
        text = f"{title} {text}".strip()
        if not text and stem == "queries":
            fix = "write its text, or remove it here and in qrels"
            problems.add("empty-texts", f"query {id!r} is empty", file=name, line=line, fix=fix)
            into.left_out.add(id)
            continue
        at = into.add(text, name, line, id)
        if at is not None:
            titles[at] = title.strip()
            about = row.get("metadata")
            slices.take(at, {**about, **row} if isinstance(about, Mapping) else row, name, line)


def _judgements(
    path: Path, split: str, queries: Items, documents: Items, problems: Problems
) -> list[_Judgement]:
    """Read one qrels file; missing ids, queries without positive and an empty split are reported."""
    name = str(path)
    rows, kept = [row for row in _parse(path) if row.query not in queries.left_out], []
    for row in rows:
        for what, id, items in (("query", row.query, queries), ("document", row.document, documents)):
            if id not in items.by_id:
                place = "queries.jsonl" if what == "query" else "corpus.jsonl"
                fix = f"add it to {place}, or remove the line"
                problems.add(
                    "missing-ids", f"{what} id {id!r} does not exist", file=name, line=row.line, fix=fix
                )
                break
        else:
            kept.append(row)
    if not rows:
        fix = "add lines to it, or remove the file"
        problems.add("empty-splits", f"split {split!r} has no judgements", file=name, line=0, fix=fix)
    positive = {row.query for row in rows if row.grade > 0}
    first = {row.query: row.line for row in reversed(kept) if row.query not in positive}
    for query, line in reversed(first.items()):
        what, fix = (
            f"query {query!r} has no positive",
            "judge a document above 0, or remove the query's lines",
        )
        problems.add("no-positive", what, file=name, line=line, fix=fix)
    return [row for row in kept if row.query in positive]


def _parse(path: Path) -> list[_Judgement]:
    """Read the lines of a qrels file: three columns, with or without header, or TREC's four; or rows."""
    name, order = str(path), [0, 1, 2]
    rows: list[_Judgement] = []
    if path.suffix.lower() != ".tsv":
        return [_judged(row, name, number) for number, row in FORMATS[path.suffix.lower()](path)]
    for number, line in lines(path):
        cells = line.split("\t") if "\t" in line else line.split()
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if not rows and (header := _header(cells)):
            order = header
            continue
        if len(cells) == 4 and order == [0, 1, 2]:
            del cells[1]
        if len(cells) <= max(order) or (order == [0, 1, 2] and len(cells) != 3):
            what = f"the line has {len(cells)} columns"
            fix = "write query-id, corpus-id and score, separated by tabs"
            raise DataError(what, where=f"{name}:{number}", fix=fix)
        query, document, score = *(cells[at] for at in order[:2]), cells[order[2]] if len(order) == 3 else "1"
        rows.append(_Judgement(query, document, as_score(score, "score", name, number), number))
    return rows


def _header(cells: list[str]) -> list[int] | None:
    """Give the positions of query, document and score (if there is one) where this is a header."""
    names = [cell.lower() for cell in cells]
    found = [next((n for n, name in enumerate(names) if name in known), -1) for known in _COLUMNS.values()]
    if found[2] < 0 and len(cells) == 2:
        found = found[:2]
    return found if min(found) >= 0 else None


def _judged(row: Mapping[str, Any], name: str, line: int) -> _Judgement:
    """Read one row of qrels that are kept as JSONL or Parquet, as MTEB does."""
    at = {role: next((key for key in row if key.lower() in known), None) for role, known in _COLUMNS.items()}
    if at["query"] is None or at["document"] is None:
        fix = "columns seen: " + ", ".join(row) + "; expected are query-id, corpus-id, score"
        raise DataError("a column is missing", where=f"{name}:{line}", fix=fix)
    query, document = (
        as_id(row[at[role] or ""], at[role] or "", name, line) for role in ("query", "document")
    )
    score = 1.0 if at["score"] is None else as_score(row[at["score"]], at["score"], name, line)
    return _Judgement(query, document, score, line)
