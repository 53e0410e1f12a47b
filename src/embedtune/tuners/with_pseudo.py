"""Another tuner, on the labels and on what documents say of themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_matrix, vstack

from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.tuners.base import Tuner
from embedtune.types import Transform


@dataclass(frozen=True)
class WithPseudoQueries:
    """Fits another tuner to the labels and the pseudo-queries together.

    Few labels leave most directions of a map to chance, and say nothing of documents that none of them asks
    for. What documents say of themselves covers the whole collection: which differences between them matter,
    and how a short text relates to a long one. Labels still say what is wanted.

    Parameters
    ----------
    tuner : Tuner
        What is fitted.
    weight : float
        Weight of all pseudo-queries together, in units of that of all labelled queries.

    References
    ----------
    Lee et al. 2019 (arXiv:1906.00300, section 4: a part of a document as the query that finds it); Wang et
    al. 2022, GPL (arXiv:2112.07577), for pseudo-queries in adapting a retriever to a collection.
    """

    tuner: Tuner
    weight: float = 3.0

    name: ClassVar[str] = "with pseudo-queries"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval",)
    needs: ClassVar[str] = "vectors"

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Transform:
        """Fit the tuner; to the labels alone where there are no pseudo-queries."""
        return self.tuner.fit(with_pseudo_queries(train, self.weight), seed=seed, budget=budget)


def with_pseudo_queries(train: TuningData, weight: float) -> TuningData:
    """Give training data in which the pseudo-queries are queries as the others, at ``weight`` of these."""
    pseudo = train.pseudo
    if pseudo is None or not len(pseudo.documents):
        return train
    count, total = len(pseudo.documents), len(train.documents)
    own = np.ones(len(train), np.float32) if train.weight is None else train.weight
    each = np.full(count, weight * own.sum() / count, np.float32)
    pairs = csr_matrix((np.ones(count, np.float32), pseudo.documents, np.arange(count + 1)), (count, total))
    nothing = csr_matrix((count, total), dtype=np.float32)
    return replace(
        train,
        queries=np.concatenate([train.queries, pseudo.vectors]),
        positives=csr_matrix(vstack([train.positives, pairs])),
        known=csr_matrix(vstack([train.known, pairs])),
        negatives=None if train.negatives is None else csr_matrix(vstack([train.negatives, nothing])),
        weight=np.concatenate([own, each]),
        made=None,
        pseudo=None,
    )
