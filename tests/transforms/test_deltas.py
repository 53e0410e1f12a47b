from __future__ import annotations

import numpy as np
import pytest

from embedtune.errors import VectorError
from embedtune.transforms import Identity, ItemDeltas
from embedtune.transforms import deltas as module

X = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
DELTAS = ItemDeltas(("a", "b"), np.array([[2, 4], [0, -1]], np.float32))


def test_known_rows_move_and_others_stay_bit_for_bit() -> None:
    # "a": (1, 0) + (2, 4) = (3, 4), of length 5 -> (0.6, 0.8); "b": (0, 1) + (0, -1) = 0, stays 0
    y = DELTAS.documents(X, ["a", "b", "c"])
    assert np.allclose(y, [[0.6, 0.8], [0, 0], [0.6, 0.8]])
    assert y[2].tobytes() == X[2].tobytes()


def test_rows_may_repeat_and_come_in_any_order() -> None:
    y = DELTAS.documents(np.ones((3, 2), np.float32), ["b", "x", "b"])
    assert y.tolist() == [[1, 0], [1, 1], [1, 0]]


def test_nothing_is_copied_where_nothing_moves() -> None:
    assert DELTAS.documents(X) is X
    assert DELTAS.documents(X, ["c", "d", "e"]) is X
    assert DELTAS.queries(X) is X


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((10, 2)).astype(np.float32)
    many = ItemDeltas(tuple("0123456789"), rng.standard_normal((10, 2)).astype(np.float32))
    whole = many.documents(x, "0x234x6789")
    monkeypatch.setattr(module, "BLOCK", 3)
    assert np.array_equal(many.documents(x, "0x234x6789"), whole)


def test_scaled_multiplies() -> None:
    # (1, 0) + 0.5 * (2, 4) = (2, 2)
    half = ItemDeltas(DELTAS.ids, DELTAS.deltas, normalise=False).scaled(0.5)
    assert half.documents(X[:1], ["a"]).tolist() == [[2, 2]]
    assert isinstance(DELTAS.scaled(0), Identity)


def test_ids_of_any_letters_survive_saving() -> None:
    ids = ("", "ü", "東京", "a\x00b", "🧬 gene")
    tensors, settings = ItemDeltas(ids, np.zeros((5, 2), np.float32)).state()
    assert ItemDeltas.from_state(tensors, settings).ids == ids


@pytest.mark.parametrize(
    ("ids", "deltas", "said"),
    [
        (("a",), np.zeros((2, 2), np.float32), "1 ids"),
        (("a", "a"), np.zeros((2, 2), np.float32), "more than once"),
        (("a",), np.full((1, 2), np.nan, np.float32), "finite"),
    ],
)
def test_deltas_that_cannot_be(ids: tuple[str, ...], deltas: np.ndarray, said: str) -> None:
    with pytest.raises(VectorError, match=said):
        ItemDeltas(ids, deltas)


def test_ids_must_name_every_row() -> None:
    with pytest.raises(VectorError, match="3 document vectors came with 1 ids"):
        DELTAS.documents(X, ["a"])
