"""The schedule of training steps: how many, how large, and when hard negatives are found again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.sparse import identity

from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.tuners.batches import Batches
from embedtune.tuners.passes import EvenParts, steps


def batches(queries: int, size: int) -> Batches:
    vectors = np.eye(queries, dtype=np.float32)
    own = identity(queries, dtype=np.float32, format="csr")
    train = TuningData(vectors, vectors, own, own, [str(i) for i in range(queries)])
    return Batches(train, size=size, hard=0, sample=4, rng=np.random.default_rng(0))


def test_sizes_fall_in_a_straight_line_and_mining_comes_every_so_many_passes() -> None:
    mined: list[int] = []
    told: list[tuple[str, int, int]] = []
    taken: list[float] = []
    budget = Budget(progress=lambda *seen: told.append(seen))
    made = batches(6, 3)
    for _, rate in steps(
        made, passes=4, least=0, rate=0.8, every=3, mine=lambda: mined.append(len(taken)), budget=budget
    ):
        taken.append(rate)
    assert taken == pytest.approx([0.8 * (1 - done / 8) for done in range(8)])
    assert mined == [0, 6]  # before the first pass and before the fourth, of two steps each
    assert told == [("tune", done, 8) for done in range(1, 9)]


def test_few_batches_make_more_passes() -> None:
    made = batches(4, 4)
    assert sum(1 for _ in run(made, passes=2, least=5)) == 5
    assert sum(1 for _ in run(made, passes=0, least=5)) == 0  # none are asked for


def test_a_budget_that_is_over_takes_no_step_and_mines_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    mined: list[int] = []
    taken = 0
    made = batches(4, 2)
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for _ in steps(
        made, passes=50, least=0, rate=1.0, every=1, mine=lambda: mined.append(1), budget=Budget(10.0)
    ):
        taken += 1
        clock[0] = 4.0 * taken
    assert (taken, len(mined)) == (3, 2)


def run(made: Batches, *, passes: int, least: int) -> Iterator[object]:
    return steps(made, passes=passes, least=least, rate=1.0, every=1, mine=lambda: None, budget=Budget())


def test_parts_are_even_hold_every_row_once_and_are_shuffled_anew() -> None:
    parts = EvenParts(10, 4, np.random.default_rng(0))
    first, second = [list(parts) for _ in range(2)]
    for one in (first, second):
        assert [len(part) for part in one] == [3, 3, 2, 2]
        assert sorted(np.concatenate(one)) == list(range(10))
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()
