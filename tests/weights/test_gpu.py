"""On a GPU, where there is one: the gradients of the processor, a whole run, and more texts than fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedtune import fine_tune, load
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.weights import methods as settings
from embedtune.weights.material.base import Step
from embedtune.weights.methods import Full, Layers
from embedtune.weights.step import Memory, gradients
from embedtune.weights.texts import Texts
from embedtune.weights.transformer import TransformerTower

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

TEXTS = [
    "heart attack",
    "the red eye of a cold",
    "",
    "high blood pressure in the kidney",
    "pain in the " * 30,
]


def gradients_on(
    device: str,
    base: Path,
    method: Any,
    folder: Path,
    *,
    memory: Memory,
    precision: torch.dtype | None = None,
) -> tuple[float, dict[str, torch.Tensor]]:
    """Give the loss of a step in which every vector meets every other, and its gradients."""
    tower = TransformerTower(TransformerEncoder(base, device=device), method)
    tower.autocast = precision
    texts = Texts()
    texts.add(TEXTS)
    tower.read(texts, folder)

    def loss(vectors: torch.Tensor) -> torch.Tensor:
        weight = torch.arange(1.0, len(vectors) ** 2 + 1, device=vectors.device).reshape(len(vectors), -1)
        return (weight * (vectors @ vectors.T) ** 2).sum()

    value = gradients(tower, Step(np.array([3, 0, 4, 1]), loss), memory)
    return value, {name: p.grad.cpu() for name, p in tower.trained().items() if p.grad is not None}


@pytest.mark.parametrize("method", [Full(), Layers(layers=1)])
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("tokens", [10**6, 30])
def test_gradients_are_those_of_the_processor(
    deep_model: Path, tmp_path: Path, method: Any, precision: torch.dtype | None, tokens: int
) -> None:
    plain = gradients_on("cpu", deep_model, method, tmp_path / "cpu", memory=Memory(10**6, 1e12))
    found = gradients_on(
        "cuda", deep_model, method, tmp_path / "gpu", memory=Memory(tokens, 0.0), precision=precision
    )
    near = 1e-3 if precision is None else 0.05
    assert found[0] == pytest.approx(plain[0], rel=near)
    assert set(found[1]) == set(plain[1])
    for name, wanted in plain[1].items():
        cosine = torch.cosine_similarity(found[1][name].flatten(), wanted.flatten(), dim=0)
        assert float(wanted.abs().max()) < 1e-3 or cosine > 1 - near, name


def test_a_whole_run_is_judged_and_reads_the_same_without_the_gpu(
    deep_model: Path, rows: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quicker = {"rate": 4e-3, "batch": 16, "passes": 3.0, "checks": 3}
    defaults = {**settings.Full.__init__.__kwdefaults__, **quicker}
    monkeypatch.setattr(settings.Full.__init__, "__kwdefaults__", defaults)
    monkeypatch.setenv("EMBEDTUNE_DEVICE", "cuda")
    tuned = fine_tune(base_model=str(deep_model), data=rows, method="full")
    assert tuned.verdict.decision == "tune", tuned.verdict.text()
    texts = ["heart ache", "red skin itch"]
    there = tuned.encode_queries(texts)
    tuned.save(tmp_path / "out")
    monkeypatch.setenv("EMBEDTUNE_DEVICE", "cpu")
    np.testing.assert_allclose(load(tmp_path / "out").encode_queries(texts), there, atol=1e-3)


def test_where_memory_runs_out_the_parts_are_halved(deep_model: Path, tmp_path: Path) -> None:
    """The first attempt asks for more than any GPU has."""
    asked = []

    class Greedy(Memory):
        def __getattribute__(self, name: str) -> Any:
            if name == "tokens" and not asked:
                asked.append(name)
                torch.empty(2**50, dtype=torch.uint8, device="cuda")
            return super().__getattribute__(name)

    memory = Greedy(64, 1e12)
    value, _ = gradients_on("cuda", deep_model, Full(), tmp_path, memory=memory)
    plain, _ = gradients_on("cpu", deep_model, Full(), tmp_path / "cpu", memory=Memory(10**6, 1e12))
    assert value == pytest.approx(plain, rel=1e-3)
    assert (memory.tokens, memory.whole) == (32, 0.0)
