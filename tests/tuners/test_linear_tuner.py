"""Linear adapters: whole-chain gradients, a known map that is learnt, budgets, ranks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.errors import UserError
from embedtune.transforms import Identity
from embedtune.tuners import Budget, TuningData
from embedtune.tuners.batches import Batches
from embedtune.tuners.linear import LinearTuner, _Descent, typical_product
from embedtune.tuners.low_rank import LowRankTuner

SIDES = ["query", "document", "both", "shared"]


def slow_loss(train: TuningData, w_query, w_document, scale: float) -> float:
    """The loss over all queries and documents, in double precision, loops and all."""
    q, z = train.queries.astype(float) @ w_query.T, train.documents.astype(float) @ w_document.T
    if train.cosine:
        q, z = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, z))
    known = train.known.toarray() > 0
    total = 0.0
    for i, j, weight in zip(*train.pairs, strict=True):
        own = np.exp(scale * q[i] @ z[j])
        others = sum(np.exp(scale * q[i] @ z[k]) for k in range(len(z)) if not known[i, k])
        total -= weight * np.log(own / (own + others))
    return total / len(q)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("sides", SIDES)
def test_gradients_through_the_whole_chain(sides, similarity, graded: TuningData, as_dot) -> None:
    train = graded if similarity == "cosine" else as_dot(graded)
    rng = np.random.default_rng(0)
    descent = _Descent(LinearTuner(sides=sides, scale=4.0), train, rng)
    for name in descent.residual:
        descent.residual[name] = (0.3 * rng.standard_normal((3, 3))).astype(np.float32)
    whole = Batches(train, size=4, hard=0, sample=100, rng=rng)
    (batch,) = list(whole)
    assert batch.columns.tolist() == list(range(6))
    found = descent.gradients(batch)

    assert set(found) == set(descent.residual)
    eye, step = np.eye(3), 1e-5
    for name, residual in descent.residual.items():
        expected = np.zeros((3, 3))
        for i in range(3):
            for j in range(3):
                value = []
                for sign in (1, -1):
                    moved = {k: r.astype(float) for k, r in descent.residual.items()}
                    moved[name] = residual.astype(float)
                    moved[name][i, j] += sign * step
                    shared = moved.get("shared", np.zeros((3, 3)))
                    w_query = eye + moved.get("query", shared)
                    w_document = eye + moved.get("document", shared)
                    value.append(slow_loss(train, w_query, w_document, descent.scale))
                expected[i, j] = (value[0] - value[1]) / (2 * step)
        np.testing.assert_allclose(found[name], expected, atol=2e-4, rtol=1e-3)
        assert np.abs(expected).max() > 0.01  # the comparison says something


@pytest.mark.parametrize("sides", SIDES)
def test_it_starts_at_the_identity(sides, graded: TuningData) -> None:
    descent = _Descent(LinearTuner(sides=sides), graded, np.random.default_rng(0))
    for side, maps in (("query", sides != "document"), ("document", sides != "query")):
        w = descent.matrix(side)
        assert (w is not None) == maps
        if w is not None:
            np.testing.assert_array_equal(w, np.eye(3))
    assert isinstance(descent.transform(), Identity)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("sides", ["query", "document", "both"])
def test_a_known_map_is_learnt(sides, similarity, make_world: Callable) -> None:
    world = make_world(similarity=similarity)
    # documents cost one more matrix in the loss; the map itself is one rotation for every side
    fitted = LinearTuner(sides=sides).fit(world.data)
    assert world.gain(fitted) > 0.3
    assert fitted.sides == sides


def test_one_map_for_both_sides_drops_what_confuses() -> None:
    # Half of the dimensions are noise that differs between a query and its document.
    rng = np.random.default_rng(0)
    kept = rng.standard_normal((400, 8))
    noise = 1.5 * rng.standard_normal((2, 400, 8))
    q, z = (np.hstack([kept, part]).astype(np.float32) for part in noise)
    q, z = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, z))
    from embedtune.judging.labelled import Labelled

    pairs = csr_matrix(np.eye(400, dtype=np.float32))
    every = Labelled(q, z, pairs, list(map(str, range(400))), np.arange(400))
    train, held = every.take(np.arange(200)), every.take(np.arange(200, 400))
    fitted = LinearTuner(sides="shared").fit(train.training(train.relevance))
    scores = [held.scores(t, ("ndcg@10",))["ndcg@10"].mean() for t in (Identity(), fitted)]
    assert fitted.sides == "shared"
    assert scores[1] > scores[0] + 0.1


def test_where_nothing_is_to_learn_nothing_is_lost(make_world: Callable) -> None:
    world = make_world(turn=0.0, noise=0.05)
    assert world.gain(LinearTuner().fit(world.data)) > -0.02


@pytest.mark.parametrize("sides", SIDES)
def test_same_seed_same_bytes(sides, make_world: Callable) -> None:
    world = make_world(40, 300)
    tuner = LinearTuner(sides=sides, sample=50, hard=2, batch=16)
    states = [tuner.fit(world.data, seed=seed).state()[0] for seed in (7, 7, 8)]
    for name in states[0]:
        assert states[0][name].tobytes() == states[1][name].tobytes()
        assert states[0][name].tobytes() != states[2][name].tobytes()


def test_a_budget_in_the_past_leaves_the_identity(make_world: Callable) -> None:
    world = make_world(20, 100)
    fitted = LinearTuner().fit(world.data, budget=Budget(time.monotonic() - 1))
    assert isinstance(fitted, Identity)


def test_a_budget_that_ends_keeps_what_there_is(make_world: Callable, monkeypatch) -> None:
    world = make_world(40, 100)
    told: list[int] = []
    budget = Budget(time.monotonic() + 1000, lambda stage, done, total: told.append(done))
    left = Budget.left.fget
    monkeypatch.setattr(Budget, "left", property(lambda self: left(self) if len(told) < 3 else -1.0))
    fitted = LinearTuner(batch=10).fit(world.data, budget=budget)
    assert told == [1, 2, 3]
    assert not isinstance(fitted, Identity)


def test_progress_counts_to_its_total(make_world: Callable) -> None:
    told: list[tuple[str, int, int]] = []
    LinearTuner(batch=10).fit(make_world(35, 100).data, budget=Budget(progress=lambda *a: told.append(a)))
    totals = {total for _, _, total in told}
    assert len(totals) == 1
    assert [done for _, done, _ in told] == list(range(1, totals.pop() + 1))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("sides", ["query", "both"])
def test_low_rank_is_of_low_rank(rank, sides, make_world: Callable) -> None:
    fitted = LowRankTuner(rank=rank, sides=sides).fit(make_world(60, 200).data)
    for w in (fitted.query, fitted.document):
        if w is None:
            continue
        values = np.linalg.svd(w.astype(float) - np.eye(len(w)), compute_uv=False)
        assert (values > 1e-4 * values[0]).sum() <= rank
        assert values[0] > 0.01


def test_dimensions_without_variance_do_not_break_it(make_world: Callable) -> None:
    data = make_world(30, 100).data
    queries, documents = data.queries.copy(), data.documents.copy()
    queries[:, :3] = documents[:, :3] = 0
    fitted = LinearTuner(sides="both").fit(replace(data, queries=queries, documents=documents))
    assert np.isfinite(fitted.query).all()
    assert np.isfinite(fitted.document).all()


def test_typical_product_is_the_mean_of_lengths(graded: TuningData) -> None:
    rng = np.random.default_rng(0)
    assert typical_product(graded, rng) == 1.0
    longer = replace(graded, queries=graded.queries * 2, documents=graded.documents * 5, similarity="dot")
    assert typical_product(longer, rng) == pytest.approx(10, rel=1e-5)


@pytest.mark.parametrize("wrong", [{"sides": "left"}, {"rank": 0}])
def test_wrong_settings_are_refused(wrong) -> None:
    with pytest.raises(UserError, match=f"linear: {next(iter(wrong))}"):
        LinearTuner(**wrong)
