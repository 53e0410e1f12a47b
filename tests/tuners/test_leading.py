"""Few coordinates for wide vectors, and back."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.training.items import LabelledItems
from embedtune.tuners.leading import along_leading, leading_axes, widened
from embedtune.tuners.neighbours import NeighboursTuner
from embedtune.tuners.prototypes import PrototypesTuner


def items(similarity: str = "cosine") -> LabelledItems:
    """Three classes in three of the eight dimensions, little in the others."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = 0.01 * rng.standard_normal((90, 8))
    x[:, 2:5] += np.eye(3)[y] + 0.5 * rng.standard_normal((90, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return LabelledItems.of(x.astype(np.float32), ["abc"[label] for label in y], similarity=similarity)


def test_the_leading_axes_are_those_of_most_length() -> None:
    narrow, axes = along_leading(items(), 3)
    assert axes is not None
    assert axes.shape == (8, 3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    assert np.linalg.norm(axes[2:5]) ** 2 == pytest.approx(3, abs=0.01)  # they span dimensions 2 to 4
    np.testing.assert_allclose(np.linalg.norm(narrow.vectors, axis=1), 1, atol=1e-5)
    product = along_leading(items("dot"), 3)[0]
    np.testing.assert_allclose(product.vectors, items().vectors @ axes, atol=1e-5)


def test_vectors_that_are_narrow_enough_stay() -> None:
    same, axes = along_leading(items(), 8)
    assert axes is None
    np.testing.assert_array_equal(same.vectors, items().vectors)
    np.testing.assert_array_equal(widened(2 * np.eye(8), None), 2 * np.eye(8, dtype=np.float32))


def test_a_widened_map_acts_along_the_axes_alone() -> None:
    axes = np.eye(4, dtype=np.float32)[:, [1, 3]]
    full = widened(np.array([[2, 1], [0, 3]]), axes)
    np.testing.assert_allclose(full, [[1, 0, 0, 0], [0, 2, 0, 1], [0, 0, 1, 0], [0, 0, 0, 3]])


@pytest.mark.parametrize("tuner", [NeighboursTuner(axes=3), PrototypesTuner(axes=3)])
def test_tuners_leave_the_other_directions_alone(tuner) -> None:
    _, axes = along_leading(items(), 3)
    change = tuner.fit(items()).document - np.eye(8)
    assert np.abs(change).max() > 0.05
    np.testing.assert_allclose(change, axes @ axes.T @ change @ axes @ axes.T, atol=1e-4)


@pytest.mark.parametrize("n", [3, 6])
def test_few_items_have_the_same_leading_axes_and_as_many(n: int) -> None:
    few = items().vectors[:n]
    axes = leading_axes(few, 5)
    assert axes is not None
    assert axes.shape == (8, 5)
    np.testing.assert_allclose(axes.T @ axes, np.eye(5), atol=1e-5)
    expected = np.linalg.svd(few)[2][: min(n, 5)]  # all of them where there are three items
    np.testing.assert_allclose(axes @ axes.T @ expected.T, expected.T, atol=1e-3)
