"""What every tuner of the other tasks must do, whatever it does."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from embedtune.training.interactions import Interactions
from embedtune.training.items import LabelledItems
from embedtune.training.pairs import ScoredPairs
from embedtune.tuners import TUNERS
from embedtune.types import Transform, Vectors

D = 6


def unit(n: int, seed: int) -> Vectors:
    x = np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def data_of(task: str):
    """Give 60 labelled items of 3 classes, 80 scored pairs, or 40 users' histories over 30 items."""
    if task == "classification":
        return LabelledItems.of(unit(60, 0), [str(i % 3) for i in range(60)])
    if task == "similarity":
        left, right = unit(80, 1), unit(80, 2)
        return ScoredPairs(left, right, np.round(5 * np.einsum("ij,ij->i", left, right)) + np.arange(80) % 2)
    rng = np.random.default_rng(3)
    rows = [(u, 10 * (u % 3) + i, t) for u in range(40) for t, i in enumerate(rng.permutation(10)[:6])]
    user, item, time = np.array(rows).T
    return Interactions.of(unit(30, 4), user, item, [f"i{n}" for n in range(30)], time=time)


OTHERS = [(name, task) for name in TUNERS for task in TUNERS.load(name).tasks if task != "retrieval"]


def same(a: Transform, b: Transform) -> bool:
    (x, s), (y, t) = a.state(), b.state()
    return s == t and x.keys() == y.keys() and all(x[name].tobytes() == y[name].tobytes() for name in x)


@pytest.mark.parametrize(("name", "task"), OTHERS)
def test_it_fits_its_tasks_data_the_same_way_each_time_and_leaves_it_alone(name: str, task: str) -> None:
    data = data_of(task)
    before = copy.deepcopy(data)
    tuner = TUNERS.load(name)()
    fitted = tuner.fit(data, seed=3)
    assert same(fitted, tuner.fit(data, seed=3))
    for field, value in vars(before).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(data, field), value)
    new = unit(5, 9)
    for x in (fitted.documents(new), fitted.documents(new, [f"new{n}" for n in range(5)])):
        assert x.dtype == np.float32
        assert len(x) == 5
        assert np.isfinite(x).all()
    back = type(fitted).from_state(*fitted.state())
    assert same(back, fitted)
