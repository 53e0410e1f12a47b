"""What every tuner of retrieval in the registry must do, whatever it does."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from unit_length import unit

from embedtune.tuners import TUNERS, Budget, Tuner, TuningData
from embedtune.types import Transform, Vectors

D, DOCUMENTS = 6, 30


@pytest.fixture
def data() -> TuningData:
    """Give 20 queries on 4 of 30 documents, off their documents in each document's own way."""
    rng = np.random.default_rng(0)
    z = unit(rng.standard_normal((DOCUMENTS, D)))
    asked = np.arange(20) % 4
    q = unit((z + unit(rng.standard_normal(z.shape)))[asked] + 0.1 * rng.standard_normal((20, D)))
    grades = np.zeros((20, DOCUMENTS), np.float32)
    grades[np.arange(20), asked] = 1
    grades[0, 3] = 2  # several positives
    pairs = csr_matrix(grades)
    return TuningData(q, z, pairs, pairs, [f"d{i}" for i in range(DOCUMENTS)])


@pytest.fixture(params=[name for name in TUNERS if "retrieval" in TUNERS.load(name).tasks])
def tuner(request: pytest.FixtureRequest) -> Tuner:
    return TUNERS.load(request.param)()


def same(a: Transform, b: Transform) -> bool:
    (tensors_a, settings_a), (tensors_b, settings_b) = a.state(), b.state()
    return (
        a.kind == b.kind
        and settings_a == settings_b
        and tensors_a.keys() == tensors_b.keys()
        and all(tensors_a[name].tobytes() == tensors_b[name].tobytes() for name in tensors_a)
    )


def mapped(transform: Transform, data: TuningData) -> tuple[Vectors, Vectors]:
    return transform.queries(data.queries), transform.documents(data.documents, data.document_ids)


def test_it_gives_a_transform_that_keeps_shapes(tuner: Tuner, data: TuningData) -> None:
    fitted = tuner.fit(data)
    assert isinstance(fitted, Transform)
    queries, documents = mapped(fitted, data)
    assert queries.shape == data.queries.shape
    assert documents.shape == data.documents.shape
    for x in (queries, documents):
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
    if tuner.name != "nudge-m":  # its documents leave the sphere, as published
        np.testing.assert_allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)


def test_all_but_the_identity_bring_queries_nearer_to_their_documents(tuner: Tuner, data: TuningData) -> None:
    def likeness(q: Vectors, z: Vectors) -> float:
        rows, columns, weight = data.pairs
        return float((np.einsum("ij,ij->i", q[rows], z[columns]) * weight).mean())

    gain = likeness(*mapped(tuner.fit(data), data)) - likeness(data.queries, data.documents)
    assert gain == 0 if tuner.name == "identity" else gain > 0.01


def test_the_same_seed_gives_the_same_map(tuner: Tuner, data: TuningData) -> None:
    assert same(tuner.fit(data, seed=3), tuner.fit(data, seed=3))


def test_what_it_was_given_stays_as_it_was(tuner: Tuner, data: TuningData) -> None:
    arrays = [
        data.queries, data.documents, data.positives.data, data.positives.indices, data.known.data
    ]  # fmt: skip
    before = [x.tobytes() for x in arrays]
    for x in arrays:
        x.flags.writeable = False
    tuner.fit(data)
    assert [x.tobytes() for x in arrays] == before


def test_new_documents_get_a_vector(tuner: Tuner, data: TuningData) -> None:
    new = unit(np.random.default_rng(1).standard_normal((3, D)))
    fitted = tuner.fit(data)
    named, unnamed = fitted.documents(new, ["x", "y", "z"]), fitted.documents(new)
    np.testing.assert_array_equal(named, unnamed)
    assert np.isfinite(named).all()


def test_strength_zero_is_the_identity_and_one_the_map(tuner: Tuner, data: TuningData) -> None:
    fitted = tuner.fit(data)
    for got, wanted in zip(mapped(fitted.scaled(0.0), data), (data.queries, data.documents), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert same(fitted.scaled(1.0), fitted)


def test_one_query_is_enough_not_to_fail(tuner: Tuner, data: TuningData) -> None:
    one = replace(data, queries=data.queries[:1], positives=data.positives[:1], known=data.known[:1])
    for x in mapped(tuner.fit(one), data):
        assert np.isfinite(x).all()


def test_inner_products_of_vectors_of_any_length(tuner: Tuner, data: TuningData) -> None:
    lengths = np.linspace(0.5, 4, DOCUMENTS, dtype=np.float32)[:, None]
    dot = replace(data, queries=data.queries * 3, documents=data.documents * lengths, similarity="dot")
    fitted = tuner.fit(dot)
    queries, documents = mapped(fitted, dot)
    assert np.isfinite(queries).all()
    assert np.isfinite(documents).all()
    assert np.linalg.norm(queries, axis=1).mean() > 1.1  # nothing was brought to unit length
    assert np.linalg.norm(documents, axis=1).max() > 1.5


def test_memory_mapped_documents(tuner: Tuner, data: TuningData, tmp_path) -> None:
    np.save(tmp_path / "documents.npy", data.documents)
    on_disk = replace(data, documents=np.load(tmp_path / "documents.npy", mmap_mode="r"))
    assert same(tuner.fit(on_disk), tuner.fit(data))


def test_it_returns_when_there_is_no_time(tuner: Tuner, data: TuningData) -> None:
    fitted = tuner.fit(data, budget=Budget(time.monotonic() - 1))
    for x in mapped(fitted, data):
        assert np.isfinite(x).all()
