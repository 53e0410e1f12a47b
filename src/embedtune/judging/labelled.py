"""Labelled queries with the vectors of both sides: what candidates are fitted to and judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from embedtune.data.splits import folds, hold_out, seen, seen_share
from embedtune.judging.metrics import evaluate_ranks
from embedtune.judging.problem import FAR, Round
from embedtune.mapped import gather, release
from embedtune.memory import at_most
from embedtune.search import positive_ranks, top_k
from embedtune.training.of_documents import PseudoQueries, Unread
from embedtune.training.retrieval import TuningData
from embedtune.types import Similarity, Transform, Vectors

MAP_AT_ONCE = 256 * 2**20
"""Bytes of documents mapped in one go; more are mapped block by block while they are searched."""

ASKED = 300
"""Queries whose neighbours are compared."""

FEW = 20
"""Queries of a split of the user's own, below which it says nothing about traffic."""

ENOUGH_APART = 150
"""Queries of such a split that are enough to be all that is held out."""

POOL = 50_000
"""Documents that candidates are chosen on, at most; the shipped map is judged on all."""


@dataclass(frozen=True)
class Labelled:
    """Queries with judgements, and the collection they search.

    Parameters
    ----------
    queries : float32 array of shape (n, d)
        Unit length where the similarity is cosine.
    documents : float32 array of shape (N, d)
        May be memory-mapped.
    relevance : csr_matrix of shape (n, N)
        Grades above 0; every row has one.
    document_ids : sequence of str
        Names of the documents.
    groups : int array of shape (n,)
        Near-duplicate queries share a number.
    similarity : str
        ``"cosine"`` or ``"dot"``.
    negatives : csr_matrix of shape (n, N), optional
        Pairs judged not relevant.
    outside : bool array of shape (n,), optional
        Queries of a split that the user has set apart (dev): judged once more by a round of their own,
        trained on all others.
    weight : float32 array of shape (n,), optional
        How much each query counts in training; in judging all count alike.
    made : bool array of shape (n,), optional
        Queries made from the collection itself: they train, and are never judged.
    taught : csr_matrix of shape (n, N), optional
        A teacher's scores, see :meth:`embedtune.data.dataset.Dataset.teaching`; for training alone.
    fixed : tuple of Round
        Rounds that are given, where training is too long for more; drawn unless given.
    pseudo : PseudoQueries, optional
        What documents say of themselves: it trains beside the labels of every round, and is never judged.
    unread : Unread, optional
        What the base does not read of long documents.
    """

    queries: Vectors
    documents: Vectors
    relevance: csr_matrix
    document_ids: Sequence[str]
    groups: NDArray[np.int64]
    similarity: Similarity = "cosine"
    negatives: csr_matrix | None = None
    outside: NDArray[np.bool_] | None = None
    made: NDArray[np.bool_] | None = None
    weight: NDArray[np.float32] | None = None
    taught: csr_matrix | None = None
    fixed: tuple[Round, ...] = ()
    pseudo: PseudoQueries | None = None
    unread: Unread | None = None

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, rows: NDArray[np.int64]) -> Labelled:
        """Keep some of the queries."""
        return replace(
            self,
            queries=self.queries[rows],
            relevance=self.relevance[rows],
            groups=self.groups[rows],
            negatives=None if self.negatives is None else self.negatives[rows],
            outside=None if self.outside is None else self.outside[rows],
            made=None if self.made is None else self.made[rows],
            weight=None if self.weight is None else self.weight[rows],
            taught=None if self.taught is None else self.taught[rows],
        )

    @property
    def size(self) -> int:
        """Bytes of both sides' vectors."""
        return int(self.queries.nbytes + self.documents.nbytes)

    @property
    def tells_far(self) -> bool:
        """Always: labels name single documents, so that a wrong one shows in its rank."""
        return True

    def training(self, positives: csr_matrix) -> TuningData:
        """Training data for the given ``positives`` (n, N); queries without one are left out."""
        rows = np.flatnonzero(np.diff(positives.indptr))
        return TuningData(
            self.queries[rows],
            self.documents,
            positives[rows],
            self.relevance[rows],
            self.document_ids,
            self.similarity,
            None if self.negatives is None else self.negatives[rows],
            None if self.weight is None else self.weight[rows],
            None if self.made is None else self.made[rows],
            self.pseudo,
            self.unread,
        )

    def rounds(self, seed: int) -> list[Round]:
        """Hold out by query and by document, and once the user's own dev split, where there is one."""
        if self.fixed:
            return list(self.fixed)
        apart = self._apart
        judged = 0 if apart is None else int(apart.sum())
        found = folds(self.relevance, self.groups, judged=judged, made=self.made, seed=seed)
        rounds = [
            self._round(one.train, np.r_[one.by_query, one.by_document], len(one.by_query)) for one in found
        ]
        if apart is not None:
            held = np.flatnonzero(apart)
            others = self.thinned(self.relevance, ~apart)
            rounds.append(replace(self._round(others, held, len(held)), outside=True))
        return rounds

    def hold_out(self, share: float, most: int, seed: int) -> Round:
        """Give one round: the user's own dev split where it is large enough, else a share of the queries."""
        apart = self._apart
        if apart is not None and ENOUGH_APART <= apart.sum() <= len(self) / 2:
            held = np.flatnonzero(apart)
            return replace(self._round(self.thinned(self.relevance, ~apart), held, len(held)), outside=True)
        one = hold_out(self.relevance, self.groups, share=share, most=most, made=self.made, seed=seed)
        return self._round(one.train, np.r_[one.by_query, one.by_document], len(one.by_query))

    @property
    def _apart(self) -> NDArray[np.bool_] | None:
        """The user's own split, where both it and the rest are large enough to say something."""
        if self.outside is None or not FEW <= self.outside.sum() <= len(self) - FEW:
            return None
        return self.outside

    def _round(self, train: csr_matrix, held: NDArray[np.int64], natural: int) -> Round:
        """Make a round; the first ``natural`` of ``held`` are held out by query.

        Rows held out by document that are seen all the same belong to no stratum; made ones are not judged.
        """
        by_query = np.arange(len(held)) < natural
        if self.made is not None:
            by_query, held = by_query[~self.made[held]], held[~self.made[held]]
        known = seen(self.relevance[held], train)
        return Round(train, held, {"seen": known & by_query, "unseen": ~known}, by_query)

    def thinned(self, train: csr_matrix, kept: NDArray[np.bool_]) -> csr_matrix:
        """Give the positives of some queries alone."""
        fewer = csr_matrix(diags(kept.astype(np.float32)) @ train)
        fewer.eliminate_zeros()
        return fewer

    @property
    def everything(self) -> csr_matrix:
        """All positives."""
        return self.relevance

    def shares(self) -> Mapping[str, float]:
        """Seen and unseen in the shares of the user's own split; without one, as the labels repeat."""
        apart = self._apart
        if apart is None:
            share = seen_share(self.relevance, self.made)
        else:
            share = float(seen(self.relevance[apart], self.relevance[~apart]).mean())
        return {"seen": share, "unseen": 1 - share}

    def evaluate(
        self, transform: Transform, rows: NDArray[np.int64], train: object, metrics: Sequence[str]
    ) -> dict[str, NDArray[np.float64]]:
        """Give each metric of ``rows``, (r,), searching all documents; ``train`` plays no part."""
        return self.take(rows).scores(transform, metrics)

    def scores(self, transform: Transform, metrics: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Give each metric of every query, (n,), under ``transform``, searching all documents.

        :data:`FAR` is 1 where the best positive of a query ranks where half of all queries would have
        theirs if ranks were drawn by chance, or worse; else 0.
        """
        if not len(self):
            return {name: np.empty(0) for name in metrics}
        ranks = self._ranks(transform)
        found = evaluate_ranks(ranks, self.relevance, [name for name in metrics if name != FAR])
        if FAR in metrics:
            positives = np.diff(self.relevance.indptr)
            best = np.minimum.reduceat(ranks, self.relevance.indptr[:-1])
            found[FAR] = (best > len(self.documents) * (1 - 0.5 ** (1 / positives))).astype(np.float64)
        return found

    def neighbours(self, transform: Transform, k: int, seed: int) -> NDArray[np.int64]:
        """Give the ``k`` nearest documents of up to :data:`ASKED` queries, (queries, k)."""
        rng = np.random.default_rng(seed)
        asked = np.sort(rng.choice(len(self), min(len(self), ASKED), replace=False))
        documents = transform.documents(np.asarray(self.documents, np.float32), self.document_ids)
        return top_k(transform.queries(self.queries[asked]), documents, k)[0]

    def places(self, rows: NDArray[np.int64]) -> Vectors:
        """Give the queries' vectors, (len(rows), d)."""
        return np.asarray(self.queries[rows], np.float32)

    def _ranks(self, transform: Transform) -> NDArray[np.int32]:
        queries = transform.queries(self.queries)
        if self.documents.nbytes <= at_most(MAP_AT_ONCE):
            documents = transform.documents(np.asarray(self.documents, np.float32), self.document_ids)
            return positive_ranks(queries, documents, self.relevance)
        return positive_ranks(
            queries,
            self.documents,
            self.relevance,
            document_map=lambda rows: self._mapped(transform, rows),
        )

    def _mapped(self, transform: Transform, rows: slice) -> Vectors:
        mapped = transform.documents(np.asarray(self.documents[rows], np.float32), self.document_ids[rows])
        release(self.documents)
        return mapped

    def _nearest(self, asked: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        """Rows of the ``k`` nearest documents of each part of the collection, for some of the queries."""
        found = []
        for start in range(0, len(self.documents), POOL):
            part = self.documents[start : start + POOL]
            found.append(start + top_k(self.queries[asked], part, k)[0].ravel())
            release(self.documents)
        return np.concatenate(found)

    def pooled(self, seed: int) -> Labelled:
        """Cut a large collection to :data:`POOL` documents: the judged, the nearest, and a random rest.

        Scores on a pool are somewhat higher than on the whole, for base and tuned alike.
        """
        if len(self.documents) <= POOL:
            return self
        rng = np.random.default_rng(seed)
        judged = [self.relevance.indices] + ([] if self.negatives is None else [self.negatives.indices])
        judged += [] if self.pseudo is None else [self.pseudo.documents]
        asked = np.sort(rng.choice(len(self), min(len(self), 1000), replace=False))
        near = self._nearest(asked, max(1, 20 * POOL // len(self.documents)))
        core = np.unique(np.concatenate([*judged, near]))
        extra = rng.choice(len(self.documents), max(POOL - len(core), 0), replace=False)
        rows = np.union1d(core, extra)
        return replace(
            self,
            documents=gather(self.documents, rows),
            relevance=csr_matrix(self.relevance.tocsc()[:, rows]),
            document_ids=[self.document_ids[row] for row in rows],
            negatives=None if self.negatives is None else csr_matrix(self.negatives.tocsc()[:, rows]),
            taught=None if self.taught is None else csr_matrix(self.taught.tocsc()[:, rows]),
            pseudo=self.pseudo and self.pseudo.among(rows, len(self.documents)),
            unread=self.unread and self.unread.among(rows, len(self.documents)),
        )
