"""LlamaIndex's ``EmbeddingQAFinetuneDataset``: queries, corpus and relevant_docs, as JSON or in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedtune.data.dataset import Dataset, judgements
from embedtune.data.problems import Problems
from embedtune.data.readers import Request
from embedtune.data.readers.items import Items
from embedtune.data.readers.text import lines
from embedtune.data.readers.values import as_text
from embedtune.errors import DataError

_KEYS = ("queries", "corpus", "relevant_docs")
_BEGINNING = re.compile(r'\s*\{\s*("mode"\s*:\s*"[^"]*"\s*,\s*)?"(queries|corpus|relevant_docs)"\s*:\s*\{')
_PEEK = 512


class LlamaIndex:
    """Reads the JSON that ``save_json`` writes, the object itself, or a mapping with its three keys."""

    def accepts(self, source: object) -> bool:
        """Say whether ``source`` has queries, corpus and relevant_docs; of a file, looks at the beginning."""
        if isinstance(source, Path):
            return source.suffix.lower() == ".json" and source.is_file() and _begins(source)
        if isinstance(source, Mapping):
            return all(key in source for key in _KEYS)
        return all(isinstance(getattr(source, key, None), Mapping) for key in _KEYS)

    def read(self, source: Any, asked: Request) -> Dataset:
        """Read the dataset; all of it is 'train', and every relevant document has grade 1.

        Raises
        ------
        DataError
            When the JSON is broken, a part is missing, or an id has no text.
        """
        where = str(source) if isinstance(source, Path) else "data"
        if asked.task not in (None, "retrieval") or asked.roles:
            what = "an EmbeddingQAFinetuneDataset is a retrieval dataset with fixed roles"
            raise DataError(what, where=where, fix="leave out task and roles")
        parts = _parts(source, where)
        queries = _items(parts["queries"], "query", where, asked.problems)
        documents = _items(parts["corpus"], "document", where, asked.problems)
        judged: dict[tuple[int, int], None] = {}
        for query, relevant in parts["relevant_docs"].items():
            if not isinstance(relevant, list):
                what = f"the relevant documents of query {query!r} are no list"
                raise DataError(what, where=where, fix="give a list of ids")
            missing = [one for one in relevant if one not in documents.by_id]
            if query in queries.left_out:
                continue
            if query not in queries.by_id:
                _missing("query", query, "queries", where, asked.problems)
                continue
            for one in missing:
                _missing("document", one, "corpus", where, asked.problems)
            if not relevant:
                what, fix = (
                    f"query {query!r} has no positive",
                    "name a relevant document, or remove the query",
                )
                asked.problems.add("no-positive", what, file=where, line=0, fix=fix)
            row = queries.by_id[query]
            known = (documents.by_id[one] for one in relevant if one in documents.by_id)
            judged |= dict.fromkeys((row, document) for document in known)
        if not judged:
            fix = "name relevant documents in relevant_docs"
            raise DataError("no query has a relevant document", where=where, fix=fix)
        return Dataset(
            "retrieval",
            documents.table(),
            queries.table(),
            judgements([(query, document, 1.0, "train", where, 0) for query, document in judged]),
            roles={"documents": "corpus", "queries": "queries", "judgements": "relevant_docs"},
            source=where,
            problems=tuple(asked.problems.found),
        )


def _begins(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(_PEEK).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    return _BEGINNING.match(start) is not None


def _parts(source: Any, where: str) -> dict[str, Mapping[str, Any]]:
    content = source
    if isinstance(source, Path):
        try:
            content = json.loads("".join(line for _, line in lines(source)))
        except json.JSONDecodeError as error:
            what = f"broken JSON at column {error.colno}: {error.msg}"
            raise DataError(what, where=f"{where}:{error.lineno}", fix="save the dataset anew") from None
    get = content.get if isinstance(content, Mapping) else lambda key: getattr(content, key)
    parts: dict[str, Mapping[str, Any]] = {}
    for key in _KEYS:
        part = get(key)
        if not isinstance(part, Mapping):
            raise DataError(f"{key!r} is missing, or no mapping of ids", where=where, fix=f"add {key!r}")
        parts[key] = part
    return parts


def _items(texts: Mapping[str, Any], what: str, where: str, problems: Problems) -> Items:
    """Take texts by id; an empty document is kept, an empty query is reported and left out."""
    found = Items(what, what[0], problems)
    for id, value in texts.items():
        text = as_text(value, f"{what} {id!r}", where, 0)
        if what == "query" and not text.strip():
            fix = "write its text, or remove it"
            problems.add("empty-texts", f"query {id!r} is empty", file=where, line=0, fix=fix)
            found.left_out.add(str(id))
            continue
        found.add(text, where, 0, str(id))
    return found


def _missing(what: str, id: object, place: str, where: str, problems: Problems) -> None:
    fix = f"add it to {place!r}, or remove it from 'relevant_docs'"
    problems.add("missing-ids", f"{what} id {id!r} does not exist", file=where, line=0, fix=fix)
