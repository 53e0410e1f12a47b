"""The maps of classifications: closed forms, gradients, and worlds whose classes hide in weak directions."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from unit_length import unit

from embedtune.errors import UserError
from embedtune.judging.classified import Classified
from embedtune.training.budget import Budget
from embedtune.training.items import LabelledItems
from embedtune.transforms import Identity
from embedtune.tuners import neighbours
from embedtune.tuners.base import Tuner
from embedtune.tuners.discriminant import DiscriminantTuner, class_effects
from embedtune.tuners.neighbours import NeighboursTuner, neighbour_loss
from embedtune.tuners.prototypes import PrototypesTuner, _Descent, with_none
from embedtune.types import Transform

TUNERS = [DiscriminantTuner(), PrototypesTuner(), NeighboursTuner()]


def hidden(
    n: int = 300, classes: int = 3, d: int = 12, seed: int = 0, similarity: str = "cosine"
) -> LabelledItems:
    """Give items whose class shows in two weak directions, under stronger ones that say nothing."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    angle = 2 * np.pi * y / classes
    x = rng.standard_normal((n, d))
    x[:, :2] = 0.8 * np.c_[np.cos(angle), np.sin(angle)] + 0.25 * rng.standard_normal((n, 2))
    x = unit(x) if similarity == "cosine" else (3 * x).astype(np.float32)
    return LabelledItems.of(x, [f"c{label}" for label in y], similarity=similarity)


def gain(fitted: Transform, train: LabelledItems, test: LabelledItems) -> float:
    """Gain over the base on the test items, whose neighbours are the training items."""
    problem = Classified(test, np.arange(len(test)), train)
    metric, rows = problem.metrics[0], np.arange(len(test))
    tuned, base = (
        problem.evaluate(t, rows, problem.everything, [metric])[metric] for t in (fitted, Identity())
    )
    return float((tuned - base).mean())


@pytest.mark.parametrize("tuner", TUNERS, ids=lambda t: t.name)
def test_classes_in_weak_directions_come_together(tuner: Tuner) -> None:
    assert gain(tuner.fit(hidden()), hidden(), hidden(seed=1)) > 0.12


@pytest.mark.parametrize("tuner", TUNERS, ids=lambda t: t.name)
def test_several_classes_an_item_and_none(tuner: Tuner) -> None:
    def several(seed: int) -> LabelledItems:
        items = hidden(seed=seed)
        own = items.labels.indices
        names = [["x", "y"] if label == 0 else ["y"] if label == 1 else [] for label in own.tolist()]
        return LabelledItems.of(items.vectors, names)

    assert gain(tuner.fit(several(0)), several(0), several(1)) > 0.1


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("tuner", TUNERS, ids=lambda t: t.name)
def test_shapes_lengths_and_the_same_map_again(tuner: Tuner, similarity: str) -> None:
    items = hidden(similarity=similarity)
    items.vectors.flags.writeable = False
    fitted = tuner.fit(items, seed=4)
    moved = fitted.documents(items.vectors)
    assert moved.dtype == np.float32
    assert moved.shape == items.vectors.shape
    length = np.linalg.norm(moved, axis=1)
    if similarity == "cosine":
        np.testing.assert_allclose(length, 1, atol=1e-5)
    else:
        assert 0.3 < length.mean() / np.linalg.norm(items.vectors, axis=1).mean() < 10
    np.testing.assert_array_equal(moved, fitted.queries(items.vectors))
    np.testing.assert_array_equal(moved, tuner.fit(items, seed=4).documents(items.vectors))
    np.testing.assert_array_equal(fitted.scaled(0).documents(items.vectors), items.vectors)


@pytest.mark.parametrize("tuner", TUNERS, ids=lambda t: t.name)
def test_too_little_to_learn_from_gives_the_identity(tuner: Tuner) -> None:
    x = unit(np.random.default_rng(0).standard_normal((4, 3)))
    assert isinstance(tuner.fit(LabelledItems.of(x, ["a"] * 4)), Identity)
    assert isinstance(tuner.fit(LabelledItems.of(x[:1], ["a"], classes=["a", "b"])), Identity)
    assert isinstance(tuner.fit(LabelledItems.of(x[:0], [], classes=["a", "b"])), Identity)
    one_each = tuner.fit(LabelledItems.of(x, list("abcd")))
    assert np.isfinite(one_each.documents(x)).all()


@pytest.mark.parametrize("tuner", [PrototypesTuner(), NeighboursTuner()], ids=lambda t: t.name)
def test_it_keeps_what_it_has_when_time_ends(tuner: Tuner) -> None:
    assert isinstance(tuner.fit(hidden(), budget=Budget(time.monotonic() - 1)), Identity)


@pytest.mark.parametrize("n", [20, 60])
def test_discriminants_are_the_same_where_items_are_fewer_than_dimensions(n: int) -> None:
    # the textbook's formulas, in all dimensions, for more and for fewer items than dimensions
    items, d, shrinkage, emphasis = hidden(n, d=30), 30, 0.4, 20.0
    x = items.vectors - items.vectors.mean(axis=0)
    means = np.stack([x[items.labels.indices == label].mean(axis=0) for label in range(3)])
    fitted = means[items.labels.indices]
    within = (x - fitted).T @ (x - fitted) / (n - 3)
    values, axes = np.linalg.eigh((1 - shrinkage) * within / np.trace(within) * d + shrinkage * np.eye(d))
    whiten = axes @ np.diag(values**-0.5) @ axes.T
    spread, axes = np.linalg.eigh(whiten @ fitted.T @ fitted @ whiten / n)
    ratio = np.maximum(spread / (np.trace(whiten @ within @ whiten) / d) - 2 / n, 0)
    expected = axes @ np.diag(np.sqrt(1 + emphasis * ratio)) @ axes.T @ whiten
    found = DiscriminantTuner(shrinkage=shrinkage, emphasis=emphasis).fit(items)
    np.testing.assert_allclose(found.document, expected, atol=2e-3)


@pytest.mark.parametrize("tuner", [PrototypesTuner, NeighboursTuner])
def test_no_step_is_taken_on_a_few_left_over(tuner: type, monkeypatch: pytest.MonkeyPatch) -> None:
    # 65 items in batches of 64: parts of 33 and 32, not of 64 and one, whose gradient would count as much
    sizes: list[int] = []
    loss, step = neighbours.neighbour_loss, _Descent.step

    def counted_loss(items: LabelledItems, asked: np.ndarray, *rest: Any) -> Any:
        sizes.append(len(asked))
        return loss(items, asked, *rest)

    def counted_step(self: _Descent, rows: np.ndarray, rate: float) -> None:
        sizes.append(len(rows))
        step(self, rows, rate)

    monkeypatch.setattr(neighbours, "neighbour_loss", counted_loss)
    monkeypatch.setattr(_Descent, "step", counted_step)
    tuner(batch=64, passes=2, least_steps=4).fit(hidden(65))
    assert sizes == [33, 32, 33, 32]


@pytest.mark.parametrize(
    ("tuner", "settings"),
    [
        (DiscriminantTuner, {"shrinkage": 0}),
        (DiscriminantTuner, {"shrinkage": 1.1}),
        (DiscriminantTuner, {"emphasis": -1}),
        (PrototypesTuner, {"scale": 0}),
        (NeighboursTuner, {"scale": -1}),
    ],
)
def test_settings_without_sense_are_refused(tuner, settings) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        tuner(**settings)


# --- discriminants ---------------------------------------------------------------------


def test_effects_of_single_classes_are_the_class_means() -> None:
    items = hidden(50, classes=4)
    x = items.vectors - items.vectors.mean(axis=0)
    fitted, freedom = class_effects(x.astype(np.float64), items)
    own = items.labels.indices
    np.testing.assert_allclose(fitted, [x[own == label].mean(axis=0) for label in own], atol=1e-6)
    assert freedom == 3


def test_effects_of_several_classes_are_least_squares() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((40, 3)) < 0.4).astype(np.float32)
    x = rng.standard_normal((40, 5))
    x -= x.mean(axis=0)
    items = LabelledItems(x.astype(np.float32), csr_matrix(labels), "abc")
    design = np.c_[np.ones(40), labels]
    wanted = design @ np.linalg.lstsq(design, x, rcond=None)[0]
    np.testing.assert_allclose(class_effects(x, items)[0], wanted, atol=1e-8)


def test_the_discriminant_map_by_hand() -> None:
    # Two classes at (+-2, 0), rests (+-1, +-1), all 4 corners of each: the rests' covariance, with 8 - 2
    # degrees of freedom, is 8/6 times the identity, so whitening is the identity. The means' spread is 4
    # along the first axis, 0 else; over 8/6 that is 3; less chance, 1 degree of freedom over 8 items: 2.875.
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    x = np.r_[corners + np.array([2, 0]), corners - np.array([2, 0])].astype(np.float32)
    items = LabelledItems.of(x, ["a"] * 4 + ["b"] * 4, similarity="dot")
    w = DiscriminantTuner(shrinkage=0.3, emphasis=2).fit(items).document
    np.testing.assert_allclose(w, [[np.sqrt(1 + 2 * 2.875), 0], [0, 1]], atol=1e-6)


def test_what_chance_spreads_is_not_stretched() -> None:
    rng = np.random.default_rng(5)
    train, test = hidden(), hidden(seed=1)
    shuffled = LabelledItems(train.vectors, train.labels[rng.permutation(len(train))], train.classes)
    assert -0.1 < gain(DiscriminantTuner().fit(shuffled), train, test) < 0.1


def test_without_emphasis_rests_become_a_sphere() -> None:
    items = hidden(similarity="dot")
    w = DiscriminantTuner(shrinkage=1e-6, emphasis=0).fit(items).document.astype(np.float64)
    x = items.vectors - items.vectors.mean(axis=0)
    rest = x - class_effects(x.astype(np.float64), items)[0]
    spread = w @ (rest.T @ rest) @ w.T
    np.testing.assert_allclose(spread / (np.trace(spread) / len(w)), np.eye(len(w)), atol=1e-3)


# --- gradients -------------------------------------------------------------------------


def derivative(loss, at: np.ndarray, step: float = 2e-3) -> np.ndarray:
    """Central differences by each entry of ``at``."""
    found = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        change = np.zeros(at.shape, np.float32)
        change[place] = step
        found[place] = (loss(at + change) - loss(at - change)) / (2 * step)
    return found


def few(similarity: str, *, several: bool) -> LabelledItems:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((9, 4)).astype(np.float32)
    x = unit(x) if similarity == "cosine" else x
    names = ["a", "b", "c"] * 3
    rows = [["a", "b"], [], *[[name] for name in names[2:]]] if several else names
    return LabelledItems.of(x, rows, similarity=similarity)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("several", [False, True])
def test_gradient_of_the_neighbours(similarity, several) -> None:
    items = few(similarity, several=several)
    asked, others = np.array([0, 1, 4, 7]), np.array([2, 3, 5, 6])
    w = (np.eye(4) + 0.3 * np.random.default_rng(1).standard_normal((4, 4))).astype(np.float32)
    _, gradient = neighbour_loss(items, asked, others, w, 3.0)
    wanted = derivative(lambda at: neighbour_loss(items, asked, others, at, 3.0)[0], w)
    np.testing.assert_allclose(gradient, wanted, atol=2e-3)
    assert np.abs(wanted).max() > 0.05


def test_loss_of_the_neighbours_by_hand() -> None:
    # cosines of the first to the second (same class) and the third: 0 and .6; the third has nobody
    items = LabelledItems.of(np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32), ["a", "a", "b"])
    loss, _ = neighbour_loss(items, np.array([0, 2]), np.array([1]), np.eye(2, dtype=np.float32), 5.0)
    assert loss == pytest.approx(np.log(1 + np.exp(5 * 0.6)) / 2, rel=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("several", [False, True])
def test_gradients_of_the_prototypes(similarity, several) -> None:
    descent = _Descent(PrototypesTuner(scale=3.0), with_none(few(similarity, several=several)))
    rng = np.random.default_rng(2)
    descent.residual = (0.3 * rng.standard_normal((4, 4))).astype(np.float32)
    rows = np.array([0, 1, 4, 7])
    _, by_residual, by_prototype = descent.gradients(rows)

    def at_residual(value: np.ndarray) -> float:
        descent.residual = value.astype(np.float32)
        return descent.gradients(rows)[0]

    residual, prototypes = descent.residual, descent.prototypes
    np.testing.assert_allclose(by_residual, derivative(at_residual, residual), atol=2e-3)
    descent.residual = residual

    def at_prototypes(value: np.ndarray) -> float:  # prototypes are kept on the sphere
        descent.prototypes = descent._unit(value.astype(np.float32))[0]
        return descent.gradients(rows)[0]

    np.testing.assert_allclose(by_prototype, derivative(at_prototypes, prototypes), atol=2e-3)
    assert np.abs(by_residual).max() > 0.05


def test_prototypes_start_as_class_means() -> None:
    items = few("dot", several=False)
    wanted = [items.vectors[items.labels.indices == label].mean(axis=0) for label in range(3)]
    np.testing.assert_allclose(_Descent(PrototypesTuner(), items).prototypes, wanted, atol=1e-6)


def test_items_without_a_class_get_one_and_empty_classes_go() -> None:
    x = np.eye(3, dtype=np.float32)
    items = with_none(LabelledItems.of(x, [["b"], [], ["b"]], classes=["a", "b"]))
    assert items.labels.toarray().tolist() == [[1, 0], [0, 1], [1, 0]]
    assert list(items.classes) == ["b", ""]
