"""Where training runs: which device, how much of it, and layers that are compiled."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedtune.encoders.transformer import TransformerEncoder
from embedtune.weights import device, room
from embedtune.weights.device import fitting, moved, worth_compiling
from embedtune.weights.material.base import Step
from embedtune.weights.methods import Full, Layers
from embedtune.weights.step import Memory, gradients
from embedtune.weights.texts import Texts
from embedtune.weights.transformer import TransformerTower

TEXTS = ["heart attack", "the red eye of a cold", "pain in the head", "high blood pressure in the kidney"]


class Remembers:
    """Stands for a tensor; remembers what is done with it."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def pin_memory(self) -> Remembers:
        self.done.append("pinned")
        return self

    def to(self, where: torch.device, **options: Any) -> Remembers:
        self.done.append((where.type, options))
        return self


def test_what_goes_to_a_gpu_is_pinned_and_not_waited_for() -> None:
    tensor: Any = Remembers()
    moved(tensor, torch.device("cuda", 0))
    assert tensor.done == ["pinned", ("cuda", {"non_blocking": True})]
    tensor.done.clear()
    moved(tensor, torch.device("cpu"))
    assert tensor.done == [("cpu", {})]


class Model:
    """Has what decides how much fits."""

    per_token = 200_000.0

    def __init__(self, where: str) -> None:
        self.device = torch.device(where)


@pytest.mark.usefixtures("gpus")
def test_a_gpu_takes_more_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitting(Model("cpu"), 4096, 1.5e9) == (4096, 1.5e9)
    assert fitting(Model("cuda:0"), 4096, 1.5e9) == (40_000, 16e9)  # .4 of what is free, half of it a part
    monkeypatch.setattr(device, "free_memory", lambda where: 1e9)
    assert fitting(Model("cuda:0"), 4096, 1.5e9) == (4096, 1.5e9)  # what does not fit is found out


@pytest.mark.usefixtures("gpus")
def test_a_model_has_to_fit_where_it_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    assert room.available() == 40e9
    monkeypatch.setenv("EMBEDTUNE_DEVICE", "cpu")
    assert room.available() != 40e9


def test_compiling_is_tried_in_long_runs_on_a_gpu() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert [worth_compiling("auto", one, steps, 500) for one in (cpu, gpu) for steps in (499, 500)] == [
        False, False, False, True,
    ]  # fmt: skip
    assert not worth_compiling(False, gpu, 10**6, 500)


def ready(base: Path, method: Any, folder: Path) -> TransformerTower:
    tower, texts = TransformerTower(TransformerEncoder(base), method, device="cpu"), Texts()
    texts.add(TEXTS)
    tower.read(texts, folder)
    return tower


def taken(tower: TransformerTower) -> dict[str, torch.Tensor]:
    gradients(tower, Step(np.arange(4), lambda v: ((v @ v.T) ** 2).sum()), Memory(24, 0.0))
    found = {name: p.grad for name, p in tower.trained().items() if p.grad is not None}
    for p in tower.trained().values():
        p.grad = None
    return found


@pytest.mark.parametrize("method", [Full(), Layers(layers=1)])
def test_compiled_layers_give_the_same_gradients(deep_model: Path, tmp_path: Path, method: Any) -> None:
    tower = ready(deep_model, method, tmp_path)
    plain = taken(tower)
    tower.compile(backend="aot_eager")
    assert tower.compiled
    compiled = [layer for layer in tower.stack if layer._compiled_call_impl is not None]
    assert len(compiled) == (method.layers or 2)
    found = taken(tower)
    assert set(found) == set(plain)
    length = float(torch.sqrt(sum(((g * g).sum() for g in plain.values()), torch.zeros(()))))
    for name in plain:
        assert float((found[name] - plain[name]).abs().max()) <= 1e-5 * length, name
    tower.uncompile()
    assert not tower.compiled
    assert all(layer._compiled_call_impl is None for layer in tower.stack)
    again = taken(tower)
    assert all(torch.equal(again[name], plain[name]) for name in plain)


def test_layers_that_cannot_be_compiled_run_as_they_are(
    deep_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tower = ready(deep_model, Full(), tmp_path)
    plain = taken(tower)

    def broken(graph: Any, inputs: Any) -> Any:
        raise NotImplementedError("no compiler here")

    with caplog.at_level(logging.WARNING, logger="embedtune"):
        tower.compile(backend=broken)
    assert not tower.compiled
    assert "run without being compiled" in caplog.text
    assert "no compiler here" in caplog.text
    for name, gradient in taken(tower).items():
        assert torch.equal(gradient, plain[name])


def test_a_gpu_gets_larger_parts() -> None:
    class Tower:
        method = Full()
        device = torch.device("cpu")

    assert device.for_device(Full(), Tower()) == Full()
    tower = Tower()
    tower.device = torch.device("cuda")
    method = device.for_device(Full(), tower)
    assert method == tower.method == replace(Full(), tokens=device.GPU_TOKENS)
    assert method.tokens > Full().tokens
