"""Tables in half precision; items and histories mapped in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.transforms import ItemFactors, Pooling, by_block, halves
from embedtune.transforms.by_block import mapped_documents, pooled_histories
from embedtune.transforms.files import load_transform, save_transform
from embedtune.transforms.halves import halved, scale_of


@pytest.mark.parametrize("rows", [0, 1, 7, 100])
def test_a_table_is_halved_block_by_block_and_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(halves, "BLOCK", 8)
    x = np.random.default_rng(0).standard_normal((rows, 5)).astype(np.float32)
    before = x.copy()
    found, scale = halved(x, 4.0)
    assert (found.dtype, scale) == (np.float16, 4.0)
    np.testing.assert_array_equal(found, (4 * before).astype(np.float16))
    np.testing.assert_array_equal(x, before)


def test_scaled_numbers_keep_their_digits_however_small_or_large() -> None:
    for size in (1e-12, 1.0, 3e7):
        x = np.float32(size) * np.array([[1.0, 1e-4], [-0.3, 0]], np.float32)
        found, scale = halved(x)
        assert scale == scale_of(x)
        assert np.log2(scale) == round(np.log2(scale))
        np.testing.assert_allclose(found.astype(np.float64) / scale, x, rtol=1e-3)
    assert scale_of(np.zeros((2, 2), np.float32)) == 1


def factors(dtype: type) -> ItemFactors:
    rng = np.random.default_rng(1)
    u, v, a, b = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((30, 4), (30, 4), (4, 6), (4, 6))
    )
    ids = tuple(f"i{n}" for n in range(30))
    return ItemFactors(ids, u.astype(dtype), v.astype(dtype), a, b, width=6, pooling=Pooling(half_life=2.0))


def test_factors_in_half_precision_are_kept_so_and_map_alike(tmp_path) -> None:
    half, whole = factors(np.float16), factors(np.float32)
    x = np.random.default_rng(2).standard_normal((40, 6)).astype(np.float32)
    ids = [f"i{n}" for n in range(40)]  # ten of them new
    assert half.found.dtype == half.history.dtype == np.float16
    np.testing.assert_allclose(half.documents(x, ids), whole.documents(x, ids), atol=5e-3)
    np.testing.assert_allclose(half.histories(x, ids), whole.histories(x, ids), atol=5e-3)
    again = load_transform(save_transform(half, tmp_path, "t"), tmp_path)
    assert isinstance(again, ItemFactors)
    assert again.found.dtype == np.float16
    np.testing.assert_array_equal(again.documents(x, ids), half.documents(x, ids))


def test_blocks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_block, "BLOCK", 8)
    transform, rng = factors(np.float32), np.random.default_rng(3)
    x, ids = rng.standard_normal((40, 6)).astype(np.float32), [f"i{n}" for n in range(40)]
    weights = csr_matrix(rng.random((5, 40)) * (rng.random((5, 40)) < 0.1), dtype=np.float32)
    whole = weights @ transform.histories(x, ids)
    np.testing.assert_allclose(pooled_histories(transform, x, ids, weights), whole, atol=1e-5)
    mapped = mapped_documents(transform, x, ids)
    np.testing.assert_array_equal(mapped(slice(3, 17)), transform.documents(x[3:17], ids[3:17]))
    assert pooled_histories(transform, x[:0], [], weights[:, :0]).shape == (5, 0)
