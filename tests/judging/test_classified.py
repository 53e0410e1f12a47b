"""Classification as a problem: folds without leaks, neighbours that train, and every metric."""

from __future__ import annotations

import numpy as np
import pytest
from unit_length import unit

from embedtune.errors import UserError
from embedtune.judging import classified
from embedtune.judging.classified import Classified
from embedtune.training.items import LabelledItems
from embedtune.transforms import Identity, Linear


def problem(n: int = 60, labels: list | None = None, groups: np.ndarray | None = None) -> Classified:
    x = unit(np.random.default_rng(0).standard_normal((n, 4)))
    names = labels or [f"c{i % 3}" for i in range(n)]
    return Classified(LabelledItems.of(x, names), np.arange(n) if groups is None else groups)


def test_folds_hold_each_item_out_once_and_spread_every_class() -> None:
    labels = ["often"] * 40 + ["seldom"] * 10 + ["rare"] * 5
    p = problem(55, labels)
    rounds = p.rounds(3)
    assert np.sort(np.concatenate([r.held for r in rounds])).tolist() == list(range(55))
    for r in rounds:
        assert not set(r.held) & set(r.train)
        assert len(r.held) + len(r.train) == 55
        assert p.items.take(r.held).counts.tolist() == [8, 1, 2]  # often, rare, seldom
        assert r.natural.all()
    assert [r.held.tolist() for r in p.rounds(3)] == [r.held.tolist() for r in rounds]
    assert [r.held.tolist() for r in p.rounds(4)] != [r.held.tolist() for r in rounds]


def test_near_duplicates_never_straddle_a_fold() -> None:
    groups = np.random.default_rng(1).integers(0, 25, 60)
    for r in problem(groups=groups).rounds(0):
        assert not set(groups[r.held]) & set(groups[r.train])


def test_many_items_are_held_out_by_tenths_until_enough_are_judged(monkeypatch) -> None:
    monkeypatch.setattr(classified, "MANY", 60)
    monkeypatch.setattr(classified, "ENOUGH", 15)
    rounds = problem(60).rounds(0)
    assert [len(r.held) for r in rounds] == [6, 6, 6]
    assert [len(r.train) for r in rounds] == [54, 54, 54]


def test_strata_are_small_and_large_classes_where_sizes_differ() -> None:
    assert problem(60).rounds(0)[0].strata == {}
    p = problem(60, ["often"] * 40 + ["seldom"] * 12 + ["rare"] * 8)
    for r in p.rounds(0):
        small = [p.items.names(row)[0] != "often" for row in r.held]
        assert r.strata["small classes"].tolist() == small
        assert r.strata["large classes"].tolist() == [not one for one in small]


def test_the_nearest_training_items_vote() -> None:
    # with one neighbour each (k = 10 > the voters), the weights decide: row 0 is at row 1, row 3 at row 2
    x = unit(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]]))
    p = Classified(LabelledItems.of(x, ["a", "a", "b", "a"]), np.arange(4))
    found = p.evaluate(Identity(), np.array([0, 3]), np.array([1, 2]), ["accuracy", "map"])
    assert found["accuracy"].tolist() == [1, 0]
    assert found["map"].tolist() == [1, 0.5]


def test_an_item_that_trains_is_not_its_own_neighbour() -> None:
    x = unit(np.array([[1, 0], [1, 0.1], [0, 1]]))
    p = Classified(LabelledItems.of(x, ["a", "b", "b"]), np.arange(3))
    found = p.evaluate(Identity(), p.everything, p.everything, ["accuracy", "map"])
    assert found["accuracy"].tolist() == [0, 0, 1]
    # row 1 finds a before b; row 0 has no other a
    assert found["map"].tolist() == [0, 0.5, 1]


def test_the_map_is_applied_to_both_and_brought_to_unit_length() -> None:
    # the second axis tells the classes; the map keeps that alone
    x = np.array([[0.8, 0.6], [0.8, -0.6], [-0.8, 0.6], [-0.8, -0.6]], np.float32)
    train = LabelledItems.of(x[:2], ["up", "down"])
    test = Classified(LabelledItems.of(x[2:], ["up", "down"], classes=train.classes), np.arange(2), train)
    second = Linear.shared(np.diag([0.0, 1.0]).astype(np.float32), normalise=False)
    assert test.evaluate(second, np.arange(2), test.everything, ["accuracy"])["accuracy"].tolist() == [1, 1]


def test_a_test_split_has_training_items_of_its_own_and_no_folds() -> None:
    train, test = problem(60), problem(9)
    judged = Classified(test.items, test.groups, train.items)
    few = judged.evaluate(Identity(), np.arange(9), np.array([0]), ["accuracy"])["accuracy"]
    assert few.tolist() == [1, 0, 0] * 3  # the only voter is of class c0
    assert judged.training(judged.everything) is train.items
    with pytest.raises(UserError, match="no folds"):
        judged.rounds(0)
    with pytest.raises(UserError, match="other classes"):
        Classified(LabelledItems.of(test.items.vectors, ["x"] * 9), test.groups, train.items)


def test_every_metric_of_separable_classes_is_one() -> None:
    x = unit(np.r_[np.random.default_rng(0).normal([5, 0], 0.3, (30, 2)), np.full((30, 2), [0.0, 5.0])])
    single = Classified(LabelledItems.of(x, ["a"] * 30 + ["b"] * 30), np.arange(60))
    several = Classified(LabelledItems.of(x, [["a"]] * 30 + [["b", "c"]] * 30), np.arange(60))
    for p in (single, several):
        r = p.rounds(0)[0]
        found = p.evaluate(Identity(), r.held, r.train, p.metrics)
        assert list(found) == list(p.metrics)
        for name, values in found.items():
            np.testing.assert_allclose(values, 1, err_msg=name)


def test_metrics_that_do_not_fit_the_labels_are_refused() -> None:
    p = problem()
    with pytest.raises(UserError, match="no metric 'f1' for one class an item"):
        p.evaluate(Identity(), np.arange(3), np.arange(3, 60), ["f1"])
    assert p.evaluate(Identity(), np.arange(0), np.arange(3, 60), ["map"])["map"].shape == (0,)


def test_taking_rows_keeps_labels_and_groups() -> None:
    p = problem(groups=np.arange(60) // 2).take(np.array([5, 8]))
    assert len(p) == 2
    assert p.groups.tolist() == [2, 4]
    assert p.items.names(0) == ["c2"]


def test_unseen_classes_are_held_out_whole_and_found_among_each_other() -> None:
    labels = [f"c{i % 10}" for i in range(60)]
    x = unit(np.random.default_rng(0).standard_normal((60, 4)))
    p = Classified(LabelledItems.of(x, labels), np.arange(60), unseen=True)
    rounds = p.rounds(0)
    assert np.sort(np.concatenate([r.held for r in rounds])).tolist() == list(range(60))
    for r in rounds:
        assert len({labels[row] for row in r.held}) == 2
        assert not {labels[row] for row in r.held} & {labels[row] for row in r.train}
        assert r.strata["unseen classes"].all()
    assert p.metrics == ("accuracy", "macro_f1", "map")


def test_too_few_classes_to_hold_any_out_are_all_left() -> None:
    p = problem(60, [f"c{i % 3}" for i in range(60)])
    round_ = Classified(p.items, p.groups, unseen=True).hold_out(0.2, 800, 0)
    assert (len(round_.held), len(round_.train)) == (0, 60)


def test_unseen_classes_by_hand() -> None:
    # rows 0 and 1 find each other, rows 2 and 3 too; row 4 lies at 0 but has no other of its class
    x = unit(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, -0.3]]))
    p = Classified(LabelledItems.of(x, ["a", "a", "b", "b", "c"]), np.arange(5), unseen=True)
    found = p.evaluate(Identity(), np.arange(5), np.empty(0, np.int64), ["accuracy", "map"])
    assert found["map"].tolist() == [1, 1, 1, 1, 0]
    assert found["accuracy"].tolist() == [1, 1, 1, 1, 0]


def test_too_few_classes_cannot_be_held_out() -> None:
    x = unit(np.random.default_rng(0).standard_normal((6, 4)))
    assert Classified(LabelledItems.of(x, list("aabbcc")), np.arange(6), unseen=True).rounds(0) == []
