"""The ladder of classifications: each candidate fits labelled items and can be followed from the base."""

from __future__ import annotations

import numpy as np

from embedtune.judging.classified import Classified
from embedtune.judging.folded import Folded
from embedtune.transforms import Identity
from embedtune.tuners.base import Budget
from embedtune.tuners.items import LabelledItems
from embedtune.tuners.ladder_classification import ladder


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
