"""Documents that a map knows move by its shifts, new ones likewise by what was not read of them."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.errors import VectorError
from embedtune.transforms import Chain, Identity, ItemDeltas, Linear, ReadOnDeltas
from embedtune.transforms.read_on import reading_on

FIRST = np.array([[1, 0], [0, 1]], np.float32)
LATER = np.array([[0, 1.5], [2, 1]], np.float32)


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("normalise", [True, False])
def test_a_new_document_moves_as_a_known_one(normalise: bool, strength: float) -> None:
    shifts = ReadOnDeltas.of(("a", "b"), FIRST, LATER, share=0.5, normalise=normalise).scaled(strength)
    assert isinstance(shifts, ReadOnDeltas)
    known = shifts.documents(FIRST, ["a", "b"])
    np.testing.assert_allclose(shifts.moved(FIRST, LATER), known, atol=1e-6)
    np.testing.assert_array_equal(shifts.documents(FIRST, ["x", "y"]), FIRST)


def test_it_is_the_weighted_mean_of_the_windows() -> None:
    # (1, 0) + 0.5 * (0, 1.5) = (1, 0.75), of length 1.25
    cosine = ReadOnDeltas.of(("a", "b"), FIRST, LATER, share=0.5, normalise=True)
    np.testing.assert_allclose(cosine.moved(FIRST, LATER)[0], [0.8, 0.6], atol=1e-6)
    # two thirds of (0, 1), one third of (2, 1)
    dot = ReadOnDeltas.of(("a", "b"), FIRST, LATER, share=0.5, normalise=False)
    np.testing.assert_allclose(dot.moved(FIRST, LATER)[1], [2 / 3, 1], atol=1e-6)


def test_at_strength_nought_nothing_is_read_on() -> None:
    shifts = ReadOnDeltas.of(("a", "b"), FIRST, LATER, share=0.5, normalise=True)
    assert isinstance(shifts.scaled(0), Identity)


def test_a_weight_that_cannot_be() -> None:
    with pytest.raises(VectorError, match="finite"):
        ReadOnDeltas(("a",), FIRST[:1], weight=float("nan"))


def test_reading_on_comes_first_in_a_map() -> None:
    shifts = ReadOnDeltas.of(("a", "b"), FIRST, LATER, share=0.5, normalise=True)
    turn = Linear.shared(np.array([[0, 1], [1, 0]], np.float32))
    assert reading_on(shifts) is shifts
    assert reading_on(Chain((shifts, turn))) is shifts
    assert reading_on(Chain((turn, ItemDeltas(("a",), FIRST[:1])))) is None
    assert reading_on(Chain()) is None
    assert reading_on(Identity()) is None
