"""Losses against answers by hand and against the adapters' own loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from embedtune.tuners.compress import followed_loss
from embedtune.tuners.softmax import Batch, softmax_loss
from embedtune.weights.losses import contrastive, cosent, info_nce, listwise, margins, nested


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


def test_listwise_by_hand() -> None:
    # teacher: three quarters and a quarter; model: halves. KL = .75 log 1.5 + .25 log .5
    logits = torch.tensor([[math.log(3.0), 0.0, -math.inf]])
    similarity = torch.tensor([[0.2, 0.2, 0.9]], requires_grad=True)
    loss = listwise(similarity, logits, 10.0)
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-5)
    loss.backward()
    np.testing.assert_allclose(similarity.grad, [[10 * (0.5 - 0.75), 10 * (0.5 - 0.25), 0]], atol=1e-5)
    twice = listwise(similarity, logits, 10.0, torch.tensor([2.0]))
    assert twice.item() == pytest.approx(2 * loss.item(), rel=1e-6)
    same = torch.tensor([[math.log(3.0) / 10, 0.0, 5.0]])
    assert listwise(same, logits, 10.0).item() == pytest.approx(0.0, abs=1e-6)


def test_listwise_is_the_loss_that_small_vectors_follow() -> None:
    rng = np.random.default_rng(1)
    y, z, full = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (6, 4), (3, 6)))
    expected, _ = followed_loss(y, z, full, 2.0)
    loss = listwise(torch.from_numpy(y @ z.T), torch.from_numpy(2.0 * full), 2.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_margins_by_hand() -> None:
    # the teacher is 3 and 1 ahead, the model 2 and 2: ((2 - 3)² + (2 - 1)²) / 2; in the other row 4 and 0
    logits = torch.tensor([[4.0, 1.0, 3.0], [4.0, 0.0, -math.inf]])
    similarity = torch.tensor([[0.3, 0.1, 0.1], [0.5, 0.5, 0.9]], requires_grad=True)
    loss = margins(similarity, logits, 10.0)
    assert loss.item() == pytest.approx((1 + 16) / 2, rel=1e-5)
    loss.backward()
    assert similarity.grad[1].tolist() == pytest.approx([-40, 40, 0], abs=1e-4)
    heavier = margins(similarity, logits, 10.0, torch.tensor([3.0, 0.5]))
    assert heavier.item() == pytest.approx((3 * 1 + 0.5 * 16) / 2, rel=1e-5)


def test_margins_are_those_of_sentence_transformers() -> None:
    library = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    q, p, n = (torch.from_numpy(x) for x in np.random.default_rng(3).standard_normal((3, 5, 4)))
    wanted = torch.linspace(-1, 2, 5, dtype=q.dtype)
    theirs = library.MarginMSELoss(model=None).compute_loss_from_embeddings([q, p, n], wanted)
    similarity = torch.stack([(q * p).sum(dim=1), (q * n).sum(dim=1)], dim=1)
    ours = margins(similarity, torch.stack([wanted, torch.zeros_like(wanted)], dim=1), 1.0)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


@pytest.mark.parametrize("unit", [True, False])
def test_nested_is_the_mean_of_the_loss_on_truncated_vectors(unit: bool) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((5, 8)).astype(np.float32)
    alike = torch.from_numpy((np.arange(5)[:, None] % 2 == np.arange(5) % 2).astype(np.float32))

    def plain(vectors: torch.Tensor) -> torch.Tensor:
        return contrastive(vectors, alike, 3.0)

    expected = []
    for width in (8, 4, 2):
        part = x[:, :width].copy()
        if unit:
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        expected.append(float(plain(torch.from_numpy(part))))
    found = nested(plain, torch.from_numpy(x), (8, 4, 2), unit=unit)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


def test_gradients_of_nested_and_listwise_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.standard_normal((4, 6))).requires_grad_(True)
    logits = torch.from_numpy(rng.standard_normal((2, 2)))

    def followed(vectors: torch.Tensor) -> torch.Tensor:
        return listwise(vectors[:2] @ vectors[2:].T, logits, 2.0)

    assert torch.autograd.gradcheck(lambda v: nested(followed, v, (6, 3), unit=True), (x,))
