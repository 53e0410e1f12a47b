"""Retention worked by hand, and the rule that keeps a share."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.errors import UserError
from embedtune.judging.retention import (
    kept_share,
    mean_cosine,
    probe_texts,
    retention,
    strongest,
)
from embedtune.transforms import Identity, Linear


def on_circle(*degrees):
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def test_share_of_neighbours_by_hand():
    before = on_circle(0, 10, 30, 100)  # nearest others: 1, 0, 1, 2
    after = on_circle(0, 25, 30, 100)  # nearest others: 1, 2, 1, 2
    assert kept_share(before, before, after, after, k=1) == 0.75
    assert kept_share(before, before, before, before, k=3) == 1.0


def test_a_row_is_no_neighbour_of_itself_even_where_it_is_not_its_own_nearest():
    queries, documents = on_circle(0, 90, 180), on_circle(170, 80, 10)
    # query 0 finds document 2, then 1, then its own; query 1: own, then 2 or 0; query 2: 0, 1, own
    assert kept_share(queries, documents, queries, documents, k=1) == 1.0
    assert kept_share(queries, queries, queries, documents, k=1) == pytest.approx(1 / 3)


def test_anisotropy_by_hand():
    assert mean_cosine(on_circle(0, 60, 120)) == pytest.approx((0.5 + 0.5 - 0.5) / 3, abs=1e-6)
    assert mean_cosine(np.ones((5, 3), np.float32)) == pytest.approx(1)


def test_the_identity_keeps_everything():
    x = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    found = retention(x, Identity())
    assert found.kept == 1
    assert found.anisotropy[0] == found.anisotropy[1]
    assert found.quantiles[0] == found.quantiles[1]
    assert found.n == 50
    assert found.to_dict()["kept"] == 1
    assert "100% of the neighbours of 50 general sentences" in found.text()


def test_a_map_onto_a_line_is_seen():
    x = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    flat = Linear.shared(np.diag([10, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]).astype(np.float32))
    found = retention(x, flat)
    assert found.kept < 0.6
    assert found.quantiles[1][0] < found.quantiles[0][0]  # opposite sides
    shifted = retention(x + 1, Linear.shared(np.eye(8, dtype=np.float32) + 0.5))
    assert shifted.anisotropy[1] > shifted.anisotropy[0] > 0.3


def test_the_largest_strength_that_keeps_a_share():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 8)).astype(np.float32)
    stretch = Linear.shared((np.eye(8) + 0.25 * rng.standard_normal((8, 8))).astype(np.float32))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)

    def kept(strength):
        y = stretch.scaled(strength).documents(unit)
        return kept_share(unit, unit, y, y)

    strengths = (0, 0.25, 0.5, 0.75, 1.0)
    chosen = strongest(x, stretch, 0.7, strengths=strengths)
    assert 0 < chosen < 1
    assert kept(chosen) >= 0.7
    assert all(kept(more) < 0.7 for more in strengths if more > chosen)
    assert strongest(x, stretch, 0) == 1.25
    assert strongest(x, stretch, 1) < chosen
    with pytest.raises(UserError, match=r"keep is 1.5; give the share"):
        strongest(x, stretch, 1.5)


def test_maps_of_one_side_count():
    x = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    turn = Linear(query=np.roll(np.eye(8), 1, axis=0).astype(np.float32))
    assert retention(x, turn).kept < 0.5
    assert retention(x, turn).anisotropy[0] == pytest.approx(retention(x, turn).anisotropy[1])


def test_too_few_probes():
    with pytest.raises(UserError, match="fewer neighbours"):
        retention(np.eye(5, dtype=np.float32), Identity())


def test_the_probes_that_come_with_the_package():
    texts = probe_texts()
    assert len(texts) == len(set(texts))
    assert 280 <= len(texts) <= 340
    assert max(len(text.split()) for text in texts) <= 14
