"""Smaller vectors from data to the saved folder, on a world that needs few of its dimensions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit_length import unit

import embedtune
from embedtune import Tuned, fine_tune
from embedtune.errors import VectorError
from embedtune.transforms.codes import rounding_of

D, NEEDED = 32, 6


@pytest.fixture(scope="module")
def world() -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Documents that vary in 6 of 32 dimensions; queries are their documents, turned, with noise."""
    rng = np.random.default_rng(0)
    spread = np.where(np.arange(D) < NEEDED, 1.0, 0.03)
    z = unit(rng.standard_normal((150, D)) * spread)
    turn = np.eye(D)
    turn[:NEEDED, :NEEDED] = -np.linalg.qr(np.eye(NEEDED) + 0.25 * rng.standard_normal((NEEDED, NEEDED)))[0]
    asked = rng.permutation(150)[:120]
    q = unit(z[asked] @ turn.T + 0.1 * rng.standard_normal((120, D)) * spread)
    model = {
        "queries": ([f"q{i}" for i in range(120)], q),
        "documents": ([f"d{i}" for i in range(150)], z),
    }
    rows = [
        {"query": f"q{i}", "positive": f"d{j}", "split": "test" if i % 4 == 0 else "train"}
        for i, j in enumerate(asked)
    ]
    return model, rows


@pytest.fixture(scope="module")
def tuned(world: tuple[dict[str, Any], list[dict[str, str]]]) -> Tuned:
    return fine_tune(base_model=world[0], data=world[1], method="linear", dims="auto")


def test_every_size_is_judged_and_the_smallest_within_noise_is_chosen(tuned: Tuned) -> None:
    sizes = tuned.verdict.sizes
    assert {(one["dims"], one["kind"]) for one in sizes} == {
        (dims, kind) for dims in (32, 16, 8, 4) for kind in ("float32", "int8", "int4", "binary")
    }
    assert [one["bytes"] for one in sizes] == sorted((one["bytes"] for one in sizes), reverse=True)
    full, chosen = sizes[0], next(one for one in sizes if one["chosen"])
    assert full["share_of_full"] == 1
    assert full["ci95"] == [0, 0]
    assert full["p_value"] == 1
    assert chosen["bytes"] < 32
    assert chosen["share_of_full"] >= 0.98
    lost = next(one for one in sizes if (one["dims"], one["kind"]) == (4, "binary"))
    assert lost["share_of_full"] < 0.8
    assert lost["p_value"] < 0.01
    assert lost["ci95"][1] < 0
    assert lost["test_share"] < 0.8
    assert tuned.verdict.seconds["sizes"] >= 0


def test_what_is_shipped_scores_as_it_was_judged(tuned: Tuned, world) -> None:
    chosen = next(one for one in tuned.verdict.sizes if one["chosen"])
    result = embedtune.evaluate(world[1], model=tuned)
    assert result.tuned.overall == pytest.approx(chosen["test"], abs=1e-9)
    codes = tuned.encode_documents(world[0]["documents"][0], codes=True)
    assert codes.nbytes == 150 * chosen["bytes"]


def test_codes_are_searched_and_saved(tuned: Tuned, world, tmp_path: Path) -> None:
    queries, ids = ["q1", "q2"], world[0]["documents"][0]
    hits = tuned.search(queries, ids, k=5)
    x, z = tuned.encode_queries(queries), tuned.encode_documents(ids)
    for row, found in zip(x @ z.T, hits, strict=True):
        assert [hit.score for hit in found] == pytest.approx(np.sort(row)[::-1][:5], abs=1e-5)
    again = embedtune.load(tuned.save(tmp_path / "small"), base=tuned.encoder, verify="full")
    assert again.search(queries, ids, k=5) == hits
    assert np.array_equal(again.encode_documents(ids, codes=True), tuned.encode_documents(ids, codes=True))
    assert again.manifest["dimension"] == x.shape[1]
    assert again.manifest["verdict"]["sizes"] == json.loads(json.dumps(tuned.verdict.sizes))
    assert again.manifest["settings"]["dims"] == "auto"


def test_a_number_tries_that_one_alone(world) -> None:
    tuned = fine_tune(base_model=world[0], data=world[1], method="linear", dims=16, test="none")
    assert {one["dims"] for one in tuned.verdict.sizes} == {16}
    assert {one["test"] for one in tuned.verdict.sizes} == {None}
    assert tuned.encode_queries(["q0"]).shape == (1, 16)


def test_bytes_that_no_size_within_noise_has_are_kept_to_all_the_same(world) -> None:
    tuned = fine_tune(base_model=world[0], data=world[1], method="linear", most_bytes=1)
    chosen = next(one for one in tuned.verdict.sizes if one["chosen"])
    assert chosen["bytes"] == 1
    assert "as small as wished" in tuned.verdict.reasons[-1]


def test_without_dims_nothing_is_computed(world) -> None:
    tuned = fine_tune(base_model=world[0], data=world[1], method="linear")
    assert tuned.verdict.sizes == []
    assert "sizes" not in tuned.verdict.seconds
    assert rounding_of(tuned.transform) is None
    with pytest.raises(VectorError, match="no codes"):
        tuned.encode_documents(["d0"], codes=True)


def test_too_few_labels_leave_the_size(world) -> None:
    tuned = fine_tune(base_model=world[0], data=world[1][:12], dims="auto")
    assert tuned.verdict.sizes == []
    assert "too few labels to judge smaller vectors" in tuned.verdict.reasons[-1]


def test_a_base_that_is_kept_can_be_made_smaller(world) -> None:
    tuned = fine_tune(base_model=world[0], data=world[1], method="identity", dims=16)
    assert tuned.verdict.decision != "tune"
    assert tuned.encode_documents(["d0"]).shape == (1, 16)
