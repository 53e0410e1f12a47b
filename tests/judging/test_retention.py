"""Retention worked by hand: shares of neighbours, anisotropy, and what is said of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedtune.errors import UserError
from embedtune.judging.retention import ProbeSet, Retention, mean_cosine, probe_texts, retention
from embedtune.transforms import Identity, ItemDeltas, Linear


def on_circle(*degrees):
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


class Given:
    """A map that gives what it was told to."""

    kind = "given"

    def __init__(self, queries, documents):
        self._queries, self._documents = queries, documents

    def queries(self, x):
        return self._queries

    def documents(self, x, ids=None):
        return self._documents


def test_share_of_neighbours_by_hand():
    before = ProbeSet(on_circle(0, 10, 30, 100), k=1)  # nearest others: 1, 0, 1, 2
    after = on_circle(0, 25, 30, 100)  # nearest others: 1, 2, 1, 2
    assert before.nearest.ravel().tolist() == [1, 0, 1, 2]
    assert before.kept(Given(after, after)) == 0.75
    assert ProbeSet(before.vectors, k=3).kept(Given(after, after)) == 1.0


def test_a_row_is_no_neighbour_of_itself_even_where_it_is_not_its_own_nearest():
    base = ProbeSet(on_circle(0, 90, 180), k=1)  # nearest others: 1, then 0 or 2, then 1
    # query 0 finds document 2, then 1, then its own; query 1: own, then 2 or 0; query 2: 0, 1, own
    assert base.kept(Given(on_circle(0, 90, 180), on_circle(170, 80, 10))) == pytest.approx(1 / 3)


def test_ids_are_passed_to_maps_that_know_items():
    x = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    names = [str(n) for n in range(30)]
    moved = ItemDeltas(tuple(names), np.random.default_rng(1).standard_normal((30, 8)).astype(np.float32) * 3)
    assert ProbeSet(x).kept(moved) == 1
    assert ProbeSet(x, names).kept(moved) < 0.8


def test_anisotropy_by_hand():
    assert mean_cosine(on_circle(0, 60, 120)) == pytest.approx((0.5 + 0.5 - 0.5) / 3, abs=1e-6)
    assert mean_cosine(np.ones((5, 3), np.float32)) == pytest.approx(1)


def test_the_identity_keeps_everything():
    x = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    found = retention(ProbeSet(x), Identity())
    assert found.kept == 1
    assert found.anisotropy[0] == found.anisotropy[1]
    assert found.quantiles[0] == found.quantiles[1]
    assert found.n == 50
    assert found.to_dict()["kept"] == 1
    assert "100% of the neighbours of 50 general sentences" in found.text()


def test_a_map_onto_a_line_is_seen():
    x = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    flat = Linear.shared(np.diag([10, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]).astype(np.float32))
    found = retention(ProbeSet(x), flat)
    assert found.kept < 0.6
    assert found.quantiles[1][0] < found.quantiles[0][0]  # opposite sides
    shifted = retention(ProbeSet(x + 1), Linear.shared(np.eye(8, dtype=np.float32) + 0.5))
    assert shifted.anisotropy[1] > shifted.anisotropy[0] > 0.3


def test_a_rotation_keeps_everything_and_a_random_projection_little():
    x = np.random.default_rng(0).standard_normal((200, 32)).astype(np.float32)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((32, 32)))[0].astype(np.float32)
    turned = retention(ProbeSet(x), Linear.shared(turn))
    assert turned.kept > 0.999
    assert turned.quantiles[1] == pytest.approx(turned.quantiles[0], abs=1e-5)
    thrown = Linear.shared(np.random.default_rng(2).standard_normal((3, 32)).astype(np.float32))
    assert retention(ProbeSet(x), thrown).kept < 0.2


def test_it_goes_through_json():
    x = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    found = retention(ProbeSet(x), Linear.shared(np.diag(np.arange(1, 9)).astype(np.float32)), asked=0.5)
    assert Retention.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert "are kept (asked for: 50%)" in found.text()


def test_maps_of_one_side_count():
    x = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    turn = Linear(query=np.roll(np.eye(8), 1, axis=0).astype(np.float32))
    assert retention(ProbeSet(x), turn).kept < 0.5
    assert np.ptp(retention(ProbeSet(x), turn).anisotropy) == pytest.approx(0, abs=1e-6)


def test_too_few_probes():
    with pytest.raises(UserError, match="fewer neighbours"):
        ProbeSet(np.eye(5, dtype=np.float32))


def test_the_probes_that_come_with_the_package():
    texts = probe_texts()
    assert len(texts) == len(set(texts))
    assert 280 <= len(texts) <= 340
    assert max(len(text.split()) for text in texts) <= 14
