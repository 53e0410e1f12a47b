"""Search in codes against slow references."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.errors import UserError, VectorError
from embedtune.search import top_k
from embedtune.search.coded import coded_top_k, hamming_distances, rescored_top_k
from embedtune.transforms.codes import ROUNDINGS, Binary, Int8

KINDS = list(ROUNDINGS.values())


def random(n: int, r: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, r)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [7, 1000])
def test_the_best_are_those_of_what_codes_stand_for(kind: type, block: int) -> None:
    x, q = random(50, 11), random(6, 11, seed=1)
    one = kind.fitted(x)
    rows, scores = coded_top_k(q, one.codes(x), 5, rounding=one, block=block)
    _, wanted = top_k(q, one.documents(x), 5)
    assert np.allclose(scores, wanted, atol=1e-5)
    assert np.allclose((q @ one.documents(x).T)[np.arange(6)[:, None], rows], wanted, atol=1e-5)
    assert coded_top_k(q, one.codes(x), 99, rounding=one, block=block)[0].shape == (6, 50)


def test_of_equal_scores_the_lower_row_comes_first() -> None:
    one = Int8(np.ones(2, np.float32), np.zeros(2, np.float32))
    codes = one.codes(np.array([[1, 0], [2, 0], [1, 0], [2, 0]], np.float32))
    rows, scores = coded_top_k(np.array([[1, 5]], np.float32), codes, 4, rounding=one, block=1)
    assert rows.tolist() == [[1, 3, 0, 2]]
    assert scores.tolist() == [[2, 2, 1, 1]]


@pytest.mark.parametrize("width", [1, 3, 8, 13])
def test_hamming_distances_against_strings_of_bits(width: int) -> None:
    rng = np.random.default_rng(width)
    a, b = (rng.integers(0, 256, (n, width), dtype=np.uint8) for n in (4, 9))

    def text(row: np.ndarray) -> str:
        return "".join(f"{byte:08b}" for byte in row)

    slow = [[sum(i != j for i, j in zip(text(q), text(d), strict=True)) for d in b] for q in a]
    assert hamming_distances(a, b).tolist() == slow


def test_bits_choose_the_candidates_and_the_finer_score_orders_them() -> None:
    binary = Binary(np.full(3, 3**-0.5, np.float32), np.zeros(3, np.float32))
    x = np.array([[1, 1, 1], [9, 1, -1], [2, 2, 2], [-1, -1, -1]], np.float32)
    bits, fine = binary.codes(x), Int8(np.ones(3, np.float32), np.zeros(3, np.float32))
    q = np.array([[1, 1, 1]], np.float32)
    rows, scores = rescored_top_k(
        q, bits, 2, binary=binary, candidates=2, int8=fine, int8_codes=fine.codes(x)
    )
    assert rows.tolist() == [[2, 0]]  # row 1 has the highest inner product, but a bit that differs
    assert scores.tolist() == [[6, 3]]
    rows, _ = rescored_top_k(q, bits, 2, binary=binary, candidates=3, int8=fine, int8_codes=fine.codes(x))
    assert rows.tolist() == [[1, 2]]


@pytest.mark.parametrize("block", [6, 500])
def test_with_all_as_candidates_rescoring_is_exact(block: int) -> None:
    x, q = random(40, 10), random(5, 10, seed=2)
    binary = Binary.fitted(x)
    bits = binary.codes(x)
    found = rescored_top_k(q, bits, 4, binary=binary, candidates=40, block=block)
    wanted = coded_top_k(q, bits, 4, rounding=binary)
    assert np.array_equal(found[0], wanted[0])
    assert np.allclose(found[1], wanted[1], atol=1e-6)


def test_the_nearest_by_bits_do_not_depend_on_the_block() -> None:
    x, q = random(60, 12), random(5, 12, seed=3)
    binary = Binary.fitted(x)
    found = [rescored_top_k(q, binary.codes(x), 3, binary=binary, candidates=9, block=b)[0] for b in (4, 99)]
    assert np.array_equal(*found)


def test_what_does_not_fit_is_refused() -> None:
    x = random(5, 8)
    one, binary = Int8.fitted(x), Binary.fitted(x)
    with pytest.raises(VectorError, match="not of the kind 'int8'"):
        coded_top_k(x, binary.codes(x), 1, rounding=one)
    with pytest.raises(VectorError, match="3 dimensions"):
        coded_top_k(random(2, 3), one.codes(x), 1, rounding=one)
    with pytest.raises(UserError, match="k is 0"):
        coded_top_k(x, one.codes(x), 0, rounding=one)
    with pytest.raises(UserError, match="k is 0"):
        rescored_top_k(x, binary.codes(x), 0, binary=binary)
    with pytest.raises(UserError, match="go together"):
        rescored_top_k(x, binary.codes(x), 1, binary=binary, int8=one)
    with pytest.raises(VectorError, match="bytes of bits"):
        hamming_distances(binary.codes(x), np.zeros((2, 2), np.uint8))
