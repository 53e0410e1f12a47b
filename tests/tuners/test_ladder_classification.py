"""The ladder of classifications: each candidate fits labelled items and can be followed from the base."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from embedtune.judging.classified import Classified
from embedtune.judging.folded import Candidate, Folded
from embedtune.training.budget import Budget
from embedtune.training.items import LabelledItems
from embedtune.transforms import Identity
from embedtune.tuners.auto import Tried, choose
from embedtune.tuners.ladder_classification import ladder
from embedtune.tuners.neighbours import NeighboursTuner


def test_candidates_fit_and_scale() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (np.eye(5)[y] + 0.5 * rng.standard_normal((60, 5))).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    items = LabelledItems.of(x, [str(label) for label in y])
    problem = Classified(items, np.arange(60))
    candidates = list(ladder(Folded(problem, metric="accuracy", seed=0), []))
    assert len({candidate.name for candidate in candidates}) == len(candidates) == 4
    for candidate in candidates:
        assert "classification" in candidate.tuner.tasks
        assert min(candidate.strengths) > 0  # the base itself is judged anyway
        fitted = candidate.fit(items, Identity(), 0, Budget())
        for strength in candidate.strengths:
            moved = fitted.scaled(strength).documents(x)
            assert moved.shape == x.shape
            assert np.abs(moved - x).max() > 0.01


def test_neighbours_start_from_the_closed_form_where_that_does_more() -> None:
    # the direction that tells the classes apart is a tenth as wide as four others that say nothing of them
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    x = rng.standard_normal((120, 5))
    x[:, 0] = 0.1 * (2 * y - 1) + 0.03 * rng.standard_normal(120)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    problem = Classified(LabelledItems.of(x, [str(label) for label in y]), np.arange(120))

    def climb(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
        for candidate in ladder(folded, tried):
            if candidate.name == "neighbours":  # one that learns next to nothing
                candidate = replace(candidate, tuner=NeighboursTuner(rate=1e-6))
            yield candidate

    found = choose(problem, ladder=climb, method="auto", metric="accuracy", seed=0, budget=Budget())
    stacked = [one for one in found.tried if one.name.startswith("neighbours on discriminant")]
    assert stacked
    assert stacked[0].candidate is not None
    assert stacked[0].candidate.below is not None
    assert stacked[0].mean > found.tried[0].mean + 0.2  # far above the base, as what it starts from
    assert stacked[0].candidate.final(problem.items, 1.0, 0, Budget()).documents(x).shape == x.shape
