"""Shifts of documents: who moves, who gains, and who must not lose."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from unit_length import unit

from embedtune.errors import UserError
from embedtune.judging.labelled import Labelled
from embedtune.transforms import Identity, ItemDeltas
from embedtune.tuners import TUNERS, Budget
from embedtune.tuners.deltas import DeltasTuner


@dataclass(frozen=True)
class Repeated:
    """Traffic that asks for the same 60 documents again, and for others that were never labelled."""

    train: Labelled
    seen: Labelled
    unseen: Labelled

    def gain(self, transform, part: str) -> float:
        labelled = getattr(self, part)
        base, tuned = (labelled.scores(t, ("ndcg@10",))["ndcg@10"].mean() for t in (Identity(), transform))
        return float(tuned - base)


@pytest.fixture(scope="module")
def repeated() -> Repeated:
    """Give queries that lie off their documents: each document's own way, and a way common to all.

    The common way draws shifted documents to where all queries are, so they become attractors.
    """
    rng = np.random.default_rng(1)
    d, documents = 24, 500

    z = unit(rng.standard_normal((documents, d)))
    own = unit(rng.standard_normal((documents, d)))
    common = unit(rng.standard_normal((1, d)))

    def ask(which):
        q = unit(
            z[which] + 0.8 * own[which] + 1.5 * common + 0.5 * unit(rng.standard_normal((len(which), d)))
        )
        pairs = csr_matrix(
            (np.ones(len(which), np.float32), (np.arange(len(which)), which)), shape=(len(which), documents)
        )
        return Labelled(q, z, pairs, [f"d{i}" for i in range(documents)], np.arange(len(which)))

    return Repeated(
        ask(np.repeat(np.arange(60), 5)), ask(np.repeat(np.arange(60), 2)), ask(np.arange(60, 260))
    )


@pytest.fixture(scope="module")
def fitted(repeated: Repeated) -> ItemDeltas:
    return DeltasTuner().fit(repeated.train.training(repeated.train.relevance))


def test_only_documents_with_training_queries_move(repeated: Repeated, fitted: ItemDeltas) -> None:
    before, ids = repeated.train.documents, repeated.train.document_ids
    after = fitted.documents(before, ids)
    assert set(fitted.ids) <= {f"d{i}" for i in range(60)}
    assert after[60:].tobytes() == before[60:].tobytes()
    assert (np.abs(after[:60] - before[:60]).max(axis=1) > 0).sum() > 50
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)


def test_queries_and_new_documents_stay(repeated: Repeated, fitted: ItemDeltas) -> None:
    q = repeated.seen.queries
    assert fitted.queries(q).tobytes() == q.tobytes()
    assert fitted.documents(q, ["new"] * len(q)).tobytes() == q.tobytes()


def test_seen_gain_and_unseen_lose_less_than_with_nudge(repeated: Repeated, fitted: ItemDeltas) -> None:
    data = repeated.train.training(repeated.train.relevance)
    nudged = {name: TUNERS.load(name)().fit(data) for name in ("nudge-n", "nudge-m")}
    assert repeated.gain(fitted, "seen") > 0.05
    lost = {name: repeated.gain(one, "unseen") for name, one in nudged.items()}
    assert min(lost.values()) < -0.05  # this world does punish attractors
    assert repeated.gain(fitted, "unseen") > -0.02
    assert repeated.gain(fitted, "unseen") > max(lost.values())


def test_same_seed_same_bytes(repeated: Repeated, fitted: ItemDeltas) -> None:
    again = DeltasTuner().fit(repeated.train.training(repeated.train.relevance))
    assert again.ids == fitted.ids
    assert again.deltas.tobytes() == fitted.deltas.tobytes()


def test_a_budget_in_the_past_moves_nothing(make_world: Callable) -> None:
    fitted = DeltasTuner().fit(make_world(20, 80).data, budget=Budget(time.monotonic() - 1))
    assert isinstance(fitted, Identity)


def test_the_size_of_vectors_does_not_matter_with_dot(make_world: Callable) -> None:
    world = make_world(40, 200, similarity="dot")
    from dataclasses import replace

    data = world.data
    larger = replace(data, queries=data.queries * 8, documents=data.documents * 8)
    small, large = DeltasTuner().fit(data), DeltasTuner().fit(larger)
    np.testing.assert_allclose(large.deltas, small.deltas * 8, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("drop", [-0.1, 1.0])
def test_wrong_shares_are_refused(drop) -> None:
    with pytest.raises(UserError, match="deltas: drop"):
        DeltasTuner(drop=drop)
