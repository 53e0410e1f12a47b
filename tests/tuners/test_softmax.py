"""The softmax loss: a case worked by hand, and gradients against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from embedtune.tuners.softmax import Batch, softmax_loss, through_unit


def batch_of(positive, weight, masked, queries=2, documents=3):
    as_rows = [tuple(np.array(side, np.int64) for side in zip(*pairs, strict=True)) for pairs in (positive,)]
    hidden = tuple(np.array(side, np.int64) for side in zip(*masked, strict=True)) if masked else None
    nothing = np.empty(0, np.int64)
    return Batch(
        np.arange(queries),
        np.arange(documents),
        as_rows[0],
        np.array(weight, np.float32),
        hidden or (nothing, nothing),
    )


def slow_loss(y, z, batch, scale):
    """The formula of the docstring, pair by pair, in double precision."""
    total = 0.0
    positives = set(zip(*(side.tolist() for side in batch.positive), strict=True))
    masked = set(zip(*(side.tolist() for side in batch.masked), strict=True))
    for i, j, w in zip(*batch.positive, batch.weight.astype(float), strict=True):
        own = math.exp(scale * float(y[i] @ z[j]))
        others = sum(
            math.exp(scale * float(y[i] @ z[k]))
            for k in range(len(z))
            if (i, k) not in positives and (i, k) not in masked
        )
        total -= w * math.log(own / (own + others))
    return total / len(y)


def differences(f, x, step=1e-5):
    """Central differences of f by every entry of x."""
    out = np.zeros(x.shape)
    for where in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[where] += step
        down[where] -= step
        out[where] = (f(up) - f(down)) / (2 * step)
    return out


MULTI = batch_of(
    positive=[(0, 0), (0, 3), (1, 1), (2, 4)],
    weight=[0.25, 0.75, 1, 1],
    masked=[(0, 0), (0, 3), (1, 1), (1, 2), (2, 4)],  # positives among them, as in training
    queries=3,
    documents=5,
)


def vectors(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((3, 4)), rng.standard_normal((5, 4))


def test_by_hand():
    # Inner products (1, 0, 1) and (0, 2, 0); scale 1. Query 0 has positive 0 and negatives 1, 2:
    # -log(e / (e + 1 + e)) = log(2 + 1/e). Query 1 has positive 1, document 2 is masked:
    # -log(e^2 / (e^2 + 1)) = log(1 + e^-2). The loss is the mean of the two.
    y = np.array([[1, 0], [0, 2]], np.float32)
    z = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    batch = batch_of([(0, 0), (1, 1)], [1, 1], [(1, 2)])
    loss, by_pair = softmax_loss(y, z, batch, 1.0)

    e = math.e
    assert loss == pytest.approx((math.log(2 + 1 / e) + math.log(1 + e**-2)) / 2, rel=1e-6)
    # by each product: share of the exponentials, less 1 for the positive, over two queries
    first = np.array([e / (2 * e + 1) - 1, 1 / (2 * e + 1), e / (2 * e + 1)]) / 2
    second = np.array([1 / (e**2 + 1), -1 / (e**2 + 1), 0]) / 2
    np.testing.assert_allclose(by_pair, [first, second], rtol=1e-5, atol=1e-8)


def test_positives_do_not_compete_with_each_other():
    # Query 0: positives 0 (weight 1/4) and 1 (3/4) of products 2 and 0, one negative of product 1.
    y = np.array([[1.0]], np.float32)
    z = np.array([[2], [0], [1]], np.float32)
    batch = batch_of([(0, 0), (0, 1)], [0.25, 0.75], [(0, 0), (0, 1)], queries=1)
    e = math.e
    expected = -0.25 * math.log(e**2 / (e**2 + e)) - 0.75 * math.log(1 / (1 + e))
    assert softmax_loss(y, z, batch, 1.0)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_gradients_are_those_of_finite_differences(scale):
    y, z = vectors()
    loss, by_pair = softmax_loss(y.astype(np.float32), z.astype(np.float32), MULTI, scale)

    assert loss == pytest.approx(slow_loss(y, z, MULTI, scale), rel=1e-5)
    expected_y = differences(lambda x: slow_loss(x, z, MULTI, scale), y)
    expected_z = differences(lambda x: slow_loss(y, x, MULTI, scale), z)
    np.testing.assert_allclose(by_pair @ z, expected_y, atol=2e-5 * scale)
    np.testing.assert_allclose(by_pair.T @ y, expected_z, atol=2e-5 * scale)


def test_masked_pairs_get_no_gradient():
    y, z = (x.astype(np.float32) for x in vectors())
    _, by_pair = softmax_loss(y, z, MULTI, 3.0)
    assert by_pair[1, 2] == 0
    assert (by_pair[tuple(MULTI.positive)] < 0).all()
    free = np.ones(by_pair.shape, bool)
    free[MULTI.masked] = False
    assert (by_pair[free] > 0).all()


def test_a_query_without_negatives_asks_for_nothing():
    y, z = np.ones((1, 2), np.float32), np.ones((2, 2), np.float32)
    batch = batch_of([(0, 0)], [1], [(0, 0), (0, 1)], queries=1, documents=2)
    loss, by_pair = softmax_loss(y, z, batch, 10.0)
    assert loss == pytest.approx(0, abs=1e-6)
    assert not by_pair.any()


def test_products_far_apart_stay_finite():
    # Products 500, 0 and -500: exponentials out of reach of float32. The loss of the positive that
    # is 500 behind its one negative is 500; that of a positive far ahead is 0.
    y = np.array([[1.0], [1.0], [1.0]], np.float32)
    z = np.array([[500], [0], [-500]], np.float32)
    batch = batch_of(
        [(0, 1), (1, 0), (2, 0), (2, 1)], [1, 1, 0.5, 0.5], [(0, 2), (1, 1), (2, 0), (2, 1)], queries=3
    )
    loss, by_pair = softmax_loss(y, z, batch, 1.0)
    assert loss == pytest.approx(500 / 3, rel=1e-5)
    np.testing.assert_allclose(by_pair, [[1 / 3, -1 / 3, 0], [0, 0, 0], [0, 0, 0]], atol=1e-7)


def test_a_masked_document_far_ahead_does_not_hide_the_others():
    # The masked product of 500 is no negative; between 0 (positive) and 0 (negative) the loss is log 2.
    y = np.array([[1.0]], np.float32)
    z = np.array([[500], [0], [0]], np.float32)
    batch = batch_of([(0, 1)], [1], [(0, 0), (0, 1)], queries=1)
    loss, by_pair = softmax_loss(y, z, batch, 1.0)
    assert loss == pytest.approx(math.log(2), rel=1e-5)
    np.testing.assert_allclose(by_pair, [[0, -0.5, 0.5]], atol=1e-6)


def test_through_unit_is_the_chain_rule_of_normalising():
    rng = np.random.default_rng(1)
    x, g = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    expected = differences(lambda v: float((g * v / np.linalg.norm(v, axis=1, keepdims=True)).sum()), x)
    np.testing.assert_allclose(through_unit(g, x / norm, norm), expected, atol=1e-6)


def test_documents_without_labels_weigh_less_as_negatives() -> None:
    # One query with positive 0; documents 1 (labelled) and 2 (not, weight .3), all at the same product:
    # loss = log(1 + 1 + .3), and the pull is shared among the negatives by their weights.
    y, z = np.ones((1, 1), np.float32), np.ones((3, 1), np.float32)
    batch = Batch(
        np.arange(1),
        np.arange(3),
        (np.array([0]), np.array([0])),
        np.ones(1, np.float32),
        (np.array([0]), np.array([0])),
        np.log(np.array([1, 1, 0.3], np.float32)),
    )
    loss, by_pair = softmax_loss(y, z, batch, 1.0)
    assert loss == pytest.approx(np.log(2.3), rel=1e-5)
    np.testing.assert_allclose(by_pair, [[-1.3 / 2.3, 1 / 2.3, 0.3 / 2.3]], rtol=1e-5)
