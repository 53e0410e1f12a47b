"""NUDGE-M and NUDGE-N by their authors' own package, through its own API.

Package ``nudge-ft`` 0.1.2 (import name ``nudge``), on the CPU, with its default settings. It is given
the train queries with all their positives to fit, and the dev queries with all theirs as its
validation set, from which it takes its step size. Queries do not move. NUDGE-M's documents are not of
unit length and are to be compared by inner product, as its docstring asks; that is what the
benchmark does with every peer's vectors.

References
----------
Zeighami, Wellmer and Parameswaran 2025, NUDGE: Lightweight Non-Parametric Fine-Tuning of Embeddings
for Retrieval, ICLR, arXiv:2409.02343.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from embedtune.types import Vectors

Maps = tuple[Callable[[Vectors], Vectors], Callable[[Vectors], Vectors]]


def fit_m(queries: Vectors, documents: Vectors, train: csr_matrix, dev: csr_matrix, seed: int) -> Maps:
    """Fit NUDGE-M: every document with a train query moves by the same, unbounded step."""
    from nudge import NUDGEM

    return _fit(NUDGEM, queries, documents, train, dev)


def fit_n(queries: Vectors, documents: Vectors, train: csr_matrix, dev: csr_matrix, seed: int) -> Maps:
    """Fit NUDGE-N: documents with a train query move on the unit sphere, within a radius."""
    from nudge import NUDGEN

    return _fit(NUDGEN, queries, documents, train, dev)


def _fit(method: Any, queries: Vectors, documents: Vectors, train: csr_matrix, dev: csr_matrix) -> Maps:
    import torch

    with contextlib.redirect_stdout(io.StringIO()):  # the package prints its steps
        moved = method(device=torch.device("cpu")).finetune_embeddings(
            np.array(documents, np.float32), labelled(queries, train), labelled(queries, dev)
        )

    def map_queries(x: Vectors) -> Vectors:
        return x

    def map_documents(x: Vectors) -> Vectors:
        if len(x) != len(moved):
            raise ValueError("NUDGE moves the documents that it was fitted on, and no others")
        return np.asarray(moved, np.float32)

    return map_queries, map_documents


def labelled(queries: Vectors, judged: csr_matrix) -> dict[str, Any]:
    """Give the queries that have a positive and their positives, as the package takes them."""
    rows = np.flatnonzero(np.diff(judged.indptr))
    answers = [judged.indices[judged.indptr[row] : judged.indptr[row + 1]].tolist() for row in rows]
    return {"q_embs": np.array(queries[rows], np.float32), "q_ans_indx": answers}
