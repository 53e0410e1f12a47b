"""Pairs that the weights of a tiny model can learn, and what a run on them needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

ORGANS = ["heart", "lung", "liver", "kidney", "skin", "eye", "ear", "nose", "head", "stomach", "bone"]
KINDS = [("ache", "pain"), ("weak", "failure"), ("itch", "rash"), ("tired", "sleep"), ("cold", "cough")]
DEGREES = ["high", "low", "strong", "red", "broken"]


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """Give 275 pairs: a complaint, and what a book calls it; a fifth of them is the test split."""
    return [
        {
            "query": f"{degree} {organ} {said}",
            "positive": f"{meant} of the {organ} and {degree}",
            "split": "test" if degree == "broken" else "train",
        }
        for degree in DEGREES
        for organ in ORGANS
        for said, meant in KINDS
    ]


@pytest.fixture
def asked(deep_model: Path, rows: list[dict[str, str]]) -> Callable[..., Any]:
    """Give what makes all that tuning weights needs to know."""

    def make(base: Path = deep_model, **changes: Any) -> Any:
        from embedtune.collect import collect
        from embedtune.data import read
        from embedtune.encoders import load_encoder
        from embedtune.training.budget import Budget
        from embedtune.tuners.ladders import LADDERS
        from embedtune.weights.asked import Asked

        data = changes.pop("data", rows)
        dataset, encoder = read(data), load_encoder(str(base))
        found = collect(dataset, encoder, test="test")
        ladder = LADDERS[dataset.task]
        settings = {"metric": found.metrics[0], "test": "test", "seed": 0, "budget": Budget(), **changes}
        return Asked(dataset, encoder, found, found.train.pooled(0), ladder, **settings)

    return make


@pytest.fixture
def taught() -> Callable[[Any], Any]:
    """Give what has the base's own vectors be the teacher of six documents a query."""

    def make(given: Any) -> Any:
        pool = given.pool
        every = pool.queries @ pool.documents.T
        near = np.argsort(-every, axis=1)[:, :6]
        scores = 20.0 * np.take_along_axis(every, near, axis=1)
        indptr = np.arange(0, near.size + 1, 6)
        pool = replace(pool, taught=csr_matrix((scores.ravel(), near.ravel(), indptr), shape=every.shape))
        return replace(given, pool=pool)

    return make
