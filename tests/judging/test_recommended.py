"""Rounds without leaks, metrics by hand, known and new items."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.judging import recommended
from embedtune.judging.folded import Again, Folded
from embedtune.judging.recommended import Recommended, Split
from embedtune.training.budget import Budget
from embedtune.training.interactions import Interactions
from embedtune.transforms import Identity, Pooled, Pooling
from embedtune.tuners.ladder_recommendation import ladder


def many(timed: bool = True) -> Interactions:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 6)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    rows = [(u, i) for u in range(30) for i in rng.permutation(40)[: 1 + u % 15]]
    user, item = np.array(rows).T
    time = rng.permutation(len(user)) if timed else None
    return Interactions.of(x, user, item, [str(n) for n in range(40)], time=time, users=31)


def pairs(data: Interactions) -> set[tuple[int, int]]:
    return set(zip(data.user.tolist(), data.item.tolist(), strict=True))


@pytest.mark.parametrize("timed", [True, False])
def test_rounds_train_on_nothing_that_is_asked_for(timed: bool) -> None:
    data = many(timed)
    problem = Recommended(data)
    rounds = problem.rounds(0)
    assert len(rounds) == 3
    natural: list[int] = []
    for one in rounds:
        history, targets = one.train.history, one.train.targets
        assert not pairs(history) & pairs(targets)
        assert problem.training(one.train) is history
        assert all(len(mask) == len(one.held) for mask in (*one.strata.values(), one.natural))
        natural += one.held[one.natural].tolist()
        scores = problem.evaluate(Identity(), one.held, one.train, ["recall@5", "ndcg@10"])
        assert all(np.isfinite(values).all() for values in scores.values())
    assert sorted(natural) == np.flatnonzero(data.counts > 1).tolist()  # each once; single ones never
    forced = rounds[-1]
    assert not np.isin(forced.train.targets.item, forced.train.history.item).any()
    assert forced.strata["cold"].all()
    assert not forced.natural.any()


def test_of_many_users_half_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    data, few = many(), 15
    monkeypatch.setattr(recommended, "MOST", few)  # of 31 users
    natural, forced = Recommended(data).rounds(0)
    assert 5 < len(np.unique(natural.held % data.users)) <= few
    assert natural.natural.any()
    assert not forced.natural.any()
    held = np.unique(natural.train.targets.user)
    whole = np.bincount(natural.train.history.user, minlength=data.users) == data.counts
    np.testing.assert_array_equal(np.flatnonzero(~whole), held)  # the others' latest choices train


def test_a_history_ends_before_its_targets() -> None:
    for one in Recommended(many()).rounds(1):
        history, targets = one.train.history, one.train.targets
        for user in np.unique(targets.user):
            past = history.time[history.user == user]
            assert past.max(initial=-1) < targets.time[targets.user == user].min()


def by_hand() -> Recommended:
    """Five items on a line of angles; user 0 has seen 0 then 4, user 1 has seen 1; item 3 is new."""
    angle = np.deg2rad([0, 10, 20, 30, 90])
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    ids = ["a", "b", "c", "d", "e"]
    train = Interactions.of(x, [0, 0, 1, 2], [0, 4, 1, 2], ids, time=[1, 2, 1, 1])
    test = Interactions.of(x, [0, 0, 1], [2, 3, 3], ids, time=[8, 9, 9], users=3)
    return Recommended(train, test)


def test_metrics_by_hand() -> None:
    problem = by_hand()
    final = problem.final()
    assert final.held.tolist() == [0, 1, 3, 6, 7]  # all: users 0 and 1; warm: 0; cold: 0 and 1
    assert final.strata["warm"].tolist() == [False, False, True, False, False]
    assert final.strata["cold"].tolist() == [False, False, False, True, True]
    # user 0's mean points to 45°: of b, c, d the order is d (30°), c (20°), b. User 1, at 10°: a and c at
    # 10° off (either first), d third.
    scores = problem.evaluate(Identity(), final.held, final.train, ["recall@1", "mrr@10"])
    assert scores["recall@1"].tolist() == [0.5, 0, 0, 1, 0]
    np.testing.assert_allclose(scores["mrr@10"], [1, 1 / 3, 1 / 2, 1, 1 / 3])


def test_pooling_of_the_map_is_used() -> None:
    problem = by_hand()
    rows = np.array([3])
    early = problem.evaluate(Identity(), rows, problem.everything, ["recall@1"])["recall@1"]
    # nearly all of the weight on item e, at 90°: d is still first, and c is second
    late = problem.evaluate(Pooled(Pooling(half_life=0.1)), rows, problem.everything, ["recall@2"])[
        "recall@2"
    ]
    assert (early.tolist(), late.tolist()) == ([0], [1])


def test_what_the_user_has_is_not_asked_for_again() -> None:
    problem = by_hand()
    again = Interactions.of(
        problem.interactions.items, [1, 1], [1, 0], problem.interactions.item_ids, time=[5, 6], users=3
    )
    split = Split(problem.interactions, again)
    assert problem.evaluate(Identity(), np.array([1]), split, ["recall@2"])["recall@2"].tolist() == [1]


def test_coverage_by_hand() -> None:
    problem = by_hand()
    # first recommendations: user 0 d, user 1 a or c, user 2 (at 20°) b or d: two or three of five
    assert problem.coverage(Identity(), problem.everything, k=4) == 1
    assert problem.coverage(Identity(), problem.everything, k=1) in (0.4, 0.6)


def test_the_ladder_beats_the_base_where_groups_hold() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 8)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    rows = [(u, 10 * (u % 3) + i, n) for u in range(90) for n, i in enumerate(rng.permutation(10)[:7])]
    user, item, time = np.array(rows).T
    problem = Recommended(Interactions.of(x, user, item, [str(n) for n in range(30)], time=time))
    one = problem.rounds(0)[0]
    rows_, metrics = one.held[one.natural], ["recall@5"]
    base = problem.evaluate(Identity(), rows_, one.train, metrics)["recall@5"].mean()
    names = []
    for candidate in ladder(Folded(problem, metric="recall@5", seed=0), []):
        names.append(candidate.name)
        fitted = candidate.tuner.fit(problem.training(one.train))
        score = problem.evaluate(fitted, rows_, one.train, metrics)["recall@5"].mean()
        assert score > 0.9 if "factors" in candidate.name else score >= base - 0.1
    assert names == ["pooling", "factors (next)", "factors (EASE)"]


def test_no_map_of_a_fold_is_kept_and_each_is_fitted_again_to_the_same() -> None:
    folded = Folded(Recommended(many()), metric="recall@5", seed=0)
    candidate = next(one for one in ladder(folded, []) if one.rung == 2)
    folded.run(candidate, Budget())
    assert all(isinstance(one, Again) for one in candidate.fitted)
    again = np.concatenate(
        [folded.score(folded.fitted(candidate, 1.0, i), i) for i in range(len(folded.rounds))]
    )
    np.testing.assert_array_equal(candidate.scores[0], again)
