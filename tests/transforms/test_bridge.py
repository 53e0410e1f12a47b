"""A bridge between two models' spaces: known answers, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.errors import UserError, VectorError
from embedtune.transforms import load_transform, save_transform
from embedtune.transforms.bridge import Bridge

W = np.array([[1, 0], [0, 2], [1, 1]], np.float32)
B = np.array([0, 1, 0], np.float32)
X = np.array([[1, 0], [1, -1]], np.float32)


def test_an_affine_map_by_hand():
    bridge = Bridge(W, B, normalise=False)
    assert bridge.documents(X).tolist() == [[1, 1, 1], [1, -1, 0]]
    unit = Bridge(W, B).documents(X)
    assert unit == pytest.approx(np.array([[1, 1, 1], [1, -1, 0]]) / np.sqrt([[3], [2]]), abs=1e-6)


def test_a_hidden_layer_by_hand():
    into, hidden, out = np.float32([[0, 1]]), np.float32([0.5]), np.float32([[1], [0], [2]])
    bridge = Bridge(W, B, into, hidden, out, normalise=False)
    assert bridge.documents(X).tolist() == [[1.5, 1, 2], [1, -1, 0]]  # relu(.5) = .5, relu(-.5) = 0


def test_queries_come_from_the_new_model():
    x = np.ones((2, 3), np.float32)
    assert Bridge(W, B).queries(x) is x


def test_it_is_saved_and_loaded(tmp_path):
    into, hidden, out = np.float32([[0, 1]]), np.float32([0.5]), np.float32([[1], [0], [2]])
    for number, bridge in enumerate([Bridge(W, B), Bridge(W, B, into, hidden, out, normalise=False)]):
        again = load_transform(save_transform(bridge, tmp_path, str(number)), tmp_path)
        assert np.array_equal(again.documents(X), bridge.documents(X))


def test_what_it_refuses():
    bridge = Bridge(W, B)
    assert bridge.scaled(1) is bridge
    with pytest.raises(UserError, match="cannot be scaled"):
        bridge.scaled(0.5)
    with pytest.raises(VectorError, match="3 dimensions, the map takes 2"):
        bridge.documents(np.ones((1, 3), np.float32))
    with pytest.raises(VectorError, match="do not fit together"):
        Bridge(W, B[:2])
    with pytest.raises(VectorError, match="do not fit together"):
        Bridge(W, B, np.ones((1, 2), np.float32))
    with pytest.raises(VectorError, match="finite"):
        Bridge(W * np.nan, B)
