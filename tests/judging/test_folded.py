"""Out-of-fold scores: nothing of a held-out query's label comes through, and time is kept."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from unit_length import unit

from embedtune.judging.folded import AT_ONCE, Candidate, Folded, OutOfBudget
from embedtune.judging.labelled import Labelled
from embedtune.judging.problem import Round
from embedtune.memory import limited
from embedtune.transforms import Chain, Identity
from embedtune.tuners import TUNERS, Budget
from embedtune.tuners.auto import choose
from embedtune.tuners.deltas import DeltasTuner
from embedtune.tuners.forecast import forecast
from embedtune.tuners.ladder_retrieval import ladder
from embedtune.tuners.linear import LinearTuner
from embedtune.tuners.ridge import RidgeTuner


def labelled_of(
    asked: np.ndarray, documents: int = 300, d: int = 16, *, noise: float = 0.3, seed: int = 0
) -> Labelled:
    """Queries that lie off their documents by a rotation common to all."""
    rng = np.random.default_rng(seed)
    z = unit(rng.standard_normal((documents, d)))
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    q = unit(z[asked] @ rotation + noise * unit(rng.standard_normal((len(asked), d))))
    pairs = csr_matrix(
        (np.ones(len(asked), np.float32), (np.arange(len(asked)), asked)), (len(asked), documents)
    )
    return Labelled(q, z, pairs, [f"d{i}" for i in range(documents)], np.arange(len(asked)))


REPEATED = np.arange(150) % 50


def test_rows_are_every_query_by_query_and_by_document() -> None:
    folded = Folded(labelled_of(REPEATED), metric="ndcg@10", seed=0)
    np.testing.assert_array_equal(np.sort(folded.row[folded.natural]), np.arange(150))
    np.testing.assert_array_equal(np.sort(folded.row[~folded.natural]), np.arange(150))
    assert not folded.strata["seen"][~folded.natural].any()
    assert folded.strata["seen"][folded.natural].mean() > 0.8  # two other queries each, in other folds mostly
    np.testing.assert_allclose(
        folded.base, folded.problem.scores(Identity(), ("ndcg@10",))["ndcg@10"][folded.row]
    )


def test_weights_give_seen_rows_their_share_of_traffic() -> None:
    asked = np.r_[np.arange(120) % 40, np.arange(40, 70)]  # 120 of 150 queries share their document: 0.8
    folded = Folded(labelled_of(asked), metric="ndcg@10", seed=0)
    weight = folded.weight()
    assert weight.mean() == pytest.approx(1)
    assert weight[folded.strata["seen"]].sum() / weight.sum() == pytest.approx(0.8)
    alone = Folded(labelled_of(np.arange(60)), metric="ndcg@10", seed=0)
    np.testing.assert_allclose(alone.weight(), 1)


@pytest.mark.parametrize("name", [name for name in TUNERS if "retrieval" in TUNERS.load(name).tasks])
def test_labels_by_chance_bring_nothing_out_of_fold(name: str) -> None:
    rng = np.random.default_rng(3)
    labelled = labelled_of(rng.integers(0, 300, 150))
    shuffled = labelled.take(np.arange(150))
    order = rng.permutation(150)
    by_chance = Labelled(
        shuffled.queries, shuffled.documents, labelled.relevance[order], labelled.document_ids, np.arange(150)
    )
    folded = Folded(by_chance, metric="ndcg@10", seed=0)
    candidate = Candidate(name, TUNERS.load(name)(), (0.5, 1.0))
    folded.run(candidate, Budget())
    gains = ((candidate.scores - folded.base) * folded.weight()).mean(axis=1)
    assert (gains < 0.04).all()


def test_the_comparison_with_chance_could_fail() -> None:
    # Judged on the labels it was fitted to, the same tuner on the same random labels gains much.
    rng = np.random.default_rng(3)
    labelled = labelled_of(rng.integers(0, 300, 150))
    by_chance = Labelled(labelled.queries, labelled.documents, labelled.relevance[rng.permutation(150)],
                         labelled.document_ids, np.arange(150))  # fmt: skip
    fitted = DeltasTuner(drop=0.1).fit(by_chance.training(by_chance.relevance))
    base, tuned = (by_chance.scores(t, ("ndcg@10",))["ndcg@10"].mean() for t in (Identity(), fitted))
    assert tuned - base > 0.2


def test_a_map_that_is_there_gains_out_of_fold() -> None:
    folded = Folded(labelled_of(REPEATED), metric="ndcg@10", seed=0)
    candidate = Candidate("ridge", RidgeTuner(penalty=0.1), (0.5, 1.0))
    folded.run(candidate, Budget())
    assert candidate.scores.shape == (2, 300)
    assert len(candidate.fitted) == len(folded.rounds)
    assert (candidate.scores[1] - folded.base).mean() > 0.2


def test_every_fold_scores_with_the_map_that_was_fitted_without_it() -> None:
    labelled = labelled_of(REPEATED)
    folded = Folded(labelled, metric="ndcg@10", seed=5)
    candidate = Candidate("ridge", RidgeTuner(), (0.5,))
    folded.run(candidate, Budget())
    start = 0
    for fold in folded.rounds:
        fitted = RidgeTuner().fit(labelled.training(fold.train)).scaled(0.5)
        expected = labelled.take(held := fold.held).scores(fitted, ("ndcg@10",))["ndcg@10"]
        np.testing.assert_allclose(candidate.scores[0, start : start + len(held)], expected)
        start += len(held)


def test_a_split_of_the_users_own_is_judged_once_more_by_a_map_of_all_others() -> None:
    outside = np.zeros(150, bool)
    outside[:30] = True
    labelled = replace(labelled_of(REPEATED), outside=outside)
    folded = Folded(labelled, metric="ndcg@10", seed=0)
    np.testing.assert_array_equal(folded.row[folded.outside], np.arange(30))
    own = folded.rounds[-1]
    assert own.outside
    assert own.natural.all()
    np.testing.assert_array_equal(np.flatnonzero(np.diff(own.train.indptr)), np.arange(30, 150))
    assert own.strata["seen"].all()  # document i of query i has the training queries 50 + i and 100 + i
    assert labelled.shares() == {"seen": 1.0, "unseen": 0.0}
    few = replace(labelled, outside=np.arange(150) < 10)
    assert not any(one.outside for one in few.rounds(0))


def test_labels_by_chance_look_far_and_right_ones_do_not() -> None:
    labelled = labelled_of(np.arange(200), 400)
    assert labelled.scores(Identity(), ("far",))["far"].mean() > 0.3  # turned away from their documents
    turned = LinearTuner().fit(labelled.training(labelled.relevance))
    assert labelled.scores(turned, ("far",))["far"].mean() < 0.01
    order = np.random.default_rng(1).permutation(200)
    by_chance = replace(labelled, relevance=labelled.relevance[order])
    assert by_chance.scores(turned, ("far",))["far"].mean() == pytest.approx(0.5, abs=0.1)


def test_a_candidate_on_top_of_another() -> None:
    labelled = labelled_of(REPEATED)
    folded = Folded(labelled, metric="ndcg@10", seed=0)
    below = Candidate("ridge", RidgeTuner(penalty=0.1), (1.0,))
    above = Candidate("deltas", DeltasTuner(), (1.0,), below=below, below_strength=1.0)
    folded.run(below, Budget())
    folded.run(above, Budget())
    natural = folded.natural
    assert above.scores[0][natural].mean() > folded.base[natural].mean() + 0.2
    whole = above.final(labelled.training(labelled.relevance), 0.5, 0, Budget())
    assert isinstance(whole, Chain)
    assert [part.kind for part in whole.parts] == ["linear", "item_deltas"]
    full = above.final(labelled.training(labelled.relevance), 1.0, 0, Budget())
    np.testing.assert_array_equal(full.parts[0].query, whole.parts[0].query)  # strength is that of the top
    np.testing.assert_allclose(full.parts[1].deltas, whole.parts[1].deltas * 2, rtol=1e-5)


def test_no_time_is_told_at_the_first_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folded = Folded(labelled_of(REPEATED), metric="ndcg@10", seed=0)
    fits: list[int] = []
    candidate = Candidate("ridge", Watched(fits))
    with pytest.raises(OutOfBudget):
        folded.run(candidate, Budget(time.monotonic() - 1))
    assert len(fits) == 1 < len(folded.rounds)
    assert not candidate.fitted
    assert candidate.scores.size == 0


class Watched:
    """Notes in which thread each fit is made."""

    def __init__(self, fits: list[int]) -> None:
        self.fits = fits

    def fit(self, train, *, seed=0, budget=None):
        self.fits.append(threading.get_ident())
        return RidgeTuner().fit(train, seed=seed, budget=budget)


@pytest.mark.parametrize(
    ("size", "limit"), [(0, None), (AT_ONCE // 2, None), (AT_ONCE // 2 + 1, None), (0, "8GB")]
)
def test_folds_have_threads_of_their_own_where_they_need_little_memory(
    size: int, limit: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(Labelled, "size", size)
    fits: list[int] = []

    @limited
    def run(*, memory: str | None) -> None:
        Folded(labelled_of(REPEATED), metric="ndcg@10", seed=0).run(Candidate("r", Watched(fits)), Budget())

    run(memory=limit)
    assert (threading.get_ident() in fits) == (size > AT_ONCE // 2 or limit is not None)


def test_maps_are_the_same_on_any_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for cores in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", cores)
        choice = choose(
            labelled_of(REPEATED),
            ladder=ladder,
            method="auto",
            metric="ndcg@10",
            seed=0,
            budget=Budget(),
        )
        curve = forecast(choice, labels=150, seed=0, budget=Budget())
        found.append((choice.tried, choice.fit(0, Budget()).state()[0], curve))
    (one, map_, curve), (three, same, other) = found
    assert [tried.name for tried in one] == [tried.name for tried in three]
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
    assert map_.keys() == same.keys()
    for name, value in map_.items():
        np.testing.assert_array_equal(value, same[name])
    assert curve is not None
    assert curve == other


class Late(RidgeTuner):
    """Gives what it has when the time has ended, as maps that are trained in steps do."""

    def fit(self, train, *, seed=0, budget=None):
        while budget.left > 0:
            time.sleep(0.001)
        return super().fit(train, seed=seed, budget=budget)


@pytest.mark.parametrize("cores", ["1", "5"])
def test_a_fit_that_was_cut_short_judges_nothing(cores: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    candidate = Candidate("late", Late())
    with pytest.raises(OutOfBudget):
        Folded(labelled_of(REPEATED), metric="ndcg@10", seed=0).run(
            candidate, Budget(time.monotonic() + 0.02)
        )
    assert not candidate.fitted


def test_a_fold_that_fails_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails(Late):
        def fit(self, train, *, seed=0, budget=None):
            if seed == 1:
                raise ValueError("no")
            return super().fit(train, seed=seed, budget=budget)  # would never end

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with pytest.raises(ValueError, match="no"):
        Folded(labelled_of(REPEATED), metric="ndcg@10", seed=0).run(Candidate("f", Fails()), Budget())


class Clock:
    """Time that goes on by the work alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """Two rounds, each judged in a second."""

    size = 0

    def __init__(self, clock: Clock, large_maps: bool) -> None:
        self.clock, self.large_maps = clock, large_maps

    def rounds(self, seed: int) -> list[Round]:
        return [Round(None, np.array([row]), {}, np.ones(1, bool)) for row in range(2)]

    def shares(self) -> dict[str, float]:
        return {}

    def training(self, train: None) -> list[int]:
        return [1]

    def evaluate(self, transform, rows, train, metrics) -> dict[str, np.ndarray]:
        self.clock.now += 1
        return {name: np.zeros(len(rows)) for name in metrics}


class SlowTuner:
    """Fits in ten seconds, and looks at the clock in between."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def fit(self, train: list[int], *, seed: int, budget: Budget) -> Identity:
        self.clock.now += 5
        budget.check()
        self.clock.now += 5
        return Identity()


@pytest.mark.parametrize(("large_maps", "enough"), [(False, 22), (True, 32)])
def test_time_for_the_last_fit_is_kept_where_maps_are_large(
    monkeypatch: pytest.MonkeyPatch, large_maps: bool, enough: int
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    folded = Folded(Slow(clock, large_maps), metric="m", seed=0)

    def run(seconds: float) -> None:
        folded.run(Candidate("slow", SlowTuner(clock)), Budget(clock.now + seconds))

    with pytest.raises(OutOfBudget):  # two folds of 11 seconds, and with large maps a last fit of 10
        run(enough - 1)
    run(enough)
    if large_maps:  # whatever comes next must leave the 10 seconds that the last fit of this would take
        started = clock.now
        with pytest.raises(OutOfBudget):
            run(14)
        assert clock.now == started + 5


def test_choosing_without_time_keeps_the_base() -> None:
    found = choose(
        labelled_of(REPEATED),
        ladder=ladder,
        method="auto",
        metric="ndcg@10",
        seed=0,
        budget=Budget(time.monotonic() - 1),
    )
    assert found.stopped
    assert [t.name for t in found.tried] == ["identity"]
    assert found.chosen is found.shown is found.tried[0]
    assert found.corrected(0) is None
    assert isinstance(found.fit(0, Budget()), Identity)


def test_choosing_finds_the_map() -> None:
    labelled = labelled_of(np.arange(200))
    found = choose(labelled, ladder=ladder, method="auto", metric="ndcg@10", seed=0, budget=Budget())
    assert not found.stopped
    assert found.chosen.candidate is not None
    assert found.chosen.harms is None
    corrected = found.corrected(0)
    assert corrected is not None
    assert corrected.ci95[0] > 0
    gains = (found.chosen.scores - found.folded.base) * found.folded.weight()
    assert corrected.gain <= gains.mean() + 1e-9  # corrected downwards, never up
    again = choose(labelled, ladder=ladder, method="auto", metric="ndcg@10", seed=0, budget=Budget())
    assert [(t.name, t.strength, t.mean) for t in again.tried] == [
        (t.name, t.strength, t.mean) for t in found.tried
    ]


def test_choosing_among_maps_of_chance_keeps_the_base_or_promises_nothing() -> None:
    labelled = labelled_of(np.arange(150), 400)
    order = np.random.default_rng(0).permutation(150)
    by_chance = Labelled(labelled.queries, labelled.documents, labelled.relevance[order],
                         labelled.document_ids, np.arange(150))  # fmt: skip
    found = choose(by_chance, ladder=ladder, method="auto", metric="ndcg@10", seed=0, budget=Budget())
    corrected = found.corrected(0)
    assert found.chosen.candidate is None or (corrected is not None and corrected.ci95[0] <= 0)


@pytest.mark.parametrize("method", ["auto", "ridge"])
def test_folds_that_leave_nothing_to_learn_from_are_the_base(method: str) -> None:
    found = choose(
        labelled_of(np.arange(24) % 3),
        ladder=ladder,
        method=method,
        metric="ndcg@10",
        seed=0,
        budget=Budget(),
    )  # a fifth of the queries asks for all three documents, so by document nothing is left
    forced = ~found.folded.natural
    assert forced.any()
    for one in found.tried:
        np.testing.assert_array_equal(one.scores[forced], found.folded.base[forced])


def test_what_cannot_be_divided_keeps_the_base_and_tells_nothing() -> None:
    class Whole(Labelled):
        def rounds(self, seed: int):
            return []

    whole = Whole(**vars(labelled_of(REPEATED)))
    found = choose(whole, ladder=ladder, method="auto", metric="ndcg@10", seed=0, budget=Budget())
    assert [t.name for t in found.tried] == ["identity"]
    assert found.corrected(0) is None


def test_one_method_alone() -> None:
    found = choose(
        labelled_of(REPEATED), ladder=ladder, method="procrustes", metric="mrr@10", seed=0, budget=Budget()
    )
    assert {t.name for t in found.tried} == {"identity", "procrustes"}
    assert found.shown.name == "procrustes"


def test_the_identity_alone_is_the_base() -> None:
    found = choose(
        labelled_of(REPEATED), ladder=ladder, method="identity", metric="ndcg@10", seed=0, budget=Budget()
    )
    assert found.chosen.candidate is None
    assert isinstance(found.fit(0, Budget()), Identity)


def test_the_map_that_was_judged_is_fitted_in_full_even_late() -> None:
    labelled = labelled_of(np.arange(150))
    found = choose(labelled, ladder=ladder, method="linear", metric="ndcg@10", seed=0, budget=Budget())
    in_time = found.fit(0, Budget())
    late = found.fit(0, Budget(time.monotonic() - 1))
    assert late.kind == in_time.kind == "linear"
    np.testing.assert_array_equal(late.query, in_time.query)
