"""Very many labels: what is held is bounded by the vectors, and what is fitted a sample that is told."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embedtune import fine_tune, mapped
from embedtune.collect import collect
from embedtune.data import read
from embedtune.data.stratified import stratified_sample
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.heads.fitting import fit_head
from embedtune.judging import classified, scored
from embedtune.judging.classified import Classified
from embedtune.judging.logistic import Logistic, fit_logistic
from embedtune.judging.scored import Scored
from embedtune.training.budget import Budget, OutOfTime
from embedtune.training.interactions import Interactions
from embedtune.training.items import LabelledItems
from embedtune.training.pairs import ScoredPairs
from embedtune.transforms import Identity, Pooling, halves
from embedtune.tuners import content, cooccurrence, factors, next_items
from embedtune.tuners.discriminant import DiscriminantTuner
from embedtune.tuners.moments import covariance
from embedtune.tuners.neighbours import NeighboursTuner
from embedtune.tuners.pair_metric import PairMetricTuner
from embedtune.tuners.prototypes import PrototypesTuner

LATE = Budget(deadline=0.0)
"""A budget that has ended."""


def peak(work: Callable[[], Any]) -> int:
    """Bytes that were allocated at a time while ``work`` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def clusters(n: int, d: int, classes: int = 4) -> LabelledItems:
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    x = rng.standard_normal((classes, d)).astype(np.float32)[y]
    x += 2 * rng.standard_normal((n, d), dtype=np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return LabelledItems.of(x, [f"c{label}" for label in y.tolist()])


@pytest.mark.parametrize(
    "tuner",
    [
        DiscriminantTuner(),
        PrototypesTuner(passes=1),
        NeighboursTuner(passes=1, least_steps=1, batch=512),
    ],
    ids=lambda one: one.name,
)
def test_tuners_of_classes_make_no_copy_of_the_vectors(tuner) -> None:
    items = clusters(100_000, 64)
    assert peak(lambda: tuner.fit(items)) < 0.8 * items.vectors.nbytes


def test_a_regression_makes_no_copy_of_the_vectors() -> None:
    items = clusters(100_000, 64)
    assert peak(lambda: fit_logistic(items)) < 0.5 * items.vectors.nbytes


def test_the_closed_form_of_many_items_is_that_of_few(monkeypatch) -> None:
    items = clusters(600, 8)
    whole = DiscriminantTuner().fit(items).document
    monkeypatch.setattr("embedtune.tuners.discriminant.ROWS", 100)
    monkeypatch.setattr("embedtune.tuners.moments.ROWS", 100)
    np.testing.assert_allclose(DiscriminantTuner().fit(items).document, whole, atol=1e-4)
    np.testing.assert_allclose(covariance(items.vectors), np.cov(items.vectors.T, bias=True), atol=1e-6)


def test_the_metric_of_pairs_holds_the_whitened_pairs_alone() -> None:
    items = clusters(80_000, 64).vectors
    score = np.random.default_rng(1).random(40_000) + np.einsum("ij,ij->i", items[::2], items[1::2])
    pairs = ScoredPairs(np.ascontiguousarray(items[::2]), np.ascontiguousarray(items[1::2]), score)
    assert peak(lambda: PairMetricTuner().fit(pairs)) < 2.2 * items.nbytes


def histories(n: int, d: int) -> Interactions:
    rng = np.random.default_rng(0)
    items = rng.standard_normal((n, d), dtype=np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    users, each = n // 2, 8
    group = np.repeat(rng.integers(0, n // 50, users), each)
    item = group * 50 + rng.integers(0, 50, users * each)
    ids = [f"d{row}" for row in range(n)]
    moment = np.tile(np.arange(each), users)
    return Interactions.of(items, np.repeat(np.arange(users), each), item, ids, time=moment, users=users)


@pytest.mark.parametrize("following", [0.0, 0.5])
def test_factors_of_many_items_lie_on_disk_and_are_the_same(
    monkeypatch: pytest.MonkeyPatch, following: float
) -> None:
    train = histories(6_400, 160)
    for module in (content, cooccurrence, halves, next_items):
        monkeypatch.setattr(module, "BLOCK", 512)  # small beside the tables, as with many items
    monkeypatch.setattr(next_items, "ROWS", 512)
    tuner = factors.FactorsTuner(
        following=following, penalty=200.0, pooling=Pooling(half_life=5.0), boost=1.0
    )
    fitted: list[Any] = []
    usually = peak(lambda: fitted.append(tuner.fit(train)))
    in_memory = fitted.pop().state()
    monkeypatch.setattr(mapped, "APART", 2**16)
    held = peak(lambda: fitted.append(tuner.fit(train)))
    on_disk = fitted[0].state()
    assert on_disk[1] == in_memory[1]
    for name, tensor in in_memory[0].items():
        np.testing.assert_array_equal(on_disk[0][name], tensor)
    assert held < 0.4 * usually


def test_a_sample_has_every_class_in_its_share() -> None:
    labels = LabelledItems.of(np.zeros((1000, 2), np.float32), ["a"] * 899 + ["b"] * 100 + ["c"]).labels
    rows = stratified_sample(labels, np.arange(1000), 100, seed=0)
    assert np.bincount(labels.indices[rows], minlength=3).tolist() == pytest.approx([90, 10, 1], abs=1)
    assert (np.diff(rows) > 0).all()
    assert stratified_sample(labels, np.arange(3), 100, seed=0).tolist() == [0, 1, 2]


@pytest.fixture
def small(monkeypatch) -> None:
    """Make a few hundred labels count as very many."""
    monkeypatch.setattr(classified, "LEARNT", 300)
    for module in (classified, scored):
        monkeypatch.setattr(module, "TRAINED", 200)
        monkeypatch.setattr(module, "JUDGED", 50)
    monkeypatch.setattr(classified, "MAPPED", 1000)


@pytest.mark.usefixtures("small")
def test_of_many_items_a_sample_is_fitted_and_all_vote() -> None:
    items = clusters(1000, 8)
    problem = Classified(items, np.arange(1000))
    assert len(problem.training(problem.everything)) == problem.sampled == 300
    assert all(len(one.train) == 200 for one in problem.rounds(0))
    judged = Classified(clusters(40, 8), np.arange(40), items)
    found = judged.evaluate(Identity(), np.arange(40), judged.everything, ["accuracy", "logreg_accuracy"])
    likeness = judged.items.vectors @ items.vectors.T  # the vote by hand, of all thousand
    near = np.argsort(-likeness, axis=1)[:, :10]
    share = np.zeros((40, 4))
    for row, nearest in enumerate(near):
        np.add.at(share[row], nearest % 4, 1 / np.maximum(1 - likeness[row, nearest], 1e-6))
    np.testing.assert_array_equal(found["accuracy"], share.argmax(axis=1) == np.arange(40) % 4)
    assert found["logreg_accuracy"].mean() > 0.5


@pytest.mark.usefixtures("small")
def test_the_verdict_says_that_it_was_a_sample() -> None:
    items = clusters(600, 8)
    rows = [{"id": f"i{row}", "text": f"text {row}", "label": items.names(row)[0]} for row in range(600)]
    vectors = {"documents": ([f"i{row}" for row in range(600)], items.vectors)}
    tuned = fine_tune(base_model=vectors, data=rows, method="discriminant")
    assert "a map is fitted to a sample of 300 of the 600 labels" in tuned.verdict.reasons
    assert tuned.head is not None


@pytest.mark.usefixtures("small")
def test_of_many_pairs_a_sample_trains_and_a_sample_is_judged() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 4)).astype(np.float32)
    left, right = rng.integers(0, 400, (2, 1500))
    problem = Scored(x, left, right, rng.random(1500), np.arange(1500), alike=np.arange(400))
    assert len(problem.training(problem.everything)) == problem.sampled == 200
    for one in problem.rounds(0):
        assert len(one.train) == 200
        assert len(one.held) <= 100
        assert not np.intersect1d(one.train, one.held).size


def test_similarities_in_blocks_are_the_same(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4)).astype(np.float32)
    left, right = rng.integers(0, 50, (2, 90))
    monkeypatch.setattr(scored, "BLOCK", 20)
    found = Scored(x, left, right, rng.random(90)).similarities(Identity())
    np.testing.assert_allclose(found, np.einsum("ij,ij->i", x[left], x[right]), atol=1e-6)


def test_vectors_in_another_order_are_not_copied() -> None:
    x = np.eye(6, dtype=np.float32)
    encoder = VectorsEncoder.from_arrays({"documents": (["f", "e", "d", "c", "b", "a"], x)})
    assert np.shares_memory(encoder.encode(["e", "d", "c"]), x)
    np.testing.assert_array_equal(encoder.encode(["a", "c"]), x[[5, 3]])
    rows = [{"sentence1": one, "sentence2": other, "score": 1.0} for one, other in ("ab", "cd", "ef")]
    found = collect(read(rows), encoder, test="none")
    assert np.shares_memory(found.train.items, x)
    assert (found.train.left.tolist(), found.train.right.tolist()) == ([5, 3, 1], [4, 2, 0])


def test_a_classifier_ends_with_the_budget() -> None:
    items = clusters(300, 8)
    problem = Classified(items, np.arange(300))
    head = fit_head(problem, Identity(), budget=LATE)
    assert head.cut
    assert isinstance(head.scorer, Logistic)  # no vote was tried
    assert head.predict(items.vectors[:4]) == ["c0", "c1", "c2", "c3"]
    assert not fit_head(problem, Identity(), budget=Budget(time.monotonic() + 3600)).cut


def test_a_budget_leaves_a_share_and_gives_a_part() -> None:
    budget = Budget(time.monotonic() + 100)
    assert budget.leaving(0.3).left == pytest.approx(70, abs=1)
    assert budget.within(10).left == pytest.approx(10, abs=1)
    assert budget.within(1000).left == pytest.approx(100, abs=1)
    assert Budget().leaving(0.3).left == float("inf")


def test_factors_are_not_fitted_beyond_the_budget() -> None:
    train = histories(400, 8)
    with pytest.raises(OutOfTime):
        factors.FactorsTuner().fit(train, budget=LATE)
    assert len(factors.FactorsTuner().fit(train).ids) == np.count_nonzero(train.popularity)
