"""What every transform in the registry must do, whatever it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from unit_length import unit

from embedtune.transforms import (
    TRANSFORMS,
    Binary,
    Chain,
    Identity,
    Int4,
    Int8,
    ItemDeltas,
    ItemFactors,
    Linear,
    Pooled,
    Pooling,
    ReadOnDeltas,
    load_transform,
    save_transform,
)
from embedtune.transforms.bridge import Bridge
from embedtune.transforms.codes import ROUNDINGS
from embedtune.types import Transform, Vectors

D = 5
IDS = ("a", "b", "ü")


def random(*shape: int, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


DELTAS = ItemDeltas(IDS, random(3, D, seed=1))
EXAMPLES: dict[str, list[Transform]] = {
    "identity": [Identity()],
    "linear": [
        Linear(random(D, D)),
        Linear(None, random(D, D)),
        Linear(random(D, D), random(D, D, seed=2)),
        Linear.shared(random(D, D)),
        Linear.shared(random(D, D), normalise=False),
    ],
    "item_deltas": [
        DELTAS,
        ItemDeltas((), random(0, D)),
        ItemDeltas(IDS, random(3, D), normalise=False),
    ],
    "read_on": [
        ReadOnDeltas(IDS, random(3, D), weight=0.5),
        ReadOnDeltas(IDS, random(3, D), normalise=False, weight=0.3),
    ],
    "pooled": [Pooled(), Pooled(Pooling(half_life=5.0, rating=0.5, spread=2.0))],
    "item_factors": [
        ItemFactors(IDS, random(3, 3), random(3, 3, seed=1), random(3, D), random(3, D, seed=2), D),
        ItemFactors((), random(0, 2), random(0, 2), random(2, D), random(2, D), D, Pooling(half_life=2.0)),
    ],
    "bridge": [
        Bridge(random(D, D), random(D)),
        Bridge(random(D, D), random(D), random(3, D), random(3), random(D, 3), normalise=False),
    ],
    "int8": [Int8.fitted(random(20, D))],
    "int4": [Int4.fitted(random(20, D))],
    "binary": [Binary.fitted(random(20, D))],
    "chain": [
        Chain(),
        Chain((Linear(random(D, D)), DELTAS, Linear.shared(random(D, D, seed=3)))),
    ],
}
ALL = [pytest.param(t, id=f"{name}-{i}") for name, some in EXAMPLES.items() for i, t in enumerate(some)]


def test_every_entry_has_an_example_of_its_kind() -> None:
    assert set(EXAMPLES) == set(TRANSFORMS)
    for name, some in EXAMPLES.items():
        assert {t.kind for t in some} == {name}
        assert all(isinstance(t, TRANSFORMS.load(name)) and isinstance(t, Transform) for t in some)


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("transform", ALL)
def test_shape_dtype_layout_and_input_are_kept(transform: Transform, n: int) -> None:
    x = unit(random(n, D, seed=n)) if n else random(0, D)
    before = x.copy()
    ids = [IDS[i % 3] if i % 2 else f"new {i}" for i in range(n)]
    for y in (
        transform.queries(x),
        transform.documents(x),
        transform.documents(x, ids),
    ):
        assert y.shape == (n, D)
        assert y.dtype == np.float32
        assert y.flags.c_contiguous
        assert np.isfinite(y).all()
    assert np.array_equal(x, before)


@pytest.mark.parametrize("transform", ALL)
def test_read_only_and_other_layouts_are_taken(transform: Transform) -> None:
    x = unit(random(6, D))
    expected = transform.queries(x), transform.documents(x, ["a", "?"] * 3)
    turned = np.asfortranarray(x)
    turned.flags.writeable = False
    assert np.allclose(transform.queries(turned), expected[0], atol=1e-6)
    assert np.allclose(transform.documents(turned, ["a", "?"] * 3), expected[1], atol=1e-6)
    assert transform.queries(turned).flags.c_contiguous


@pytest.mark.parametrize("transform", ALL)
def test_saving_and_loading_agree(transform: Transform, tmp_path: Path) -> None:
    entry = save_transform(transform, tmp_path, "0-it")
    again = load_transform(entry, tmp_path)
    (tensors, settings_), (tensors_again, settings_again) = (
        transform.state(),
        again.state(),
    )
    assert entry["kind"] == again.kind == transform.kind
    assert settings_ == settings_again
    assert tensors.keys() == tensors_again.keys()
    assert all(np.array_equal(t, tensors_again[name]) for name, t in tensors.items())
    x, ids = unit(random(3, D)), ["b", "new", "ü"]
    assert np.array_equal(transform.queries(x), again.queries(x))
    assert np.array_equal(transform.documents(x, ids), again.documents(x, ids))
    first = (tmp_path / entry["file"]).read_bytes()
    save_transform(again, tmp_path, "1-again")
    assert (tmp_path / "1-again.safetensors").read_bytes() == first
    assert (tmp_path / entry["file"]).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("transform", ALL)
def test_documents_not_seen_in_fitting_get_what_documents_without_ids_get(
    transform: Transform,
) -> None:
    x = unit(random(4, D))
    assert np.array_equal(transform.documents(x, ["n1", "n2", "n3", "n4"]), transform.documents(x))


@pytest.mark.parametrize("transform", ALL)
def test_strength_0_is_the_identity_and_1_the_transform(transform: Transform) -> None:
    x = unit(random(4, D))
    ids = ["a", "b", "c", "d"]
    off, full = transform.scaled(0), transform.scaled(1)
    assert np.array_equal(off.queries(x), x)
    assert np.array_equal(off.documents(x, ids), x)
    assert np.array_equal(full.queries(x), transform.queries(x))
    assert np.array_equal(full.documents(x, ids), transform.documents(x, ids))
    if transform.kind in (*ROUNDINGS, "bridge"):  # they do what they do, or nothing
        return
    near = transform.scaled(1e-4)
    assert np.abs(near.queries(x) - x).max() < 2e-3
    assert np.abs(near.documents(x, ids) - x).max() < 2e-3


@pytest.mark.parametrize("transform", ALL)
@settings(max_examples=25, deadline=None)
@given(x=arrays(np.float32, (3, D), elements=st.floats(-1e6, 1e6, width=32)))
def test_finite_vectors_stay_finite(transform: Transform, x: Vectors) -> None:
    assert np.isfinite(transform.queries(x)).all()
    assert np.isfinite(transform.documents(x, ["a", "b", "?"])).all()
