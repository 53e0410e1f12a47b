"""Long runs: a clock that ends them, Ctrl-C at the worst moments, memory that runs out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from embedtune.encoders import load_encoder
from embedtune.training.budget import Budget
from embedtune.weights import train as loop
from embedtune.weights.checkpoint import Checkpoint
from embedtune.weights.methods import Full, Layers, Method
from embedtune.weights.plan import Interrupted, TooLittleTime, Trained
from embedtune.weights.state import State
from embedtune.weights.train import train
from embedtune.weights.transformer import TransformerTower
from embedtune.weights.work import material_of, tower_of

QUICK = Full(rate=2e-3, passes=1, least_steps=12, batch=16, checks=3, precision="float32")
PRINT = {"version": "1", "data": "d", "base": "b", "settings": "s"}


def run(asked: Any, folder: Path, method: Method = QUICK, **options: Any) -> tuple[Any, Trained]:
    material = material_of(method, asked, asked.pool.hold_out(0.2, 800, asked.seed))
    tower = tower_of(method, asked.encoder)
    tower.read(material.texts, folder)
    return tower, train(tower, material, method, **options)


def state(tower: Any) -> dict[str, bytes]:
    return {name: p.detach().numpy().tobytes() for name, p in tower.trained().items()}


class Clock:
    """A clock that goes on only when something is done."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("slower", "least"), [(1.0, 0.9), (1.7, 0.9), (0.5, 0.4)])
def test_the_time_is_used_and_not_exceeded(
    asked: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slower: float, least: float
) -> None:
    given, clock, steps = asked(), Clock(), []

    def gradients(*args: Any) -> float:
        steps.append(1)
        clock.now += 1.0 if len(steps) <= 2 else slower  # the two that are timed, and all others
        for p in args[0].trained().values():
            p.grad = torch.zeros_like(p)
        return 0.0

    plain = loop._Run.score

    def score(self: Any) -> Any:
        clock.now += 0.5
        return plain(self)

    monkeypatch.setattr(loop, "gradients", gradients)
    monkeypatch.setattr(loop._Run, "score", score)
    monkeypatch.setattr(time, "monotonic", clock)
    budget, reserve = 60.0, 10.0
    method = replace(QUICK, passes=10_000.0, patience=10_000)
    _, trained = run(given, tmp_path, method, budget=Budget(clock.now + budget), reserve=reserve, forced=True)
    used = clock.now - 1000.0
    assert used <= budget - reserve + 2 * slower  # a step that has begun is ended
    assert used >= least * (budget - reserve)
    assert trained.history.late


def test_a_training_that_must_be_whole_is_not_begun_where_its_steps_do_not_fit(
    asked: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, clock = asked(), Clock()

    def gradients(*args: Any) -> float:
        clock.now += 1.0
        for p in args[0].trained().values():
            p.grad = torch.zeros_like(p)
        return 0.0

    monkeypatch.setattr(loop, "gradients", gradients)
    monkeypatch.setattr(time, "monotonic", clock)
    method = replace(QUICK, passes=0.0, least_steps=30)
    with pytest.raises(TooLittleTime, match="would take 30 s at least, and 18 s are left"):
        run(given, tmp_path, method, budget=Budget(clock.now + 20.0), whole=True)
    _, part = run(given, tmp_path, method, budget=Budget(clock.now + 20.0))
    assert part.history.total == 18
    _, found = run(given, tmp_path, method, budget=Budget(clock.now + 33.0), whole=True)
    assert found.history.total == 30


@pytest.mark.parametrize(("compiled", "kept"), [(0.7, True), (1.3, False)])
def test_layers_stay_compiled_only_where_that_is_measured_to_be_faster(
    asked: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: float, kept: bool
) -> None:
    given, clock, done = asked(), Clock(), []

    def gradients(tower: Any, *_: Any) -> float:
        clock.now += compiled if tower.compiled else 1.0
        if len(done) in (0, 4):  # the first step warms up, and the first of compiled layers
            clock.now += 30.0
        done.append(tower.compiled)
        for p in tower.trained().values():
            p.grad = torch.zeros_like(p)
        return 0.0

    monkeypatch.setattr(loop, "gradients", gradients)
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(loop, "worth_compiling", lambda *_: True)
    monkeypatch.setattr(TransformerTower, "compile", lambda self: setattr(self, "compiled", True))
    tower, _ = run(given, tmp_path, replace(QUICK, passes=2))
    assert done[:8] == [False] * 4 + [True] * 4
    assert set(done[8:]) == {kept}
    assert tower.compiled == kept


def test_ctrl_c_between_steps_goes_on_to_the_same_bytes(asked: Callable[..., Any], tmp_path: Path) -> None:
    whole, _ = run(asked(), tmp_path / "a")
    place = Checkpoint(tmp_path / "kept", PRINT)

    def tell(stage: str, done: int, total: int) -> None:
        if stage.startswith("tune weights") and done == 7:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"at step 7 of 12: the best weights so far .* go on with --resume"):
        run(asked(), tmp_path / "b", checkpoint=place, budget=Budget(progress=tell))
    assert (place.folder / "best" / "modules.json").is_file()
    resumed, _ = run(asked(), tmp_path / "c", checkpoint=place, resume=True)
    assert state(resumed) == state(whole)


def test_ctrl_c_while_the_weights_change_keeps_the_state_before(
    asked: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = replace(QUICK, checkpoint_every=0.0)
    whole, first = run(asked(), tmp_path / "a", often)
    place, plain, calls = Checkpoint(tmp_path / "kept", PRINT), torch.optim.AdamW.step, []

    def step(self: Any, *args: Any) -> Any:
        calls.append(1)
        found = plain(self, *args)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(Interrupted):
            run(asked(), tmp_path / "b", often, checkpoint=place)
    assert json.loads((place.folder / "state.json").read_text())["step"] == 5
    resumed, second = run(asked(), tmp_path / "c", often, checkpoint=place, resume=True)
    assert state(resumed) == state(whole)
    assert second.history.checks == first.history.checks


def test_ctrl_c_while_the_gain_is_looked_at_looks_again(
    asked: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, first = run(asked(), tmp_path / "a")
    place, plain, calls = Checkpoint(tmp_path / "kept", PRINT), loop._Run.score, []

    def score(self: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:  # the base's, after four steps, after eight
            raise KeyboardInterrupt
        return plain(self)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "score", score)
        with pytest.raises(Interrupted, match="at step 8"):
            run(asked(), tmp_path / "b", checkpoint=place)
    resumed, second = run(asked(), tmp_path / "c", checkpoint=place, resume=True)
    assert second.history.checks == first.history.checks
    assert state(resumed) == state(whole)


def test_ctrl_c_after_the_last_step_keeps_the_best_and_the_state(
    asked: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(asked(), tmp_path / "a")
    place = Checkpoint(tmp_path / "kept", PRINT)

    def follow(self: Any, start: Any, end: Any, strength: float) -> None:
        plain(self, start, end, strength)
        if strength == 0.5:
            raise KeyboardInterrupt

    plain = TransformerTower.follow
    with monkeypatch.context() as patch:
        patch.setattr(TransformerTower, "follow", follow)
        with pytest.raises(Interrupted, match="at step 12 of 12: the best weights so far"):
            run(asked(), tmp_path / "b", checkpoint=place)
    load_encoder(str(place.folder / "best"), cache=False).encode(["heart ache"])
    resumed, _ = run(asked(), tmp_path / "c", checkpoint=place, resume=True)
    assert state(resumed) == state(whole)


def test_ctrl_c_before_anything_was_kept_says_so(
    asked: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = asked()
    held = State(tower_of(QUICK, given.encoder), QUICK, Checkpoint(tmp_path / "kept", PRINT))
    held.history.step, held.steady = 1, False  # in the middle of its first step
    assert str(held.interrupted()) == "interrupted: no weights were kept"
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("method", [QUICK, Layers(layers=1, rate=2e-3, least_steps=12, batch=16, checks=3)])
def test_memory_that_runs_out_anywhere_lowers_the_batch_and_training_goes_on(
    asked: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Method
) -> None:
    method = replace(method, precision="float32")
    _, expected = run(asked(), tmp_path / "a", method)
    most = 4

    def features(self: Any, rows: Any) -> Any:
        if len(rows) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(self, rows)

    plain = TransformerTower.features
    monkeypatch.setattr(TransformerTower, "features", features)
    _, trained = run(asked(), tmp_path / "b", method)
    assert trained.history.step == expected.history.step
    assert trained.gain > 0
    assert [step for step, _ in trained.history.checks] == [step for step, _ in expected.history.checks]
