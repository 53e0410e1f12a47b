from __future__ import annotations

import numpy as np
import pytest

from embedtune.transforms import Chain, Identity, ItemDeltas, Linear, then
from embedtune.types import Transform

RNG = np.random.default_rng(0)
A, B, C = (RNG.standard_normal((3, 3)).astype(np.float32) for _ in range(3))
X = RNG.standard_normal((6, 3)).astype(np.float32)
IDS = list("abcdef")
SHIFT = ItemDeltas(("a", "e"), RNG.standard_normal((2, 3)).astype(np.float32))


def test_the_first_is_applied_first() -> None:
    # x = (1, 0): doubled to (2, 0), then moved by (0, 2) to (2, 2); the other way round (2, 4)
    double = Linear.shared(np.diag([2, 2]).astype(np.float32), normalise=False)
    move = ItemDeltas(("a",), np.array([[0, 2]], np.float32), normalise=False)
    x = np.array([[1, 0]], np.float32)
    assert then(double, move).documents(x, ["a"]).tolist() == [[2, 2]]
    assert then(move, double).documents(x, ["a"]).tolist() == [[2, 4]]


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [
        (Identity(), Identity(), "identity"),
        (Identity(), SHIFT, "item_deltas"),
        (SHIFT, Identity(), "item_deltas"),
        (Linear.shared(A), Linear.shared(B), "linear"),
        (Linear(A), Linear(None, B), "linear"),
        (Linear(A), SHIFT, "chain"),
    ],
)
def test_then_gives_the_shortest_form(first: Transform, second: Transform, kinds: str) -> None:
    assert then(first, second).kind == kinds


def test_chains_are_flattened_and_fold_across_the_seam() -> None:
    whole = then(then(SHIFT, Linear(A)), then(Linear(B), SHIFT))
    assert isinstance(whole, Chain)
    assert [part.kind for part in whole.parts] == [
        "item_deltas",
        "linear",
        "item_deltas",
    ]


SIDES = [(A, None), (None, A), (A, A), (A, C)]


@pytest.mark.parametrize("first", SIDES)
@pytest.mark.parametrize("second", [(B, None), (None, B), (B, B), (C, B)])
@pytest.mark.parametrize("normalise", [(True, True), (False, True), (True, False), (False, False)])
def test_folding_changes_nothing(first: tuple, second: tuple, normalise: tuple[bool, bool]) -> None:
    one, two = Linear(*first, normalise[0]), Linear(*second, normalise[1])
    both = then(one, two)
    assert np.allclose(both.queries(X), two.queries(one.queries(X)), atol=1e-5)
    assert np.allclose(both.documents(X), two.documents(one.documents(X)), atol=1e-5)


def test_two_maps_that_normalise_become_one_and_a_needed_normalisation_is_kept() -> None:
    folded = then(Linear.shared(A), Linear.shared(B))
    assert isinstance(folded, Linear)
    assert folded.sides == "shared"
    assert np.allclose(folded.query, B @ A, atol=1e-6)
    assert then(Linear(A), Linear(B, normalise=False)).kind == "chain"


def test_scaled_scales_every_part() -> None:
    half = then(Linear(A), SHIFT).scaled(0.5)
    expected = SHIFT.scaled(0.5).documents(Linear(A).scaled(0.5).documents(X), IDS)
    assert np.array_equal(half.documents(X, IDS), expected)
    assert np.array_equal(half.queries(X), Linear(A).scaled(0.5).queries(X))
