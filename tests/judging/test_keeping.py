"""Maps that are held: by how much, at every strength, on top of others, and inside the choice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.errors import UserError
from embedtune.judging.keeping import STEPS, Keep, checked_share
from embedtune.judging.labelled import Labelled
from embedtune.judging.retention import ProbeSet
from embedtune.training.budget import Budget
from embedtune.transforms import Identity, Linear, then
from embedtune.tuners.auto import choose
from embedtune.tuners.ladder_retrieval import ladder

D = 24


def stretch(seed: int = 0, d: int = 8) -> Linear:
    rng = np.random.default_rng(seed)
    return Linear.shared((np.eye(d) + 0.25 * rng.standard_normal((d, d))).astype(np.float32))


def probes(d: int = 8) -> ProbeSet:
    return ProbeSet(np.random.default_rng(0).standard_normal((80, d)).astype(np.float32))


def test_the_largest_strength_that_keeps_the_share() -> None:
    held = Keep(0.7, probes()).held(Identity(), stretch())
    chosen = held.strength(1.25)
    assert 0 < chosen < 1
    assert probes().kept(stretch().scaled(chosen)) >= 0.7
    assert all(probes().kept(stretch().scaled(more)) < 0.7 for more in STEPS if chosen < more <= 1.25)
    assert held.strength(0.01) == 0.01  # never further than asked
    np.testing.assert_array_equal(held.scaled(1.0).query, stretch().scaled(chosen).query)


def test_0_lets_everything_move_and_1_nothing() -> None:
    free, bound = (Keep(share, probes()).held(Identity(), stretch()) for share in (0, 1))
    assert free.strength(1.25) == 1.25
    turn = Linear.shared(np.eye(8, dtype=np.float32)[::-1].copy())  # keeps all neighbours, and moves all
    assert bound.strength(1.25) == Keep(1, probes()).held(Identity(), turn).strength(1.0) == 0
    assert isinstance(bound.scaled(1.0), Identity)


def test_a_rotation_is_free_to_go_where_it_keeps_its_neighbours() -> None:
    turn = Linear.shared(np.linalg.qr(np.random.default_rng(3).standard_normal((8, 8)))[0].astype(np.float32))
    held = Keep(0.95, probes()).held(Identity(), turn)
    assert held.strength(1.0) == 1.0
    assert held.strength(0.5) < 0.5  # half of a rotation is none


def test_what_lies_below_counts() -> None:
    below = stretch(1).scaled(0.2)
    keep = Keep(0.75, probes())
    alone, above = keep.held(Identity(), stretch()), keep.held(below, stretch())
    assert 0 < above.strength(1.0) < alone.strength(1.0)
    assert probes().kept(then(below, above.scaled(1.0))) >= 0.75


def test_a_map_that_cannot_be_followed_in_part_is_taken_whole_or_not() -> None:
    narrow = Linear.shared(np.eye(4, 8, dtype=np.float32))
    assert Keep(0.99, probes()).held(Identity(), narrow).strength(1.0) == 0
    assert Keep(0.1, probes()).held(Identity(), narrow).strength(1.0) == 1


@pytest.mark.parametrize("keep", [-0.1, 1.5, float("nan"), "much"])
def test_a_share_that_is_none_is_refused(keep: object) -> None:
    with pytest.raises(UserError, match=r"keep is .*; give the share of neighbours to keep, from 0 to 1"):
        checked_share(keep)  # type: ignore[arg-type]
    assert checked_share(None) is None
    assert checked_share(1) == 1.0


def turned(n: int = 200) -> Labelled:
    """Queries that lie off their documents, and documents that are asked for twice."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n // 2, D))
    mix = np.eye(D) + 0.5 * rng.standard_normal((D, D)) / D**0.5
    q = np.repeat(z, 2, axis=0) @ mix + 0.6 * rng.standard_normal((n, D))
    q, z = (np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32) for x in (q, z))
    pairs = csr_matrix(np.repeat(np.eye(n // 2, dtype=np.float32), 2, axis=0))
    return Labelled(q, z, pairs, [str(i) for i in range(n // 2)], np.arange(n))


@pytest.mark.parametrize("share", [0.8, 0.95])
def test_every_candidate_is_held_before_it_is_judged(share: float) -> None:
    keep = Keep(share, ProbeSet(turned().documents))
    choice = choose(
        turned(), ladder=ladder, method="auto", metric="ndcg@10", seed=0, budget=Budget(), keep=keep
    )
    tried = [one for one in choice.tried if one.candidate]
    assert {one.name for one in tried} >= {"ridge", "linear (queries)", "linear (both)"}
    assert any(0 < one.followed < one.strength for one in tried)
    for one in tried:
        for i in range(len(choice.folded.rounds)):
            whole = choice.folded.fitted(one.candidate, one.strength, i)
            assert keep.probes.kept(whole) >= share
    first = tried[0]  # and what was judged is the held map
    folds = [
        choice.folded.score(choice.folded.fitted(first.candidate, first.strength, i), i)
        for i in range(len(choice.folded.rounds))
    ]
    np.testing.assert_allclose(first.scores, np.concatenate(folds))
    assert keep.probes.kept(choice.fit(0, Budget())) >= share


def test_with_1_nothing_is_tried() -> None:
    keep = Keep(1.0, ProbeSet(turned().documents))
    choice = choose(
        turned(), ladder=ladder, method="auto", metric="ndcg@10", seed=0, budget=Budget(), keep=keep
    )
    assert choice.chosen.candidate is None
    assert len(choice.tried) == 1
    assert isinstance(choice.fit(0, Budget()), Identity)
