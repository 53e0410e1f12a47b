"""Settings of a recommender, judged on the latest interactions of some users within the training data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from embedtune.judging.metrics import evaluate_ranks
from embedtune.mapped import gather
from embedtune.search import positive_ranks
from embedtune.training.budget import Budget
from embedtune.training.interactions import Interactions
from embedtune.transforms import Identity, ItemFactors, Pooling
from embedtune.transforms.by_block import BLOCK, mapped_documents, pooled_histories
from embedtune.tuners.cooccurrence import Spectrum, found
from embedtune.types import Vectors

USERS = 200
"""Users that settings are chosen on, at most."""

METRIC = "recall@20"


@dataclass(frozen=True)
class Held:
    """Latest interactions of some users, held out while settings are chosen."""

    train: Interactions
    """Without them, and without hidden items."""
    rows: NDArray[np.int64]
    """Users that are judged."""
    targets: Interactions
    """What is held out on items that are known."""
    budget: Budget = field(default_factory=Budget)
    """When to stop asking."""

    @classmethod
    def of(
        cls,
        whole: Interactions,
        last: NDArray[np.bool_],
        hidden: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> Held:
        """Hold out the interactions marked ``last``, and everything on ``hidden`` items."""
        train = whole.take(~last & ~hidden[whole.item])
        targets = whole.take(last & (train.popularity > 0)[whole.item])
        rows = np.flatnonzero((targets.counts > 0) & (train.counts > 0))
        if len(rows) > USERS:
            rows = np.sort(rng.choice(rows, USERS, replace=False))
        return cls(train, rows, targets)

    def _ranks(self, queries: list[Vectors], mapped: Callable[[slice], Vectors]) -> NDArray[np.int32]:
        """Rank what is held out for several queries of each user, (len(queries), held out)."""
        self.budget.check()
        relevance, seen = vstack([self._relevance] * len(queries)), vstack([self._seen] * len(queries))
        ranks = positive_ranks(
            np.concatenate(queries),
            self.train.items,
            csr_matrix(relevance),
            block=BLOCK,
            exclude=csr_matrix(seen),
            document_map=mapped,
        )
        return ranks.reshape(len(queries), -1)

    @cached_property
    def _relevance(self) -> csr_matrix:
        relevance = self.targets.matrix()[self.rows]
        relevance.sort_indices()
        return relevance

    @cached_property
    def _seen(self) -> csr_matrix:
        return self.train.matrix()[self.rows]

    def _means(self, ranks: NDArray[np.integer]) -> list[float]:
        """Give the recall of ranks (m, held out)."""
        return [float(evaluate_ranks(one, self._relevance, [METRIC])[METRIC].mean()) for one in ranks]

    def plain(self, spectrum: Spectrum, penalty: float, poolings: Sequence[Pooling]) -> list[float]:
        """Recall of EASE's factors with each pooling; the spectrum has the chosen items alone."""
        roots, chosen = spectrum.roots(penalty), np.flatnonzero(self.train.popularity)
        among = self.train.among_chosen
        weights = [among.matrix(pooling)[self.rows] for pooling in poolings]
        known = np.unique(weights[0].indices)
        u = spectrum.rows(known) * roots

        def mapped(rows: slice) -> Vectors:
            start, stop, _ = rows.indices(len(self.train.items))
            first, end = np.searchsorted(chosen, (start, stop))
            out = np.zeros((stop - start, len(roots)), np.float32)
            out[chosen[first:end] - start] = found(spectrum.rows(slice(first, end)) * roots)
            return out

        return self._means(
            self._ranks([np.asarray(one[:, known] @ u, np.float32) for one in weights], mapped)
        )

    def pooled(self, poolings: Sequence[Pooling]) -> list[float]:
        """Recall of the vectors as they are with each pooling."""
        x, ids = self.train.items, self.train.item_ids
        weights = csr_matrix(vstack([self.train.matrix(pooling)[self.rows] for pooling in poolings]))
        queries = pooled_histories(Identity(), x, ids, weights)
        mapped = mapped_documents(Identity(), x, ids)
        return self._means(self._ranks(np.split(queries, len(poolings)), mapped))

    def boosted(self, transform: ItemFactors, boosts: Sequence[float]) -> list[float]:
        """Recall of a whole map whose vectors of new items are multiplied by each boost.

        Known and new items are ranked together. What is held out is known, so a boost only changes how many
        new items come before it.
        """
        x, among = self.train.items, self.train.among_chosen
        chosen = np.flatnonzero(self.train.popularity)
        weights = among.matrix(transform.pooling)[self.rows]
        queries = pooled_histories(transform, among.items, among.item_ids, weights)
        held = self._relevance[:, chosen]
        mapped = mapped_documents(transform, among.items, among.item_ids)
        ranks = positive_ranks(
            queries, among.items, held, block=BLOCK, exclude=self._seen[:, chosen], document_map=mapped
        )
        user = np.repeat(np.arange(len(self.rows)), np.diff(held.indptr))
        names = [among.item_ids[row] for row in held.indices]
        own = np.einsum("ij,ij->i", queries[user], transform.documents(among.items[held.indices], names))
        found = np.tile(ranks.astype(np.int64), (len(boosts), 1))
        new = np.flatnonzero(self.train.popularity == 0)
        for start in range(0, len(new), BLOCK):
            self.budget.check()
            v = gather(x, new[start : start + BLOCK]) @ transform.content_found.T
            v /= np.float32(transform.longest or 1.0)
            scores, length = queries[:, : v.shape[1]] @ v.T, np.linalg.norm(v, axis=1)
            for count, boost in zip(found, boosts, strict=True):
                boosted = scores * (boost / np.maximum(1, boost * length))  # longer ones are cut
                count += (boosted[user] > own[:, None]).sum(axis=1)
        return self._means(found)
