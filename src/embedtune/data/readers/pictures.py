"""Datasets whose texts are paths of images: found, looked through, and the damaged ones told by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedtune.data.dataset import Dataset
from embedtune.data.images import problems_of
from embedtune.data.problems import Problem, place
from embedtune.data.readers import Request
from embedtune.errors import DataError

_SIDES = {"query": "query", "positive": "document", "text": "document"}
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def with_images(dataset: Dataset, roles: frozenset[str], folder: str, asked: Request) -> Dataset:
    """Say which side of a dataset is images, and look through them all, in parallel.

    Paths are relative to ``folder``, or to the folder around it where only that has the first image.

    Parameters
    ----------
    dataset : Dataset
        Its texts are paths on the sides that ``roles`` are of.
    roles : frozenset of str
        ``"query"``, ``"positive"``, ``"text"``: the roles whose cells are paths.
    folder : str
        Where the source lies.
    asked : Request
        Where reading is strict and nothing is skipped, images that cannot be read raise; otherwise they
        and what is judged of them are left out, and reported.

    Raises
    ------
    DataError
        With one line for each image that cannot be read.
    MissingExtra
        When Pillow is not installed.
    """
    images = frozenset(_SIDES[role] for role in roles)
    paths = [path for side in sorted(images) for path in _texts(dataset, side)]
    for path in paths:
        if _URL.match(path):
            what = f"{path!r} is an address, not a file"
            raise DataError(what, where=dataset.source, fix="download the images and give their paths")
    whole = replace(dataset, images=images, root=str(_root(Path(folder), paths)))
    bad = {side: _problems(whole, side) for side in sorted(images)}
    found = [problem for side in bad.values() for problem in side.values()]
    if not found:
        return whole
    if asked.problems.strict and not asked.skip_bad:
        lines = "".join(f"\n  {place(one.file, one.line)}: {one.what}" for one in found)
        fix = "mend or remove them, or leave them out with skip_bad=True (--skip-bad)"
        raise DataError(
            f"{len(found)} of {len(paths)} images cannot be read", where=dataset.source, fix=fix + lines
        )
    asked.problems.found.extend(found)
    kept = _without(whole, bad.get("query", {}), bad.get("document", {}))
    return replace(kept, problems=tuple(asked.problems.found))


def _texts(dataset: Dataset, side: str) -> list[str]:
    return dataset.query_texts if side == "query" else dataset.document_texts


def _root(folder: Path, paths: Sequence[str]) -> Path:
    around = folder.resolve().parent
    if paths and not (folder / paths[0]).exists() and (around / paths[0]).exists():
        return around
    return folder


def _problems(dataset: Dataset, side: str) -> dict[int, Problem]:
    """Give what is wrong with the images of one side, by row."""
    table = dataset.queries if side == "query" else dataset.documents
    items = dataset.items("query" if side == "query" else "document")
    unique = list(dict.fromkeys(items))
    wrong = dict(zip(unique, problems_of(unique), strict=True))
    found = {}
    for row, item in enumerate(items):
        what = wrong[item]
        if what is not None:
            text, file, line = (table[name][row].as_py() for name in ("text", "file", "line"))
            fix = "mend the image, or remove it"
            found[row] = Problem("damaged-images", f"{text}: {what}", file, line, fix, text)
    return found


def _without(dataset: Dataset, queries: dict[int, Problem], documents: dict[int, Problem]) -> Dataset:
    """Leave out rows of both tables, and the judgements of them."""
    keep_queries, keep_documents = (
        _others(len(dataset.queries), queries),
        _others(len(dataset.documents), documents),
    )
    qrels = dataset.qrels
    if len(qrels):
        new = {"query": np.cumsum(keep_queries) - 1, "document": np.cumsum(keep_documents) - 1}
        query, document = qrels["query"].to_numpy(), qrels["document"].to_numpy()
        judged = keep_queries[query] & keep_documents[document]
        qrels = qrels.filter(pa.array(judged))
        for name, rows in (("query", query), ("document", document)):
            column = pa.array(new[name][rows[judged]], pa.int32())
            qrels = qrels.set_column(qrels.column_names.index(name), qrels.schema.field(name), column)
    left = replace(
        dataset,
        queries=dataset.queries.filter(pa.array(keep_queries)),
        documents=dataset.documents.filter(pa.array(keep_documents)),
        qrels=qrels,
    )
    judged_relevant = np.any(left.qrels["grade"].to_numpy() > 0) if len(left.qrels) else False
    if not (judged_relevant if left.task == "retrieval" else len(left.documents)):
        raise DataError(
            "no image can be read",
            where=dataset.source,
            fix="check the paths: they are relative to the source",
        )
    return left


def _others(count: int, rows: dict[int, Problem]) -> NDArray[np.bool_]:
    keep = np.ones(count, bool)
    keep[list(rows)] = False
    return keep
