"""Weights that train under a map: the map is the adapter's, and what is scored and minimised is under it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedtune.transforms import Identity, Linear
from embedtune.tuners.linear import LinearTuner
from embedtune.tuners.softmax import softmax_loss, to_unit
from embedtune.weights.head import Head
from embedtune.weights.methods import Full
from embedtune.weights.train import train
from embedtune.weights.work import material_of, tower_of

QUICK = Full(rate=2e-3, passes=2, batch=16, checks=4, precision="float32")
WARM = replace(QUICK, warm=True)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_head_maps_as_the_transform_does(normalise: bool) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 6, 6)).astype(np.float32)
    x, _ = to_unit(rng.normal(size=(5, 6)).astype(np.float32))
    transform = Linear(first, second, normalise=normalise)
    head = Head(transform)
    np.testing.assert_allclose(head.queries(torch.from_numpy(x)), transform.queries(x), atol=1e-6)
    np.testing.assert_allclose(head.documents(torch.from_numpy(x)), transform.documents(x), atol=1e-6)
    assert not np.allclose(transform.queries(x), transform.documents(x), atol=0.1)


def test_no_head_leaves_vectors_as_they_are() -> None:
    x = torch.rand(3, 4)
    head = Head(Identity())
    assert head.queries(x) is x
    assert head.documents(x) is x


def test_the_loss_is_the_adapters_of_mapped_vectors(asked: Callable[..., Any], tmp_path: Path) -> None:
    given = asked()
    round_ = given.pool.hold_out(0.2, 800, 0)
    material: Any = material_of(WARM, given, round_)
    train_data = material._train
    expected = LinearTuner(sides="both").fit(train_data, seed=0)
    batches: list[Any] = []
    plain = material._step
    material._step = lambda batch, seed: (batches.append(batch), plain(batch, seed))[1]
    step = material.steps(0)[0]()
    tower = tower_of(WARM, given.encoder)
    tower.read(material.texts, tmp_path)
    with torch.no_grad():
        found = float(step.loss(tower(step.rows)))
    (batch,) = batches
    y = expected.queries(train_data.queries[batch.queries])
    z = expected.documents(train_data.documents[batch.columns])
    loss, _ = softmax_loss(y, z, batch, WARM.scale)
    assert found == pytest.approx(loss, rel=1e-4)
    cold: Any = material_of(QUICK, given, round_)
    assert isinstance(cold._head.transform, Identity)


def test_held_out_rows_are_scored_under_the_head(asked: Callable[..., Any]) -> None:
    given = asked()
    material: Any = material_of(WARM, given, given.pool.hold_out(0.2, 800, 0))
    held = material._validation
    scores = material.score(np.r_[held.queries, held.documents])
    head = LinearTuner(sides="both").fit(material._train, seed=0)
    expected = held.scores(head, (given.metric,))[given.metric]
    np.testing.assert_array_equal(scores, expected)
    assert not np.array_equal(scores, held.scores(Identity(), (given.metric,))[given.metric])


def test_weights_gain_on_top_of_the_adapter(asked: Callable[..., Any], tmp_path: Path) -> None:
    given = asked()
    material = material_of(WARM, given, given.pool.hold_out(0.2, 800, 0))
    tower = tower_of(WARM, given.encoder)
    tower.read(material.texts, tmp_path)
    trained = train(tower, material, WARM)
    assert trained.strengths[0.0] == 0
    assert trained.gain == max(trained.strengths.values())
    assert len(trained.history.checks) >= 1
