"""A map that is followed at several strengths gives what the scaled maps give."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.judging.classified import Classified
from embedtune.judging.folded import Candidate, Folded
from embedtune.judging.strengths import Strengths, shared
from embedtune.transforms import Identity, Linear, then
from embedtune.tuners.base import Budget
from embedtune.tuners.items import LabelledItems
from embedtune.tuners.prototypes import PrototypesTuner


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0, 2.0])
@pytest.mark.parametrize("first", [True, False])
def test_each_strength_is_the_scaled_map(normalise: bool, strength: float, first: bool) -> None:
    rng = np.random.default_rng(0)
    matrix, other = rng.standard_normal((2, 5, 5)).astype(np.float32)
    fitted = Linear.shared(matrix, normalise=normalise)
    below = Identity() if first else Linear.shared(other, normalise=normalise)
    x = rng.standard_normal((7, 5)).astype(np.float32)
    found = Strengths(below, fitted).at(strength).documents(x)
    np.testing.assert_allclose(found, then(below, fitted.scaled(strength)).documents(x), rtol=1e-4, atol=1e-5)


def test_rows_are_known_by_their_content() -> None:
    rng = np.random.default_rng(0)
    asked = []

    class Counting(Identity):
        def documents(self, x, ids=None):
            asked.append(len(x))
            return x

    both = Strengths(Counting(), Linear.shared(np.diag(np.float32([2, 1, 1])), normalise=False))
    x, y, z = (rng.standard_normal((n, 3)).astype(np.float32) for n in (4, 5, 4))
    for strength in (0.5, 1.5):
        for rows in (x.copy(), y.copy()):
            expected = rows * np.float32([1 + strength, 1, 1])
            np.testing.assert_allclose(both.at(strength).documents(rows), expected, rtol=1e-6)
    assert asked == [4, 5]
    np.testing.assert_allclose(both.at(1.0).documents(z), z * np.float32([2, 1, 1]), rtol=1e-6)
    assert asked == [4, 5, 4], "rows of the same shape are others"


def test_only_maps_of_both_sides_are_followed() -> None:
    matrix = np.eye(3, dtype=np.float32)
    assert shared(Linear.shared(matrix))
    assert not shared(Linear(query=matrix))
    assert not shared(Identity())


def test_folds_score_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((4, 8))
    label = rng.integers(0, 4, 120)
    x = (centres[label] + 1.5 * rng.standard_normal((120, 8))).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    problem = Classified(LabelledItems.of(x, [f"c{i}" for i in label]), np.arange(120))
    assert problem.small
    scores = []
    for most in (2**23, 0):
        monkeypatch.setattr("embedtune.judging.classified.KEPT", most)
        candidate = Candidate("prototypes", PrototypesTuner(), (0.5, 1.0, 2.0))
        folded = Folded(problem, metric="accuracy", seed=0)
        folded.run(candidate, Budget())
        scores.append(candidate.scores)
    np.testing.assert_allclose(*scores)
    assert len(np.unique(scores[0].mean(axis=1))) > 1
