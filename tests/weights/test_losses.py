"""Losses against answers by hand and against the adapters' own loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from embedtune.tuners.softmax import Batch, softmax_loss
from embedtune.weights.losses import contrastive, cosent, info_nce


def test_info_nce_is_the_loss_of_the_adapters() -> None:
    rng = np.random.default_rng(0)
    y, z = (rng.standard_normal((n, 5)).astype(np.float32) for n in (4, 7))
    positive = (np.array([0, 0, 1, 2, 3]), np.array([0, 1, 2, 3, 4]))
    masked = (np.array([0, 1, 2]), np.array([5, 2, 6]))
    weight = np.array([0.25, 0.75, 1, 1, 2], np.float32)
    batch = Batch(np.arange(4), np.arange(7), positive, weight, masked)
    expected, by_pair = softmax_loss(y, z, batch, 3.0)
    queries, documents = (torch.tensor(x, requires_grad=True) for x in (y, z))
    pairs = tuple(map(torch.from_numpy, positive)), tuple(map(torch.from_numpy, masked))
    loss = info_nce(queries, documents, pairs[0], torch.from_numpy(weight), pairs[1], 3.0)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(queries.grad, by_pair @ z, atol=1e-5)
    np.testing.assert_allclose(documents.grad, by_pair.T @ y, atol=1e-5)


def test_a_query_without_negatives_has_no_loss_and_no_gradient() -> None:
    q, d = torch.ones(1, 2, requires_grad=True), torch.ones(1, 2)
    first = torch.zeros(1, dtype=torch.long)
    loss = info_nce(q, d, (first, first), torch.ones(1), (first, first), 20.0)
    loss.backward()
    assert loss.item() == 0
    assert q.grad.tolist() == [[0.0, 0.0]]


def test_cosent_counts_pairs_in_the_wrong_order() -> None:
    # scores 2 > 1; similarities .1 and .4: log(1 + exp(10 * (.4 - .1)))
    loss = cosent(torch.tensor([0.1, 0.4]), torch.tensor([2.0, 1.0]), 10.0)
    assert float(loss) == pytest.approx(math.log1p(math.exp(3.0)))
    same = cosent(torch.tensor([0.1, 0.4]), torch.tensor([1.0, 1.0]), 10.0)  # no order, nothing is wrong
    assert float(same) == pytest.approx(0.0, abs=1e-6)


def test_contrastive_by_hand() -> None:
    # the first two share a class; the third has nobody: it takes no part but as the others' negative
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    alike = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    expected = math.log(math.exp(2.0) + 1) - 2.0  # -log(e^2 / (e^2 + e^0)), for both
    assert float(contrastive(x, alike, 2.0)) == pytest.approx(expected, rel=1e-5)
