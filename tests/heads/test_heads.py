"""The classifier head: probabilities, calibration, abstaining, and saving as arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load, save
from unit_length import unit

import embedtune.heads.fitting as fitting
from embedtune.errors import UserError, VectorError
from embedtune.heads.calibration import accuracy_curve, confidence, fit_temperature
from embedtune.heads.fitting import fit_head
from embedtune.heads.head import Head
from embedtune.judging.classified import Classified
from embedtune.judging.logistic import Logistic, fit_logistic
from embedtune.judging.voting import Voters
from embedtune.training.budget import Budget
from embedtune.training.items import LabelledItems
from embedtune.transforms import Identity, Linear


def world(n: int, *, several: bool = False, seed: int = 0) -> LabelledItems:
    """Three overlapping clouds; with ``several``, the third is both of the first two classes or none."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = unit(np.eye(3)[y] + 0.5 * rng.standard_normal((n, 3)))
    names = [[["a"], ["b"], ["a", "b"] if i % 2 else []][label] for i, label in enumerate(y.tolist())]
    return LabelledItems.of(x, names if several else ["abc"[label] for label in y.tolist()])


LINEAR = Logistic(np.array([[2, 0], [0, 2]], np.float32), np.array([0, 1], np.float32), True)


def small() -> Head:
    return Head(LINEAR, ["a", "b"], temperature=2)


def test_probabilities_by_hand() -> None:
    # logits 2 and 1 over the temperature 2: 1 and .5; e^1 / (e^1 + e^.5) = .6225
    head = small()
    p = head.predict_proba(np.array([[1, 0], [0, 1]], np.float32))
    assert p[0, 0] == pytest.approx(0.6225, abs=1e-4)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert head.predict(np.array([[1, 0], [0, 1]], np.float32)) == ["a", "b"]
    with pytest.raises(VectorError, match="3 dimensions"):
        head.predict(np.ones((1, 3), np.float32))


def test_several_classes_by_hand() -> None:
    # sigmoid(2) = .88, sigmoid(1) = .73, sigmoid(0) = .5 and sigmoid(3) = .95
    head = Head(LINEAR, ["a", "b"], single=False, threshold=0.7)
    assert head.predict(np.array([[1, 0], [0, 1], [-1, -1]], np.float32)) == [["a", "b"], ["b"], []]


def test_confidence_is_that_of_the_least_certain_decision() -> None:
    p = np.array([[0.9, 0.4], [0.8, 0.1]])
    np.testing.assert_allclose(confidence(p, single=True), [0.9, 0.8])
    np.testing.assert_allclose(confidence(p, single=False), [0.6, 0.8])


def test_temperature_of_logits_that_are_thrice_too_large() -> None:
    rng = np.random.default_rng(0)
    logits = 1.5 * rng.standard_normal((20000, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (rng.random((20000, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    temperature, loss = fit_temperature(3 * logits, np.eye(3, dtype=bool)[y], single=True)
    assert temperature == pytest.approx(3, abs=0.15)
    assert loss == pytest.approx(-np.log(p[np.arange(20000), y]).mean(), abs=1e-3)
    own = rng.random(p.shape) < 1 / (1 + np.exp(-logits))
    assert fit_temperature(3 * logits, own, single=False)[0] == pytest.approx(3, abs=0.15)


def test_curve_by_hand() -> None:
    # sorted: .9 right, .8 right and wrong together, .5 wrong; right over answered + 1
    curve = accuracy_curve(np.array([0.8, 0.9, 0.5, 0.8]), np.array([True, True, False, False]))
    np.testing.assert_allclose(curve, [[0.9, 0.8, 0.5], [1 / 2, 2 / 4, 2 / 5]])
    assert accuracy_curve(np.empty(0), np.empty(0, bool)).shape == (2, 0)
    assert accuracy_curve(np.linspace(0, 1, 999), np.ones(999, bool), points=10).shape == (2, 10)


def test_abstaining_takes_the_least_confidence_that_is_accurate_enough() -> None:
    head = Head(LINEAR, ["a", "b"], curve=np.array([[0.9, 0.7, 0.6], [0.9, 0.95, 0.8]]))
    assert head.abstain_below(0.95) == 0.7
    assert head.abstain_below(0.5) == 0.6
    # logits 2 and 1: .73; logits 1.2 and 1: .55
    assert head.predict(np.array([[1, 0], [0.6, 0]], np.float32), accuracy=0.95) == ["a", None]
    with pytest.raises(UserError, match=r"highest out of fold is 0\.950"):
        head.abstain_below(0.99)
    with pytest.raises(UserError, match="accuracy is 95"):
        head.abstain_below(95)
    with pytest.raises(UserError, match="not calibrated"):
        small().abstain_below(0.9)


@pytest.mark.parametrize("several", [False, True])
def test_a_fitted_head_is_calibrated_on_new_items(several) -> None:
    train, test = world(1500, several=several), world(4000, several=several, seed=1)
    head = fit_head(Classified(train, np.arange(1500)), Identity())
    p, own = head.predict_proba(test.vectors), test.labels.toarray() > 0
    for low in np.arange(0.1, 0.9, 0.2):
        inside = (p >= low) & (p < low + 0.2)
        assert abs(p[inside].mean() - own[inside].mean()) < 0.08
    wished = 0.9
    answers = head.predict(test.vectors, accuracy=wished)
    answered = [row for row, answer in enumerate(answers) if answer is not None]
    assert 0.05 < len(answered) / 4000 < 0.95
    right = [(answers[row] if several else [answers[row]]) == test.names(row) for row in answered]
    assert np.mean(right) > wished - 0.03


def test_maps_of_the_folds_keep_it_from_being_too_sure() -> None:
    # in many directions of noise, a map that has seen the labels puts every training item on its class's side
    def noisy(seed: int) -> LabelledItems:
        rng = np.random.default_rng(seed)
        y = np.arange(120) % 2
        x = rng.standard_normal((120, 60))
        x[:, 0] += 1.5 * (2 * y - 1)
        return LabelledItems.of(unit(x), ["ab"[label] for label in y])

    def seen_by(items: LabelledItems) -> Linear:
        side = np.sign(items.labels.indices - 0.5)
        toward = np.linalg.lstsq(items.vectors, side, rcond=None)[0]
        return Linear.shared((np.eye(60) + 3 * np.outer(toward, toward)).astype(np.float32))

    train, test = noisy(1), noisy(2)
    problem = Classified(train, np.arange(120))
    final = seen_by(train)
    folds = [seen_by(problem.training(one.train)) for one in problem.rounds(0)]
    own = test.labels.toarray() > 0

    def loss(head: Head) -> float:
        return -float(np.log(head.predict_proba(final.documents(test.vectors))[own]).mean())

    assert loss(fit_head(problem, final, fitted=folds)) < loss(fit_head(problem, final)) - 0.05


def test_classes_keep_their_order() -> None:
    head = fit_head(Classified(world(200), np.arange(200)), Identity(), strengths=(1.0,))
    assert list(head.classes) == ["a", "b", "c"]


@pytest.mark.parametrize("several", [False, True])
def test_saved_as_arrays_it_predicts_the_same(several) -> None:
    items = world(200, several=several)
    head = fit_head(Classified(items, np.arange(200)), Identity())
    tensors, settings = head.state()
    back = Head.from_state(load(save(tensors)), json.loads(json.dumps(settings)))
    np.testing.assert_array_equal(back.predict_proba(items.vectors), head.predict_proba(items.vectors))
    assert back.predict(items.vectors, accuracy=0.7) == head.predict(items.vectors, accuracy=0.7)
    tensors, settings = small().state()
    assert Head.from_state(tensors, settings).curve is None


def test_weights_must_fit_the_classes() -> None:
    with pytest.raises(VectorError, match="2 classes for the names of 3"):
        Head(LINEAR, list("abc"))


def rings(n: int, seed: int) -> LabelledItems:
    """Give a class in four places between four places of the other: no regression can tell them apart."""
    rng = np.random.default_rng(seed)
    place = np.arange(n) % 8
    angle = np.pi * place / 4 + 0.1 * rng.standard_normal(n)
    return LabelledItems.of(
        np.c_[np.cos(angle), np.sin(angle)].astype(np.float32), ["ab"[i % 2] for i in place]
    )


@pytest.mark.parametrize("several", [False, True])
def test_training_items_vote_where_a_regression_cannot_tell(several, monkeypatch) -> None:
    train, test = rings(400, 0), rings(200, 1)
    if several:
        train, test = (
            LabelledItems.of(x.vectors, [["a", "z"] if x.names(i) == ["a"] else ["z"] for i in range(len(x))])
            for x in (train, test)
        )
    problem = Classified(train, np.arange(400))
    head = fit_head(problem, Identity(), scales=(40.0, 80.0))
    assert isinstance(head.scorer, Voters)
    wanted = [test.names(row) if several else test.names(row)[0] for row in range(200)]
    assert (
        np.mean([found == own for found, own in zip(head.predict(test.vectors), wanted, strict=True)]) > 0.9
    )
    tensors, settings = head.state()
    back = Head.from_state(load(save(tensors)), json.loads(json.dumps(settings)))
    np.testing.assert_array_equal(back.predict_proba(test.vectors), head.predict_proba(test.vectors))
    monkeypatch.setattr(fitting, "MOST_VOTERS", 399)
    assert isinstance(fit_head(problem, Identity()).scorer, Logistic)


def test_the_vote_by_hand() -> None:
    # likenesses 1, 0 and 0 at scale 2: e^2 for a, 2 for b, so a has e^2 / (e^2 + 2) = .787 of the votes
    voters = LabelledItems.of(np.array([[1, 0], [0, 1], [0, -1]], np.float32), ["a", "b", "b"])
    head = Head(Voters(voters, 2.0), ["a", "b"])
    np.testing.assert_allclose(
        head.predict_proba(np.array([[1, 0]], np.float32)), [[0.787, 0.213]], atol=1e-3
    )


def test_progress_is_told_and_rounds_that_are_there_are_taken() -> None:
    problem = Classified(world(200), np.arange(200))
    rounds = problem.rounds(0)
    told: list[tuple[str, int, int]] = []
    given = fit_head(
        problem, Identity(), strengths=(1.0, 10.0), scales=(40.0,), rounds=rounds,
        budget=Budget(progress=lambda *now: told.append(now)),
    )  # fmt: skip
    total = 3 * len(rounds) + 1
    assert told == [("head", done, total) for done in range(total + 1)]
    own = fit_head(problem, Identity(), strengths=(1.0, 10.0), scales=(40.0,))
    assert given.temperature == own.temperature
    fewer = fit_head(problem, Identity(), strengths=(1.0,), scales=(40.0,), rounds=rounds[:1])
    assert fewer.curve.shape[1] < own.curve.shape[1]


def test_a_regression_goes_back_to_the_vectors_before_the_map() -> None:
    # the map nearly wipes out the direction that tells the classes apart; the regression does not care
    items = world(400)
    squeeze = Linear.shared(np.diag([0.02, 0.02, 1.0]).astype(np.float32))
    problem = Classified(items, np.arange(400))
    plain, after = (fit_head(problem, one, scales=()) for one in (Identity(), squeeze))
    assert isinstance(plain.scorer, Logistic)
    assert isinstance(after.scorer, Logistic)
    mapped = squeeze.documents(items.vectors)
    np.testing.assert_allclose(after.predict_proba(mapped), plain.predict_proba(items.vectors), atol=1e-3)
    tensors, settings = after.state()
    again = Head.from_state(load(save(tensors)), json.loads(json.dumps(settings)))
    np.testing.assert_array_equal(again.predict_proba(mapped), after.predict_proba(mapped))
    with pytest.raises(ValueError, match="back"):
        Head.from_state(tensors | {"back": np.eye(2, dtype=np.float32)}, settings)


def test_without_a_way_back_the_regression_takes_mapped_vectors() -> None:
    items = world(200)
    flat = Linear.shared(np.diag([1.0, 1.0, 0.0]).astype(np.float32))
    head = fit_head(Classified(items, np.arange(200)), flat, scales=())
    assert isinstance(head.scorer, Logistic)
    assert head.scorer.back is None
    assert head.predict_proba(flat.documents(items.vectors)).shape == (200, 3)


def test_wide_vectors_are_seen_along_their_leading_axes() -> None:
    # 700 dimensions, of which three hold everything: nothing is lost, and the weights are of full width
    items = world(200)
    across = np.linalg.qr(np.random.default_rng(0).standard_normal((700, 3)))[0].T.astype(np.float32)
    wide = items.moved(items.vectors @ across)
    head = fit_head(Classified(wide, np.arange(200)), Identity(), strengths=(10.0,), scales=())
    assert isinstance(head.scorer, Logistic)
    assert head.width == 700
    expected = fit_logistic(wide, strength=10.0)
    np.testing.assert_allclose(head.scorer.logits(wide.vectors), expected.logits(wide.vectors), atol=0.02)


def test_a_single_fold_that_is_not_there_leaves_the_usual_regression() -> None:
    items = world(30)
    head = fit_head(Classified(items, np.arange(30)), Identity(), rounds=[])
    np.testing.assert_array_equal(
        head.predict_proba(items.vectors), fit_logistic(items).probabilities(items.vectors)
    )
    assert head.curve is None
