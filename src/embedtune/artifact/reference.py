"""A small sample of what a model was tuned on, kept with it, to see later whether queries have moved away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.data.dataset import Task
from embedtune.errors import ArtifactError
from embedtune.manifest import AGAIN
from embedtune.mapped import gather
from embedtune.transforms.files import load_tensors, save_tensors
from embedtune.types import Kind, Vectors

FILE = "reference.safetensors"

MOST = 256
"""Vectors that are kept, at most."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Vectors of the base, not of the map, for a sample of what was trained on.

    Parameters
    ----------
    vectors : float16 array of shape (n, d)
        As the base gives them: unit length, to within the rounding, where it is compared by cosine.
    kind : {"query", "document"}
        As what they were encoded.
    """

    vectors: NDArray[np.float16]
    kind: Kind

    @classmethod
    def of(cls, train: Any, task: Task, seed: int) -> Reference | None:
        """Draw from a task's training problem: queries, labelled items, sentences or items of histories.

        Gives None where there is nothing, or nothing that float16 can hold.
        """
        every, rows = _vectors(train, task)
        if not len(rows):
            return None
        if len(rows) > MOST:
            rows = np.sort(np.random.default_rng(seed).choice(rows, MOST, replace=False))
        with np.errstate(over="ignore"):
            kept = gather(every, rows).astype(np.float16)
        return cls(kept, "query" if task == "retrieval" else "document") if np.isfinite(kept).all() else None

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the vectors into ``folder``; give the entry for the manifest."""
        save_tensors({"vectors": self.vectors}, folder / FILE)
        return {"file": FILE, "kind": self.kind, "rows": len(self.vectors)}

    @classmethod
    def load(cls, entry: dict[str, Any], folder: Path, dimension: int) -> Reference:
        """Read what ``save`` wrote; ``dimension`` is the base's.

        Raises
        ------
        ArtifactError
            When the file is missing or damaged, or does not fit the manifest.
        """
        path = folder / entry["file"]
        vectors = load_tensors(path).get("vectors")
        shape = (entry["rows"], dimension)
        if (
            vectors is None
            or vectors.dtype != np.float16
            or vectors.shape != shape
            or entry["kind"] not in ("query", "document")
            or not np.isfinite(vectors).all()
        ):
            raise ArtifactError("the reference does not fit the manifest", where=str(path), fix=AGAIN)
        return cls(vectors, entry["kind"])


def _vectors(train: Any, task: Task) -> tuple[Vectors, NDArray[np.int64]]:
    """Give vectors of the base, and the rows of them that were trained on."""
    if task == "retrieval":
        return train.queries, np.arange(len(train.queries))
    if task == "classification":
        return train.items.vectors, np.arange(len(train.items.vectors))
    if task == "similarity":
        return train.items, np.union1d(train.left, train.right)
    return train.interactions.items, np.unique(train.interactions.item)
