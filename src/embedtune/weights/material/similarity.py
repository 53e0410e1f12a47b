"""Scored pairs: those with the higher score are to be the more alike."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from embedtune.judging.problem import Round, Scores
from embedtune.judging.scored import Scored
from embedtune.types import Vectors
from embedtune.weights.material.base import Step, divided
from embedtune.weights.methods_base import Method
from embedtune.weights.texts import Rows, Texts


class PairMaterial:
    """Steps over pairs.

    Parameters
    ----------
    problem : Scored
        With the base's vectors.
    round_ : Round
        What trains and what does not.
    sentences : sequence of str
        The texts of the problem's items.
    prompt : str
        What is put before documents.
    method : Method
        Settings.
    metric : str
        What held-out pairs are scored by.
    seed : int
        Which pairs are held out, and the order of the others.
    """

    def __init__(
        self,
        problem: Scored,
        round_: Round,
        sentences: Sequence[str],
        prompt: str,
        method: Method,
        metric: str,
        seed: int,
    ) -> None:
        self.method, self.metric, self.seed = method, metric, seed
        self.texts = Texts()
        own = replace(problem, fixed=()).take(round_.train)
        inner = divided(own, 0.1, method.validation, seed + 1)
        self._left, self._right = (
            self._numbers(side[inner.train], sentences, prompt) for side in (own.left, own.right)
        )
        self._score = rankdata(own.score[inner.train]).astype(np.float32)  # their order alone counts
        held = own.take(inner.held)
        used, place = np.unique(np.r_[held.left, held.right], return_inverse=True)
        self._held = replace(held, left=place[: len(held)], right=place[len(held) :], alike=None)
        self.judged = self._numbers(used, sentences, prompt)
        self._scale = method.scale
        if problem.similarity == "dot":
            self._scale /= float(np.mean(np.linalg.norm(problem.items[used], axis=1))) ** 2

    def _numbers(self, rows: Rows, sentences: Sequence[str], prompt: str) -> Rows:
        return self.texts.add([sentences[row] for row in rows], prompt)

    def steps(self, turn: int) -> list[Callable[[], Step]]:
        """Give the steps of one pass."""
        order = np.random.default_rng((self.seed, turn)).permutation(len(self._score))
        count = max(-(-len(order) // self.method.batch), 1)
        return [functools.partial(self._step, part) for part in np.array_split(order, count)]

    def _step(self, pairs: Rows) -> Step:
        import torch

        from embedtune.weights.losses import cosent

        rows, place = np.unique(np.r_[self._left[pairs], self._right[pairs]], return_inverse=True)
        left, right = torch.from_numpy(place[: len(pairs)]), torch.from_numpy(place[len(pairs) :])
        score = torch.from_numpy(self._score[pairs])

        def loss(vectors: torch.Tensor) -> torch.Tensor:
            on = vectors.device
            similarity = (vectors[left.to(on)] * vectors[right.to(on)]).sum(dim=1)
            return cosent(similarity, score.to(on), self._scale)

        return Step(rows, loss)

    def score(self, vectors: Vectors) -> Scores:
        """Score each held-out pair."""
        from embedtune.transforms import Identity

        problem = replace(self._held, items=vectors)
        return problem.evaluate(Identity(), np.arange(len(problem)), None, (self.metric,))[self.metric]
