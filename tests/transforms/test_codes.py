from __future__ import annotations

import numpy as np
import pytest

from embedtune.errors import VectorError
from embedtune.transforms import Chain, Identity, ItemDeltas, Linear, load_transform, save_transform, then
from embedtune.transforms.codes import (
    ROUNDINGS,
    Binary,
    Int4,
    Int8,
    before_rounding,
    documents_codes,
    rounding_of,
)

KINDS = list(ROUNDINGS.values())


def random(n: int, r: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, r)).astype(np.float32)


def test_int8_rounds_to_the_nearest_step_and_cuts_off() -> None:
    one = Int8(np.array([0.5, 2], np.float32), np.array([1, 0], np.float32))
    codes = one.codes(np.array([[2.1, -3.2], [1000, -1000]], np.float32))
    assert codes.dtype == np.int8
    assert codes.tolist() == [[2, -2], [127, -127]]  # (2.1 - 1) / 0.5 = 2.2; -3.2 / 2 = -1.6
    assert one.decode(codes).tolist() == [[2.0, -4.0], [64.5, -254.0]]  # offset + scale * code, exactly


def test_int8_is_calibrated_on_the_range_of_each_dimension() -> None:
    x = np.array([[-1, 0], [3, 254]], np.float32)
    one = Int8.fitted(x)
    assert one.codes(x).tolist() == [[-127, -127], [127, 127]]
    assert np.allclose(one.documents(x), x, atol=1e-4)
    assert np.abs(one.documents(random(50, 2) % 3) - random(50, 2) % 3).max(axis=0)[1] <= 0.5  # half a step


def test_int4_packs_two_to_a_byte_the_first_in_the_high_half() -> None:
    one = Int4(np.ones(3, np.float32), np.zeros(3, np.float32))
    codes = one.codes(np.array([[1, -7, 20], [0, 3, -2]], np.float32))
    assert codes.dtype == np.uint8
    assert codes.tolist() == [[0x91, 0xF0], [0x8B, 0x60]]  # level + 8; the last half byte is empty
    assert one.decode(codes).tolist() == [[1, -7, 7], [0, 3, -2]]


def test_int4_steps_follow_the_spread() -> None:
    x = np.array([[-1.0], [1.0]], np.float32)  # mean 0, standard deviation 1
    assert Int4.fitted(x).scale == pytest.approx([0.35])
    assert Int4.fitted(x + 5).offset == pytest.approx([5])


def test_binary_packs_the_first_dimension_into_the_highest_bit() -> None:
    one = Binary(np.full(9, 1 / 3, np.float32), np.zeros(9, np.float32))
    x = np.array([[1, -1, 1, -1, -1, -1, -1, -1, 2]], np.float32)
    assert one.codes(x).tolist() == [[0b10100000, 0b10000000]]
    assert np.allclose(one.documents(x), np.sign(x) / 3)
    assert np.linalg.norm(one.documents(x)) == pytest.approx(1)


def test_binary_is_calibrated_on_means_and_mean_distances() -> None:
    one = Binary.fitted(np.array([[0, 0], [2, 8]], np.float32))
    assert one.threshold.tolist() == [1, 4]
    assert np.allclose(one.scale, np.array([1, 4]) / np.sqrt(17))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("r", [1, 7, 16])
def test_scores_of_levels_are_those_of_what_codes_stand_for(kind: type, r: int) -> None:
    x, q = random(40, r), random(5, r, seed=1)
    one = kind.fitted(x)
    codes = one.codes(x)
    assert codes.shape == (40, one.bytes)
    weighed, added = one.weighed(q)
    found = weighed @ one.levels(codes).T.astype(np.float32) + added[:, None]
    assert np.allclose(found, q @ one.documents(x).T, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_twice_changes_nothing(kind: type) -> None:
    x = random(30, 6)
    one = kind(np.full(6, 6**-0.5, np.float32), np.zeros(6, np.float32))
    assert np.array_equal(one.codes(one.documents(x)), one.codes(x))


def test_finer_codes_are_nearer() -> None:
    x = random(500, 8)
    errors = [np.mean((kind.fitted(x).documents(x) - x) ** 2) for kind in (Int8, Int4)]
    assert errors[0] < 1e-3 < errors[1] < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_codes_are_the_same(kind: type, tmp_path) -> None:
    x = random(20, 5)
    one = kind.fitted(x)
    again = load_transform(save_transform(one, tmp_path, "codes"), tmp_path)
    assert isinstance(again, kind)
    assert np.array_equal(again.codes(x), one.codes(x))


def test_codes_include_the_shifts_of_known_documents() -> None:
    shifted = ItemDeltas(("a",), np.array([[3, 0, 0, 0]], np.float32), normalise=False)
    half = Linear.shared(np.eye(4, dtype=np.float32)[:2], normalise=False)
    one = Int8(np.ones(2, np.float32), np.zeros(2, np.float32))
    chain = then(then(shifted, half), one)
    x = np.array([[1, 2, 3, 4], [1, 2, 3, 4]], np.float32)
    assert documents_codes(chain, x, ["a", "new"]).tolist() == [[4, 2], [1, 2]]
    assert documents_codes(one, x[:, :2]).tolist() == [[1, 2], [1, 2]]
    assert rounding_of(chain) is one
    assert np.array_equal(before_rounding(chain).documents(x), x[:, :2])
    assert before_rounding(half) is half


def test_a_projection_folds_with_the_map_before_it_but_not_through_shifts() -> None:
    map_, half = Linear(random(4, 4)), Linear(random(2, 4, 1), random(2, 4, 2))
    folded = then(then(map_, half), Int8.fitted(random(9, 2)))
    assert [part.kind for part in folded.parts] == ["linear", "int8"]
    assert folded.parts[0].query.shape == (2, 4)
    deltas = ItemDeltas(("a",), np.ones((1, 4), np.float32))
    kept = Chain((map_, deltas, half))
    assert [part.kind for part in kept.parts] == ["linear", "item_deltas", "linear"]


def test_without_codes_it_is_said() -> None:
    with pytest.raises(VectorError, match="no codes"):
        documents_codes(Identity(), random(2, 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [[1.0, 0.0], [1.0, np.nan], [1.0]])
def test_wrong_numbers_are_refused(kind: type, scale: list[float]) -> None:
    with pytest.raises(VectorError, match="codes need"):
        kind(np.array(scale, np.float32), np.zeros(2, np.float32))


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(VectorError, match="3 dimensions"):
        Int8.fitted(random(4, 2)).codes(random(4, 3))
