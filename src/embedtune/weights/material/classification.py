"""Labelled items: those that share a class are drawn together, all others apart."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from embedtune.judging.classified import Classified
from embedtune.judging.problem import Round, Scores
from embedtune.types import Vectors
from embedtune.weights.material.base import Step, divided
from embedtune.weights.methods_base import Method
from embedtune.weights.texts import Rows, Texts

VOTERS = 1000
"""Training items that held-out ones are judged by, at most."""


class ClassMaterial:
    """Steps over items, drawn two of a class at a time, so that each has one to be near to.

    Parameters
    ----------
    problem : Classified
        With the base's vectors.
    round_ : Round
        What trains and what does not.
    texts : sequence of str
        The texts of the problem's items.
    prompt : str
        What is put before documents.
    method : Method
        Settings.
    metric : str
        What held-out items are scored by.
    seed : int
        Which items are held out, and the order of the others.
    """

    def __init__(
        self,
        problem: Classified,
        round_: Round,
        texts: Sequence[str],
        prompt: str,
        method: Method,
        metric: str,
        seed: int,
    ) -> None:
        self.method, self.metric, self.seed = method, metric, seed
        self.texts = Texts()
        own = replace(problem, fixed=()).take(round_.train)
        numbers = self.texts.add([texts[row] for row in round_.train], prompt)
        inner = divided(own, 0.1, method.validation, seed + 1)
        self._rows: Rows = numbers[inner.train]
        self._labels = own.items.labels[inner.train]
        rng = np.random.default_rng(seed)
        voters = np.sort(rng.permutation(inner.train)[:VOTERS])
        self._judged = replace(own, reference=own.items.take(voters)).take(inner.held)
        self.judged = np.r_[numbers[inner.held], numbers[voters]]
        share = own.items.vectors
        self._scale = method.scale
        if problem.similarity == "dot":
            self._scale /= float(np.mean(np.linalg.norm(share, axis=1))) ** 2

    def steps(self, turn: int) -> list[Callable[[], Step]]:
        """Give the steps of one pass."""
        rng = np.random.default_rng((self.seed, turn))
        order = rng.permutation(len(self._rows))
        first = np.array([self._first(row) for row in order], np.int64)
        order = order[np.argsort(first, kind="stable")]  # shuffled inside each class
        even = len(order) // 2 * 2
        pairs = rng.permutation(order[:even].reshape(-1, 2))
        size = max(self.method.batch // 2, 1)
        count = max(-(-len(pairs) // size), 1)
        return [functools.partial(self._step, part.ravel()) for part in np.array_split(pairs, count)]

    def _first(self, row: int) -> int:
        labels = self._labels
        own = labels.indices[labels.indptr[row] : labels.indptr[row + 1]]
        return int(own[0]) if len(own) else -1

    def _step(self, items: Rows) -> Step:
        import torch

        from embedtune.weights.losses import contrastive

        rows, place = np.unique(self._rows[items], return_inverse=True)
        labels = self._labels[items]
        alike = torch.from_numpy(((labels @ labels.T).toarray() > 0).astype(np.float32))
        where = torch.from_numpy(place)

        def loss(vectors: torch.Tensor) -> torch.Tensor:
            on = vectors.device
            return contrastive(vectors[where.to(on)], alike.to(on), self._scale)

        return Step(rows, loss)

    def score(self, vectors: Vectors) -> Scores:
        """Score each held-out item by the vote of the training items."""
        from embedtune.transforms import Identity

        problem, count = self._judged, len(self._judged)
        voters = problem.reference
        if voters is None:
            raise ValueError("nobody votes")
        now = replace(
            problem, items=problem.items.moved(vectors[:count]), reference=voters.moved(vectors[count:])
        )
        rows = np.arange(count)
        return now.evaluate(Identity(), rows, now.everything, (self.metric,))[self.metric]
