"""A time budget for all that tuning weights does, kept on a clock that only work moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from embedtune.artifact.probes import uncached
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import UserError
from embedtune.training.budget import Budget
from embedtune.weights import flow
from embedtune.weights import methods as settings
from embedtune.weights import train as loop
from embedtune.weights.asked import Reached
from embedtune.weights.transformer import TransformerTower


class World:
    """What each part of the work costs, and a clock that goes on by that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **costs: float) -> None:
        self.now, self.spent = 1000.0, dict.fromkeys(costs, 0.0)
        self.costs, self.steps, self.patch = costs, 0, monkeypatch
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self._after(TransformerEncoder, "_forward", "character", lambda _s, texts, *_: sum(map(len, texts)))
        self._after(TransformerTower, "read", "prefix", lambda *_: 1)
        self._after(loop._Run, "score", "look", lambda *_: 1)
        monkeypatch.setattr(loop, "gradients", self._step)
        self.choose = flow.choose
        monkeypatch.setattr(flow, "choose", self._choose)

    def pay(self, what: str, times: float = 1.0) -> None:
        self.now += self.costs[what] * times
        self.spent[what] += self.costs[what] * times

    def _after(self, owner: Any, name: str, what: str, times: Callable[..., float]) -> None:
        plain = getattr(owner, name)

        def paid(*args: Any, **options: Any) -> Any:
            found = plain(*args, **options)
            self.pay(what, times(*args))
            return found

        self.patch.setattr(owner, name, paid)

    def _step(self, tower: Any, *_: Any) -> float:
        self.pay("step")
        self.steps += 1
        for p in tower.trained().values():
            p.grad = torch.full_like(p, 1e-3)
        return 0.0

    def _choose(self, *args: Any, budget: Any, **options: Any) -> Any:
        """Take as long as there is, at most what the ladder costs."""
        found = self.choose(*args, **{**options, "method": "linear"}, budget=Budget())
        self.pay("ladder", min(1.0, max(budget.left, 0.0) / self.costs["ladder"]))
        return found


def limited(
    asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, whole: float = 300.0, **dear: float
) -> tuple[World, Any]:
    """Give a world where some parts cost more than usual, and what is asked for within some seconds of it."""
    given = asked()
    world = World(monkeypatch, **{**COSTS, **dear})
    return world, replace(given, budget=Budget(world.now + whole))


COSTS = {"character": 0.001, "prefix": 10.0, "look": 1.0, "step": 2.0, "ladder": 20.0}


@pytest.mark.parametrize("method", ["layers", "full"])
@pytest.mark.parametrize(
    "dear",
    [
        {},
        {"ladder": 1000.0},  # adapters alone would take it all
        {"character": 0.003},  # encoding anew takes a third of it
        {"step": 12.0},
        {"look": 10.0},
    ],
    ids=str,
)
def test_tuning_weights_keeps_to_the_time(
    asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, method: str, dear: dict[str, float]
) -> None:
    chosen = {"layers": settings.Layers(layers=1), "full": settings.Full()}[method]
    long = replace(chosen, passes=1e4, patience=10**4, batch=16, precision="float32")
    whole = 300.0
    world, given = limited(asked, monkeypatch, whole, **dear)
    reached = flow.tune_weights(long, given)
    assert isinstance(reached, Reached)
    used = world.now - 1000.0
    assert 0.5 * whole < used <= whole, world.spent
    assert world.steps >= 10
    left = whole - used  # what is left holds the final fit and the verdict
    assert left >= min(world.costs["ladder"], 0.1 * whole), world.spent


def test_long_texts_that_the_sample_lacks_are_counted(
    asked: Callable[..., Any], rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in rows[:5]:  # of 275; a mean by text would be far off
        row["positive"] += " heart" * 400
    given = asked(data=rows)
    world = World(monkeypatch, **COSTS)
    uncached(given.encoder).max_tokens = None
    expected = flow._encoding(given)
    world.spent["character"] = 0.0
    dataset = given.dataset
    texts = set(dataset.document_texts + dataset.query_texts)
    assert expected == pytest.approx(COSTS["character"] * sum(map(len, texts)), rel=0.2)


def test_too_little_time_is_told_before_it_is_spent(
    asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, given = limited(asked, monkeypatch, character=0.1)
    with pytest.raises(
        UserError, match=r"budget: tuning weights would take \d+ s at least, and \d+ s are left"
    ):
        flow.tune_weights(settings.Full(), given)
    assert world.spent["ladder"] == world.spent["step"] == 0.0


def test_a_step_that_is_far_too_dear_is_tried_once(
    asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, given = limited(asked, monkeypatch, step=60.0)
    with pytest.raises(UserError, match=r"budget: tuning weights would take \d+ s at least"):
        flow.tune_weights(settings.Full(), given)
    assert world.steps == 1
