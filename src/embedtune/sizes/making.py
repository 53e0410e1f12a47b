"""Shorten and round (tuned) vectors: learned projections and leading dimensions, in every kind of number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Identity, Linear, then
from embedtune.transforms.codes import ROUNDINGS
from embedtune.tuners.compress import CompressTuner, rotation, sampled
from embedtune.types import Transform


def smaller(
    data: TuningData, dims: int, *, distil: float, seed: int, budget: Budget
) -> Iterator[tuple[str, Transform]]:
    """Fit ``dims`` dimensions to (tuned) vectors; yield each kind and what is done after the tuning."""
    map_: Transform = Identity()
    if dims < data.queries.shape[1]:
        map_ = CompressTuner(dims=dims, distil=distil).fit(data, seed=seed, budget=budget)
    yield from _kinds(data, map_, seed)


def leading(data: TuningData, dims: int, *, seed: int) -> Iterator[tuple[str, Transform]]:
    """Take the leading ``dims`` dimensions; yield each kind and what is done after the tuning."""
    eye = np.eye(dims, data.queries.shape[1], dtype=np.float32)
    yield from _kinds(data, Linear(eye, eye, normalise=data.cosine), seed)


def _kinds(data: TuningData, map_: Transform, seed: int) -> Iterator[tuple[str, Transform]]:
    """Yield each kind of what a map gives."""
    yield "float32", map_
    rng = np.random.default_rng(seed)
    documents = map_.documents(sampled(data.documents, rng))
    turn = rotation(documents, seed=seed)
    for kind, rounding in ROUNDINGS.items():
        if kind == "int8":
            yield kind, then(map_, rounding.fitted(documents))
        else:
            turned = then(map_, Linear.shared(turn, normalise=data.cosine))
            yield kind, then(turned, rounding.fitted(documents @ turn.T))


def ways(
    data: TuningData, width: int, distil: float, seed: int, budget: Budget, nested: bool
) -> Iterator[tuple[str, str, Transform]]:
    """Yield how vectors are made shorter, the kind, and what is done after the tuning."""
    for kind, map_ in smaller(data, width, distil=distil, seed=seed, budget=budget):
        yield "projection", kind, map_
    if nested and width < data.queries.shape[1]:
        for kind, map_ in leading(data, width, seed=seed):
            yield "prefix", kind, map_
