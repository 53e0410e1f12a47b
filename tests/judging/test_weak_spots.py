"""Weak spots: a planted one is found and described, and chance alone gives none."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.judging.weak_spots import LEAST, WeakSpot, weak_spots

N = 240
PLANTED = 3


def clusters(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Give vectors of six clusters, and the cluster of each."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(N) % 6)
    x = 2 * rng.standard_normal((6, 8))[label] + rng.standard_normal((N, 8))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), label


def by_chance(seed: int) -> np.ndarray:
    """Differences as metrics have them: mostly zero, else of a few sizes, as often up as down."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(N) < 0.4, rng.choice([-0.5, -0.37, 0.37, 0.5], N), 0.0)


def spots(x: np.ndarray, difference: np.ndarray, texts: list[str] | None = None, **more) -> list[WeakSpot]:
    base = np.full(N, 0.5)
    texts = texts or [f"t{i}" for i in range(N)]
    groups = more.pop("groups", np.arange(N))
    return weak_spots(x, base, base + difference, texts, groups, **more)


def test_a_planted_weak_spot_is_found_and_described() -> None:
    x, label = clusters(0)
    difference = by_chance(0) + np.where(label == PLANTED, -0.3, 0.05)
    texts = [
        f"the battery of my {i} is flat" if one == PLANTED else f"lunch {i}" for i, one in enumerate(label)
    ]
    found = spots(x, difference, texts)
    assert len(found) == 1
    spot = found[0]
    assert 30 <= spot.n <= 50  # 40 were planted
    assert spot.loss > 0.2
    assert spot.ci95[0] < -spot.loss < spot.ci95[1] < 0
    assert spot.p_value <= spot.p_holm < 0.05
    assert {"battery", "flat"} <= set(spot.words)
    assert "lunch" not in spot.words
    middle = x[label == PLANTED].mean(axis=0)
    nearest = np.argsort(np.linalg.norm(x - middle, axis=1))[:10]
    assert {one["query"] for one in spot.examples} <= {texts[i] for i in nearest}
    assert len(spot.examples) == 3
    assert "battery" in spot.text("queries")
    assert f"{spot.n} queries" in spot.text("queries")


def test_chance_alone_gives_none() -> None:
    reported = sum(bool(spots(clusters(seed)[0], by_chance(seed), seed=seed)) for seed in range(60))
    assert reported <= 3  # at most 5 % of the seeds


def test_a_map_that_gains_everywhere_has_none() -> None:
    x, label = clusters(1)
    assert spots(x, 0.1 + 0.05 * label) == []
    assert spots(x, np.zeros(N)) == []


def test_near_duplicates_are_one_witness() -> None:
    x, label = clusters(2)
    difference = np.where(label == PLANTED, -0.3, 0.0)
    assert spots(x, difference)
    one_question = np.where(label == PLANTED, N, np.arange(N))  # asked 40 times over
    assert spots(x, difference, groups=one_question) == []


def test_a_loss_too_small_to_matter_is_not_told() -> None:
    x, label = clusters(3)
    assert spots(x, np.where(label == PLANTED, -0.01, 0.0)) == []


def test_few_rows_and_texts_without_words() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((LEAST, 4)).astype(np.float32)
    lost = np.full(LEAST, -0.5)
    assert weak_spots(x, -lost, np.zeros(LEAST), ["a"] * LEAST, np.arange(LEAST)) == []
    x, label = clusters(4)
    difference = np.where(label == PLANTED, -0.3, 0.0)
    for worded, texts in ((True, ["?"] * N), (False, ["battery.png"] * N)):
        found = spots(x, difference, texts, worded=worded)
        assert found[0].words == []
        assert len(found[0].examples) == 1  # equal texts are shown once
        assert "about" not in found[0].text("items")


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same(seed: int) -> None:
    x, label = clusters(5)
    difference = by_chance(5) + np.where(label == PLANTED, -0.3, 0.0)
    assert spots(x, difference, seed=seed) == spots(x, difference, seed=seed)
