"""A small world in which the base is a blurred view of what the teacher sees clearly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from unit_length import unit

D, DOCUMENTS, QUERIES, LABELLED = 24, 100, 340, 40


@dataclass
class World:
    """A BEIR folder of which a tenth of the queries is labelled, and vectors of base and teacher."""

    folder: Path
    base: dict[str, Any]
    teacher: dict[str, Any]
    truth: np.ndarray
    """Document of each query."""


def make_world(parent: Path) -> World:
    """Write the folder, and make the vectors of both.

    The base's queries are turned documents with noise; the teacher's are neither, so that its nearest
    document is the truth.

    The first 40 queries have labels in train, the last 100 in test, and those between have none.
    """
    rng = np.random.default_rng(0)
    documents = unit(rng.standard_normal((DOCUMENTS, D)))
    truth = rng.integers(0, DOCUMENTS, QUERIES)
    turn = np.linalg.qr(rng.standard_normal((D, D)))[0]
    clear = unit(documents[truth] + 0.02 * rng.standard_normal((QUERIES, D)))
    blurred = unit(clear @ turn.T + 0.12 * rng.standard_normal((QUERIES, D)))
    folder = parent / "data"
    (folder / "qrels").mkdir(parents=True)
    write(folder / "corpus.jsonl", [{"_id": f"d{i}", "text": f"document {i}"} for i in range(DOCUMENTS)])
    write(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"query {i}"} for i in range(QUERIES)])
    for split, rows in (("train", range(LABELLED)), ("test", range(QUERIES - 100, QUERIES))):
        lines = [f"q{i}\td{truth[i]}\t1\n" for i in rows]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    ids = [f"q{i}" for i in range(QUERIES)], [f"d{i}" for i in range(DOCUMENTS)]
    return World(
        folder,
        {"queries": (ids[0], blurred), "documents": (ids[1], documents)},
        {"queries": (ids[0], clear), "documents": (ids[1], documents)},
        truth,
    )


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
