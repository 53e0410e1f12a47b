from __future__ import annotations

import numpy as np
import pytest

from embedtune.errors import UserError, VectorError
from embedtune.transforms import Identity, Linear

EYE = np.eye(2, dtype=np.float32)
SWAP = np.array([[0, 1], [1, 0]], np.float32)
STRETCH = np.array([[3, 0], [0, 4]], np.float32)


def test_maps_by_the_transpose_and_normalises() -> None:
    # W = [[1, 2], [0, 1]], x = (1, 1): W x = (1*1 + 2*1, 0*1 + 1*1) = (3, 1), of length sqrt(10)
    w = np.array([[1, 2], [0, 1]], np.float32)
    x = np.array([[1, 1]], np.float32)
    assert np.allclose(Linear(w).queries(x), np.array([[3, 1]]) / np.sqrt(10))
    assert np.allclose(Linear(w, normalise=False).queries(x), [[3, 1]])


def test_a_side_without_a_matrix_is_the_same_array() -> None:
    x = np.array([[3, 4]], np.float32)
    assert Linear(SWAP).documents(x, ["a"]) is x
    assert Linear(None, SWAP).queries(x) is x


@pytest.mark.parametrize(
    ("linear", "sides"),
    [
        (Linear(SWAP), "query"),
        (Linear(None, SWAP), "document"),
        (Linear(SWAP, STRETCH), "both"),
        (Linear.shared(SWAP), "shared"),
        (Linear(SWAP, SWAP.copy()), "shared"),
    ],
)
def test_sides(linear: Linear, sides: str) -> None:
    assert linear.sides == sides


def test_zero_rows_stay_zero() -> None:
    flat = np.array([[1, 0], [0, 0]], np.float32)
    x = np.array([[0, 0], [0, 1]], np.float32)  # the second maps to zero
    assert np.array_equal(Linear(flat).queries(x), np.zeros((2, 2)))


def test_scaled_goes_half_way_to_the_identity() -> None:
    # I + 0.5 (diag(3, 4) - I) = diag(2, 2.5)
    half = Linear(STRETCH, normalise=False).scaled(0.5)
    assert isinstance(half, Linear)
    assert np.allclose(half.query, [[2, 0], [0, 2.5]])
    assert half.document is None
    assert not half.normalise
    assert Linear.shared(STRETCH).scaled(0.5).sides == "shared"
    assert isinstance(Linear(STRETCH).scaled(0), Identity)


def test_a_rectangular_map_changes_the_width_and_is_not_scaled() -> None:
    narrow = Linear.shared(np.array([[0, 2]], np.float32))
    assert narrow.queries(EYE).tolist() == [[0], [1]]
    assert narrow.scaled(1) is narrow
    with pytest.raises(UserError, match="square"):
        narrow.scaled(0.5)


def test_the_callers_matrix_may_change_later_only_as_a_copy() -> None:
    linear = Linear(SWAP)
    assert linear.query is not None
    with pytest.raises(ValueError, match="read-only"):
        linear.query[0, 0] = 1


@pytest.mark.parametrize(
    ("query", "document", "said"),
    [
        (None, None, "needs a matrix"),
        (np.array([[np.nan, 0], [0, 1]], np.float32), None, "finite"),
        (np.ones((1, 2), np.float32), None, "differ in width"),
        (np.ones((1, 2), np.float32), EYE, "differ in width"),
        (np.ones(2, np.float32), None, "two-dimensional"),
    ],
)
def test_matrices_that_cannot_be(query: object, document: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Linear(query, document)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2,), (1, 3)])
def test_vectors_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(VectorError, match=r"shape|dimensions"):
        Linear(EYE).queries(np.ones(shape, np.float32))
