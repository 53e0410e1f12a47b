"""Logistic regressions as arrays: scikit-learn's probabilities, and classes that are missing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from embedtune.judging.logistic import fit_logistic
from embedtune.training.items import LabelledItems


def world(classes: int, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    y = np.arange(n) % classes
    x = rng.standard_normal((classes, 4))[y] + 0.8 * rng.standard_normal((n, 4))
    return x.astype(np.float32), y


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_scikit_learns(classes) -> None:
    x, y = world(classes)
    items = LabelledItems.of(x, [str(label) for label in y])
    wanted = LogisticRegression(C=10, max_iter=300).fit(x, y).predict_proba(x)
    np.testing.assert_allclose(fit_logistic(items).probabilities(x), wanted, atol=2e-3)


def test_one_regression_a_class_where_items_have_several() -> None:
    x, y = world(3)
    labels = [["a"] * (label != 1) + ["b"] * (label != 2) for label in y.tolist()]
    fitted = fit_logistic(LabelledItems.of(x, labels))
    for column, own in enumerate((y != 1, y != 2)):
        wanted = LogisticRegression(C=10, max_iter=300).fit(x, own).predict_proba(x)[:, 1]
        np.testing.assert_allclose(fitted.probabilities(x)[:, column], wanted, atol=2e-3)


@pytest.mark.parametrize("present", [["b"], ["b", "d"], ["b", "c", "d"]])
def test_classes_without_items_are_never_probable(present) -> None:
    x, _ = world(3)
    labels = [present[i % len(present)] for i in range(len(x))]
    p = fit_logistic(LabelledItems.of(x, labels, classes="abcd")).probabilities(x)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    missing = ["abcd".index(name) for name in "abcd" if name not in present]
    assert p[:, missing].max() < 1e-4


def test_a_class_that_all_have_and_one_that_none_has() -> None:
    x, _ = world(2)
    labels = [["all", "half"] if i % 2 else ["all"] for i in range(len(x))]
    p = fit_logistic(LabelledItems.of(x, labels, classes=["all", "half", "none"])).probabilities(x)
    assert p[:, 0].min() > 0.999
    assert p[:, 2].max() < 0.001


def test_starting_from_another_strength_gives_the_same() -> None:
    x, y = world(3)
    items = LabelledItems.of(x, [str(label) for label in y])
    cold, warm = fit_logistic(items, strength=1), fit_logistic(items, strength=1, start=fit_logistic(items))
    np.testing.assert_allclose(warm.probabilities(x), cold.probabilities(x), atol=2e-3)
