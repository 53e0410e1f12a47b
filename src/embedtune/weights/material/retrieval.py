"""Queries and documents: softmax over the batch's documents and hard negatives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from embedtune.data.negatives import hard_negatives
from embedtune.judging.labelled import Labelled
from embedtune.judging.problem import Round, Scores
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Identity
from embedtune.tuners.batches import Batches
from embedtune.tuners.linear import typical_product
from embedtune.tuners.softmax import Batch
from embedtune.types import Vectors
from embedtune.weights.head import Head
from embedtune.weights.material.base import Step, divided
from embedtune.weights.material.lessons import Lessons
from embedtune.weights.methods_base import Method
from embedtune.weights.texts import Texts

MINED = 8
"""Hard negatives that are found for a query; each pass takes some of them."""

COLLECTION = 500
"""Documents that the held-out queries search, at most: theirs, those near them, and others."""


class RetrievalMaterial:
    """Steps over queries; negatives are documents with labels, as for the adapters.

    Documents without labels are no negatives: whoever pushes them away loses the queries that will ask
    for them (see :class:`~embedtune.tuners.linear.LinearTuner`). Hard negatives are found with the base's
    vectors, which are there.

    Parameters
    ----------
    problem : Labelled
        With the base's vectors.
    round_ : Round
        What trains and what does not.
    queries, documents : sequence of str
        The texts of the problem's rows.
    prompts : dict of str
        What is put before queries and documents.
    method : Method
        Settings.
    metric : str
        What held-out rows are scored by.
    seed : int
        Which rows are held out, and the order of the others.
    """

    def __init__(
        self,
        problem: Labelled,
        round_: Round,
        queries: Sequence[str],
        documents: Sequence[str],
        prompts: dict[str, str],
        method: Method,
        metric: str,
        seed: int,
    ) -> None:
        self.method, self.metric, self.seed = method, metric, seed
        self.texts = Texts()
        rows = np.flatnonzero(np.diff(round_.train.indptr))
        own = replace(problem.take(rows), relevance=round_.train[rows], outside=None, fixed=())
        inner = divided(own, 0.1, method.validation, seed + 1)
        self._train = _training(own, inner.train, problem.relevance[rows])
        self._query = self.texts.add([queries[row] for row in rows.tolist()], prompts["query"])
        position = {name: i for i, name in enumerate(problem.document_ids)}
        columns = [position[name] for name in self._train.document_ids]
        self._document = self.texts.add([documents[column] for column in columns], prompts["document"])
        rng = np.random.default_rng(seed)
        self._scale = method.scale / typical_product(self._train, rng)
        warm = method.warm and not method.matryoshka  # a map of all dimensions is none of the leading ones
        self._head = Head.fitted(self._train, seed) if warm else Head(Identity())
        mapped = self._train.mapped(self._head.transform)
        self._hard = hard_negatives(mapped.queries, mapped.documents, mapped.known, min(MINED, len(columns)))
        self._rows = np.flatnonzero(np.diff(inner.train.indptr))
        self._lessons: Lessons | None = None
        if own.taught is not None and method.distil:
            numbers = np.zeros(len(documents), np.int64)
            used = np.unique(own.taught[self._rows].indices)
            numbers[used] = self.texts.add([documents[column] for column in used], prompts["document"])
            self._lessons = Lessons(own.taught[self._rows], numbers, method.candidates)
        self._validation = _small(own, inner, rng)
        searched = [position[name] for name in self._validation.document_ids]
        asked = self._query[inner.held]
        self.judged = np.r_[asked, self.texts.add([documents[i] for i in searched], prompts["document"])]

    def steps(self, turn: int) -> list[Callable[[], Step]]:
        """Give the steps of one pass."""
        rng = np.random.default_rng((self.seed, turn))
        batches = Batches(self._train, size=self.method.batch, hard=self.method.hard, sample=0, rng=rng)
        batches.everything = False
        batches.found = self._hard[:, rng.permutation(self._hard.shape[1])[: self.method.hard]]
        return [
            functools.partial(self._step, batch, (self.seed, turn, number))
            for number, batch in enumerate(batches)
        ]

    def _step(self, batch: Batch, seed: tuple[int, ...]) -> Step:
        import torch

        from embedtune.weights.losses import info_nce, listwise, margins

        asked, found = self._query[self._rows[batch.queries]], self._document[batch.columns]
        lesson = (
            None if self._lessons is None else self._lessons.of(batch.queries, np.random.default_rng(seed))
        )
        more = np.empty(0, np.int64) if lesson is None else lesson[1].ravel()
        rows, place = np.unique(np.r_[asked, found, more], return_inverse=True)
        ends = np.cumsum([len(asked), len(found)])
        first, second, third = (torch.from_numpy(part) for part in np.split(place, ends))
        positive, masked = ([torch.from_numpy(x) for x in pair] for pair in (batch.positive, batch.masked))
        weight = torch.from_numpy(batch.weight)

        def loss(vectors: torch.Tensor) -> torch.Tensor:
            on = vectors.device
            queries = self._head.queries(vectors[first.to(on)])
            labels = info_nce(
                queries,
                self._head.documents(vectors[second.to(on)]),
                (positive[0].to(on), positive[1].to(on)),
                weight.to(on),
                (masked[0].to(on), masked[1].to(on)),
                self._scale,
            )
            if lesson is None or not len(lesson[0]):
                return labels
            candidates = self._head.documents(vectors[third.to(on)]).reshape(*lesson[1].shape, -1)
            similarity = torch.einsum("id,ikd->ik", queries[torch.from_numpy(lesson[0]).to(on)], candidates)
            logits, sure = (torch.from_numpy(part).to(on) for part in lesson[2:])
            follow = margins if self.method.distil_by == "margins" else listwise
            followed = follow(similarity, logits, self._scale, sure)
            return (1 - self.method.distil) * labels + self.method.distil * followed

        return Step(rows, loss)

    def score(self, vectors: Vectors) -> Scores:
        """Score each held-out query on the small collection, under the head."""
        count = len(self._validation)
        problem = replace(self._validation, queries=vectors[:count], documents=vectors[count:])
        return problem.scores(self._head.transform, (self.metric,))[self.metric]


def _training(problem: Labelled, positives: csr_matrix, known: csr_matrix) -> TuningData:
    """Training data of the rows that have positives left, over the documents that have labels."""
    return replace(problem, relevance=known).training(positives).among_labelled()


def _small(problem: Labelled, inner: Round, rng: np.random.Generator) -> Labelled:
    """Give the held-out queries with a part of the collection: their documents, the nearest, and others."""
    held = problem.take(inner.held)
    own = np.unique(held.relevance.indices)
    near = hard_negatives(held.queries, held.documents, held.relevance, min(20, len(held.documents)))
    near = np.setdiff1d(near[near >= 0], own)
    room = max(COLLECTION - len(own), 0)
    near = np.sort(rng.permutation(near)[: (3 * room) // 4])
    others = np.setdiff1d(np.arange(len(held.documents)), np.r_[own, near])
    rest = rng.permutation(others)[: room - len(near)]
    columns = np.sort(np.r_[own, near, rest]).astype(np.int64)
    return replace(
        held,
        documents=np.ascontiguousarray(held.documents[columns], np.float32),
        relevance=csr_matrix(held.relevance.tocsc()[:, columns]),
        document_ids=[held.document_ids[column] for column in columns],
        negatives=None,
        taught=None,
    )
