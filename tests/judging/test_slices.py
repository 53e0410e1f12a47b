"""Gains by slice: by hand, with Holm's correction, and what counts as harm."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from embedtune.data import read
from embedtune.judging.compare import holm
from embedtune.judging.comparison import Judged
from embedtune.judging.slices import LEAST, harmed_slice, held_out, slice_gains, slices_of


def judged_of(difference: np.ndarray) -> Judged:
    n = len(difference)
    base, other = np.full(n, 0.5), np.linspace(0, 1, n)
    return Judged(
        {"ndcg@10": base, "map": other},
        {"ndcg@10": base + difference, "map": other},
        {},
        np.arange(n),
        ["t"] * n,
    )


def test_means_counts_and_adjusted_p_values_by_hand() -> None:
    # a: 12 rows that lose .2 each; b: 12 that gain .1 or lose .1 in turn; c: 3 rows.
    difference = np.r_[np.full(12, -0.2), np.tile([0.1, -0.1], 6), np.full(3, -0.5)]
    where = np.repeat([0, 1, 2], [12, 12, 3])
    masks = {("team", name): where == i for i, name in enumerate("abc")}
    a, b, c = slice_gains(judged_of(difference), masks)
    assert (a.column, a.value, a.n, a.name) == ("team", "a", 12, "team = a")
    assert (a.base, a.tuned, a.gain) == pytest.approx((0.5, 0.3, -0.2))
    assert a.p_value == pytest.approx(2 / 2**12)  # all of the same sign, of 2^12 assignments
    assert b.p_value == 1.0  # the sum is zero
    assert [a.p_holm, b.p_holm] == pytest.approx(holm([2 / 2**12, 1.0]).tolist())
    assert a.ci95 is not None
    assert a.ci95[0] <= -0.2 <= a.ci95[1]
    assert (a.harmed, b.harmed) == (True, False)
    assert (c.n, c.ci95, c.p_value, c.p_holm, c.harmed) == (3, None, None, None, False)  # too few to test
    assert c.gain == pytest.approx(-0.5)
    same = round(float(np.linspace(0, 1, 27)[:12].mean()), 6)
    assert a.metrics["map"] == {
        "base": same, "tuned": same, "gain": 0, "ci95": (0, 0), "p_value": 1, "p_holm": 1, "harmed": False,
    }  # fmt: skip
    first = {name: a.metrics["ndcg@10"][name] for name in ("gain", "ci95", "p_value", "p_holm", "harmed")}
    assert first == {name: getattr(a, name) for name in first}
    assert c.metrics["map"]["p_holm"] is None


def test_other_metrics_have_intervals_and_a_family_of_their_own() -> None:
    # two metrics beside the one that decides, in two slices: four tests, of which one is a sure loss
    n = 24
    base, lost = np.full(n, 0.5), np.where(np.arange(n) < 12, -0.2, 0.0)
    mixed_signs = np.tile([0.1, -0.1], 12)
    judged = Judged(
        {"ndcg@10": base, "map": base, "mrr": base},
        {"ndcg@10": base, "map": base + lost, "mrr": base + mixed_signs},
        {},
        np.arange(n),
        ["t"] * n,
    )
    masks = {("team", "a"): np.arange(n) < 12, ("team", "b"): np.arange(n) >= 12}
    a, b = slice_gains(judged, masks)
    assert list(a.metrics) == ["ndcg@10", "map", "mrr"]
    told = a.metrics["map"]
    assert (told["base"], told["tuned"], told["gain"]) == pytest.approx((0.5, 0.3, -0.2))
    assert told["ci95"][0] <= -0.2 <= told["ci95"][1]
    assert told["p_holm"] == pytest.approx(4 * 2 / 2**12)  # the smallest of four
    assert told["harmed"]
    assert not a.harmed  # the metric that decides loses nothing
    assert (b.metrics["map"]["p_holm"], b.metrics["mrr"]["p_holm"], b.p_holm) == (1, 1, 1)


def test_a_loss_that_many_slices_explain_is_no_harm() -> None:
    # 10 differences, one against the others: p = 2 * (1 + 10) / 2^10 = .0215 alone, .0215 * 5 > .05 of five.
    lost = np.r_[np.full(9, -0.2), 0.2]
    alone = slice_gains(judged_of(lost), {("team", "a"): np.ones(10, bool)})
    assert alone[0].p_holm == pytest.approx(22 / 1024)
    assert alone[0].harmed
    difference = np.r_[lost, np.tile([0.1, -0.1], 20)]
    masks = {("team", f"t{i}"): np.arange(50) // 10 == i for i in range(5)}
    first, *others = slice_gains(judged_of(difference), masks)
    assert first.p_holm == pytest.approx(5 * 22 / 1024)
    assert not any(one.harmed for one in (first, *others))


def test_slices_without_rows_are_left_out() -> None:
    assert slice_gains(judged_of(np.zeros(4)), {("team", "a"): np.zeros(4, bool)}) == []


def test_slices_of_a_dataset_follow_the_rows_asked_for() -> None:
    rows = [{"query": q, "positive": "x", "team": t} for q, t in (("a", "s"), ("b", "l"), ("c", ["l", "s"]))]
    found = slices_of(read(rows, slices=["team"]), ["team"], np.array([2, 0]))
    assert {key: mask.tolist() for key, mask in found.items()} == {
        ("team", "l"): [True, False],
        ("team", "s"): [True, True],
    }


def folded_of(difference: np.ndarray, **changes: np.ndarray) -> SimpleNamespace:
    n = len(difference)
    plain = {
        "base": np.zeros(n), "groups": np.arange(n), "row": np.arange(n), "seed": 0,
        "natural": np.ones(n, bool), "outside": np.zeros(n, bool),
    }  # fmt: skip
    return SimpleNamespace(**plain | changes)


def test_the_choice_hears_of_the_surest_loss_alone() -> None:
    difference = np.r_[np.full(20, -0.1), np.full(12, -0.1), np.full(30, 0.1)]
    where = np.repeat([0, 1, 2], [20, 12, 30])
    masks = {("team", name): where == i for i, name in enumerate("abc")}
    folded = folded_of(difference)
    assert harmed_slice(folded, difference, masks) == "team = a"
    assert harmed_slice(folded, np.abs(difference), masks) is None
    few = {("team", "a"): np.arange(62) < LEAST - 1}
    assert harmed_slice(folded, difference, few) is None
    assert harmed_slice(folded, difference, {}) is None


def test_with_very_many_slices_a_sure_loss_is_still_found() -> None:
    # 300 slices; with 2,000 random signs the smallest p-value would be .0005, and .15 after Holm.
    difference = np.tile([0.1, -0.1], 20 * 300 // 2)
    difference[:20] = -0.1
    masks = {("team", f"{i:03d}"): np.arange(6000) // 20 == i for i in range(300)}
    assert harmed_slice(folded_of(difference), difference, masks) == "team = 000"


def test_held_out_rows_count_once_and_as_traffic_comes() -> None:
    natural, outside = np.array([1, 1, 0, 1], bool), np.array([0, 0, 0, 1], bool)
    folded = folded_of(np.zeros(4), row=np.array([2, 0, 0, 2]), natural=natural, outside=outside)
    held = held_out({("team", "a"): np.array([False, False, True])}, folded)
    assert held["team", "a"].tolist() == [True, False, False, False]
