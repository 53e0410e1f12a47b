"""Large simulated collections of the tasks other than retrieval, for ``memory.py``.

Each is written as ``vectors:FOLDER`` reads it (``vectors/documents.npy``), with labels in ``data/`` from
which there is something to learn: what decides lies along some directions, and the rest is noise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Vectors

CLASSES = 50
EACH = 20
"""Interactions of a user, about."""
USERS = 5
"""Items for each user."""
PAIRS = 2
"""Items for each scored pair: every item is in one pair."""

BLOCK = 50_000


def recommendation(folder: Path, rows: int, dimension: int, rng: np.random.Generator) -> str:
    """Write items in clusters, and users who stay in three of them; popular items are chosen more."""
    clusters = max(4, rows // 500)
    of = _documents(folder, rows, dimension, clusters, rng)
    users = max(2, rows // USERS)
    order = np.argsort(of, kind="stable")
    starts, sizes = np.searchsorted(of[order], np.arange(clusters)), np.bincount(of, minlength=clusters)
    lines = []
    for user in range(users):
        liked = rng.choice(np.flatnonzero(sizes), 3)[rng.integers(0, 3, EACH)]
        place = (rng.random(EACH) ** 3 * sizes[liked]).astype(np.int64)
        for moment, item in enumerate(order[starts[liked] + place].tolist()):
            lines.append(f"u{user}\td{item}\t{moment + 1}")
    _ids(folder, rows)
    _write(folder / "data" / "items.jsonl", (_line(row) for row in range(rows)))
    _write(folder / "data" / "train.tsv", ["user-id\titem-id\ttimestamp", *lines])
    return f"{len(lines):,} interactions of {users:,} users"


def classification(folder: Path, rows: int, dimension: int, rng: np.random.Generator) -> str:
    """Write items of 50 classes."""
    of = _documents(folder, rows, dimension, CLASSES, rng, noise=2.0)
    _ids(folder, rows)
    label = (
        json.dumps({"_id": f"d{row}", "text": f"item {row}", "label": f"c{of[row]}"}) for row in range(rows)
    )
    _write(folder / "data" / "train.jsonl", label)
    return f"{CLASSES} classes"


def similarity(folder: Path, rows: int, dimension: int, rng: np.random.Generator) -> str:
    """Write pairs scored by whether both are of one cluster, and noise."""
    of = _documents(folder, rows, dimension, CLASSES, rng, noise=2.0)
    order = np.argsort(of, kind="stable")
    near, far = order[: rows // 2], rng.permutation(order[rows // 2 :])
    pairs = np.concatenate([near[: len(near) // 2 * 2], far[: len(far) // 2 * 2]]).reshape(-1, PAIRS)
    score = (of[pairs[:, 0]] == of[pairs[:, 1]]) * 3 + rng.random(len(pairs))
    _write(folder / "vectors" / "documents.ids.txt", (f"item {row}" for row in range(rows)))
    made = (
        json.dumps({"sentence1": f"item {a}", "sentence2": f"item {b}", "score": round(s, 2)})
        for (a, b), s in zip(pairs.tolist(), score.tolist(), strict=True)
    )
    _write(folder / "data" / "train.jsonl", made)
    return f"{len(pairs):,} pairs"


TASKS: dict[str, tuple[int, Callable[[Path, int, int, np.random.Generator], str]]] = {
    "recommendation": (100_000, recommendation),
    "classification": (200_000, classification),
    "similarity": (200_000, similarity),
}
"""Rows, and what writes the collection and says what the labels are."""


def _documents(
    folder: Path, rows: int, dimension: int, clusters: int, rng: np.random.Generator, noise: float = 0.6
) -> NDArray[np.int64]:
    """Write unit vectors in clusters; give each row's cluster, (rows,)."""
    (folder / "vectors").mkdir()
    (folder / "data").mkdir()
    centres = _unit(rng.standard_normal((clusters, dimension), np.float32))
    out = np.lib.format.open_memmap(
        folder / "vectors" / "documents.npy", mode="w+", dtype=np.float32, shape=(rows, dimension)
    )
    of = rng.integers(0, clusters, rows)
    for start in range(0, rows, BLOCK):
        some = of[start : start + BLOCK]
        spread = rng.standard_normal((len(some), dimension), np.float32) * (noise / dimension**0.5)
        out[start : start + BLOCK] = _unit(centres[some] + spread)
    out.flush()
    return of


def _ids(folder: Path, rows: int) -> None:
    _write(folder / "vectors" / "documents.ids.txt", (f"d{row}" for row in range(rows)))


def _line(row: int) -> str:
    return f'{{"_id": "d{row}", "text": "item {row}"}}'


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _unit(x: Vectors) -> Vectors:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)
