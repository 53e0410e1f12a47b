"""Tuners of scored pairs: gradients by finite differences, the closed form by a slow one, made-up data."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import spearmanr
from unit_length import unit

from embedtune.errors import UserError
from embedtune.training.pairs import ScoredPairs
from embedtune.transforms import Identity
from embedtune.tuners import Budget
from embedtune.tuners.moments import covariance, inverse_root
from embedtune.tuners.pair_linear import PairLinearTuner, correlation_loss, order_loss, pair_gradient
from embedtune.tuners.pair_metric import PairMetricTuner, positive_root, scores_as_similarities

D = 8


def made_up(n=400, seed=0, similarity="cosine", noise=0.02):
    """Pairs whose scores are similarities in which three of eight directions count, and five do not."""
    rng = np.random.default_rng(seed)
    left = rng.standard_normal((n, D))
    left, right = left, left * rng.random((n, 1)) + rng.standard_normal((n, D))
    if similarity == "cosine":
        left, right = unit(left), unit(right)
    seen = np.array([1, 1, 1, 0.2, 0.2, 0.2, 0.2, 0.2])
    a, b = unit(left * seen), unit(right * seen)
    score = 2.5 + 2.5 * np.sum(a * b, axis=1) + noise * rng.standard_normal(n)
    return ScoredPairs(left.astype(np.float32), right.astype(np.float32), score.astype(float), similarity)


def correlation(transform, pairs):
    a, b = transform.documents(pairs.left), transform.documents(pairs.right)
    return spearmanr(np.sum(a * b, axis=1), pairs.score)[0]


TUNERS = [PairMetricTuner(), PairLinearTuner(), PairLinearTuner(loss="correlation", rate=1.0)]


@pytest.mark.parametrize("tuner", TUNERS, ids=lambda t: f"{t.name}-{getattr(t, 'loss', '')}")
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_what_counts_is_found(tuner, similarity):
    train, new = made_up(similarity=similarity), made_up(seed=1, similarity=similarity)
    fitted = tuner.fit(train)
    assert fitted.sides == "shared"
    assert fitted.normalise == (similarity == "cosine")
    base = correlation(Identity(), new)
    assert correlation(fitted, new) > base + (0.05 if similarity == "cosine" else 0.02)
    again = tuner.fit(train)
    assert_array_equal(again.document, fitted.document)


@pytest.mark.parametrize("tuner", TUNERS, ids=lambda t: f"{t.name}-{getattr(t, 'loss', '')}")
def test_scores_that_are_all_the_same_give_the_base(tuner):
    some = made_up(50)
    flat = ScoredPairs(some.left, some.right, np.full(50, 2.0))
    assert isinstance(tuner.fit(flat), Identity)


@pytest.mark.parametrize("tuner", TUNERS, ids=lambda t: f"{t.name}-{getattr(t, 'loss', '')}")
def test_the_scale_of_scores_has_no_meaning(tuner):
    some = made_up(100)
    other = ScoredPairs(some.left, some.right, 100 * some.score - 7)
    assert_allclose(tuner.fit(other).document, tuner.fit(some).document, atol=2e-3)


def test_sides_can_be_swapped():
    some = made_up(100)
    swapped = ScoredPairs(some.right, some.left, some.score)
    for tuner in (PairMetricTuner(), PairLinearTuner()):
        assert_allclose(tuner.fit(swapped).document, tuner.fit(some).document, atol=2e-3)


def test_a_few_pairs_are_fitted_too_and_a_budget_stops():
    few = made_up(25)
    assert correlation(PairLinearTuner().fit(few), few) > correlation(Identity(), few)
    assert isinstance(PairLinearTuner().fit(few, budget=Budget(time.monotonic() - 1)), Identity)


def test_the_closed_form_is_ridge_regression_on_products_of_coordinates():
    some, penalty, floor = made_up(60), 0.7, 0.3
    s = inverse_root(covariance(some.left, some.right), floor)
    u, v = some.left @ s, some.right @ s
    upper = np.triu_indices(D)
    # |A|^2 counts an entry off the diagonal twice: coefficients are scaled so that the ridge is plain
    scale = np.where(upper[0] == upper[1], 1.0, 0.5**0.5)
    products = np.einsum("ni,nj->nij", u, v)
    features = ((products + products.transpose(0, 2, 1)) / 2)[:, upper[0], upper[1]]
    features = np.where(upper[0] == upper[1], features, 2 * features) * scale
    target = scores_as_similarities(some) - np.sum(some.left * some.right, axis=1)
    hold = penalty * np.mean(np.sum(features**2, axis=1)) * len(some) / (D * (D + 1) / 2)
    centred, goal = features - features.mean(axis=0), target - target.mean()
    solved = np.linalg.solve(centred.T @ centred + hold * np.eye(len(upper[0])), centred.T @ goal) * scale
    a = np.zeros((D, D))
    a[upper] = solved
    a = a + a.T - np.diag(np.diag(a))
    expected = positive_root(np.eye(D) + s @ a @ s)
    found = PairMetricTuner(penalty=penalty, floor=floor).fit(some).document
    assert_allclose(found, expected, atol=2e-3)
    assert np.abs(expected - np.eye(D)).max() > 0.05


def test_low_rank_and_a_heavy_penalty_stay_near_the_identity():
    some = made_up()
    s = inverse_root(covariance(some.left, some.right), 1.0)
    w = PairMetricTuner(rank=2).fit(some).document.astype(float)
    back = np.linalg.inv(s) @ (w @ w - np.eye(D)) @ np.linalg.inv(s)
    assert np.linalg.matrix_rank(back, tol=1e-3) == 2
    assert np.abs(PairMetricTuner(penalty=1e6).fit(some).document - np.eye(D)).max() < 1e-4


def test_the_positive_root_by_hand():
    assert_allclose(positive_root(np.diag([4.0, 9.0])), np.diag([2.0, 3.0]))
    assert_allclose(positive_root(np.diag([4.0, -1.0])), np.diag([2.0, 0.01]))


@pytest.mark.parametrize("loss", ["order", "correlation"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_gradients_are_those_of_finite_differences(loss, similarity):
    some = made_up(30, similarity=similarity)
    wide = ScoredPairs(some.left.astype(float), some.right.astype(float), np.round(some.score), similarity)
    rng = np.random.default_rng(3)
    at, rows = 0.2 * rng.standard_normal((D, D)), np.arange(0, 30, 2)
    _, gradient = pair_gradient(at, wide, rows, loss, 5.0)
    for _ in range(5):
        step = rng.standard_normal((D, D))
        up, down = (pair_gradient(at + e * step, wide, rows, loss, 5.0)[0] for e in (1e-5, -1e-5))
        assert (up - down) / 2e-5 == pytest.approx(float(np.sum(gradient * step)), rel=1e-3, abs=1e-5)


def test_losses_by_hand():
    value, by = order_loss(np.array([0.5, 0.5, 0.1]), np.array([1.0, 1.0, 0.0]), scale=2.0)
    # two ordered pairs, each behind by -0.4: log(1 + exp(-0.8)) / 2; the two that are equal say nothing
    assert value == pytest.approx(np.log1p(np.exp(-0.8)) / 2)
    share = 1 / (1 + np.exp(0.8))
    assert_allclose(by, [-share / 2, -share / 2, share])
    assert correlation_loss(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))[0] == pytest.approx(0)
    assert correlation_loss(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))[0] == pytest.approx(2)


@pytest.mark.parametrize(
    ("tuner", "setting"),
    [(PairMetricTuner, {"penalty": 0}), (PairMetricTuner, {"rank": 0}), (PairLinearTuner, {"loss": "x"})],
)
def test_settings_that_make_no_sense(tuner, setting):
    with pytest.raises(UserError):
        tuner(**setting)
