"""Gradients: cached, in parts, from cached activations, they are those of the whole batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedtune.encoders import load_encoder
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import UserError
from embedtune.weights.material.base import Step
from embedtune.weights.methods import Full, Layers, Lora
from embedtune.weights.step import Memory, gradients
from embedtune.weights.texts import Texts
from embedtune.weights.transformer import TransformerTower

TEXTS = [
    "heart attack",
    "the red eye of a cold",
    "",
    "high blood pressure in the kidney",
    "pain in the " * 30,
]


def tower_of(base: Path, method: Any, folder: Path, **options: Any) -> TransformerTower:
    tower = TransformerTower(TransformerEncoder(base, **options), method)
    texts = Texts()
    texts.add(TEXTS)
    tower.read(texts, folder)
    return tower


def spread(vectors: torch.Tensor) -> torch.Tensor:
    """A loss in which every vector meets every other, each in its own way."""
    weight = torch.arange(1.0, len(vectors) ** 2 + 1).reshape(len(vectors), -1)
    return (weight * (vectors @ vectors.T) ** 2).sum()


def step_of(rows: list[int]) -> Step:
    return Step(np.array(rows), spread)


def found(tower: TransformerTower, step: Step, memory: Memory) -> tuple[float, dict[str, torch.Tensor]]:
    loss = gradients(tower, step, memory)
    grads = {name: p.grad.clone() for name, p in tower.trained().items() if p.grad is not None}
    for p in tower.trained().values():
        p.grad = None
    return loss, grads


def agree(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float = 1e-4) -> None:
    assert set(a) == set(b)
    for name in a:
        scale = max(float(a[name].abs().max()), 1e-3)
        assert float((a[name] - b[name]).abs().max()) <= tolerance * scale, name


@pytest.mark.parametrize("method", [Full(), Layers(layers=1)])
def test_gradient_caching_gives_the_gradient_of_the_whole_batch(
    deep_model: Path, tmp_path: Path, method: Any
) -> None:
    tower, step = tower_of(deep_model, method, tmp_path), step_of([3, 0, 4, 1])
    whole = found(tower, step, Memory(10**6, 1e12))
    assert any(float(g.abs().max()) > 0 for g in whole[1].values())
    for tokens in (30, 1):  # a few texts at once, and each alone
        loss, grads = found(tower, step, Memory(tokens, 0.0))
        assert loss == pytest.approx(whole[0], rel=1e-5)
        agree(whole[1], grads)


def test_vectors_are_in_the_order_of_the_step(deep_model: Path, tmp_path: Path) -> None:
    tower = tower_of(deep_model, Full(), tmp_path)
    expected = TransformerEncoder(deep_model).encode([TEXTS[row] for row in (3, 0, 4, 1)])
    seen = []
    for memory in (Memory(10**6, 1e12), Memory(1, 0.0)):

        def loss(vectors: torch.Tensor) -> torch.Tensor:
            seen.append(vectors.detach().numpy())
            return vectors.sum()

        gradients(tower, Step(np.array([3, 0, 4, 1]), loss), memory)
    for vectors in seen:
        np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_cached_activations_give_the_step_of_the_whole_model_with_frozen_lower_layers(
    deep_model: Path, tmp_path: Path
) -> None:
    cached = tower_of(deep_model, Layers(layers=1), tmp_path)
    assert (tmp_path / "prefix.f16").stat().st_size == int(cached.tokens.starts[-1]) * 32 * 2
    plain = tower_of(deep_model, Layers(layers=1), tmp_path / "other")
    plain._prefix = None  # every layer is run
    memory = Memory(10**6, 1e12)
    assert len(cached.trained()) == 16  # one layer of BERT
    a, b = (found(tower, step_of([0, 1, 2, 3, 4]), memory) for tower in (cached, plain))
    assert a[0] == pytest.approx(b[0], rel=1e-2)
    agree(a[1], b[1], 1e-2)  # half precision
    with torch.no_grad():
        np.testing.assert_allclose(cached(np.arange(5)), plain(np.arange(5)), atol=2e-3)


def test_a_lower_layer_is_not_run_when_its_activations_are_there(deep_model: Path, tmp_path: Path) -> None:
    tower, ran = tower_of(deep_model, Layers(layers=1), tmp_path), []
    for number, layer in enumerate(tower.stack):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    tower(np.array([0, 1]))
    assert ran == [1]


def test_prompts_are_read_and_texts_with_others_stay_apart(deep_model: Path, tmp_path: Path) -> None:
    encoder = TransformerEncoder(deep_model, query_prompt="query ")
    tower, texts = TransformerTower(encoder, Full()), Texts()
    asked = texts.add(["heart", "red eye"], encoder.prompts["query"])
    known = texts.add(["heart"], encoder.prompts["document"])
    assert [*asked, *known] == [0, 1, 2]
    tower.read(texts, tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(
            tower(asked), encoder.encode(["heart", "red eye"], kind="query"), atol=1e-5
        )
        np.testing.assert_allclose(tower(known), encoder.encode(["heart"], kind="document"), atol=1e-5)


def test_memory_that_runs_out_halves_the_parts_and_changes_nothing(
    deep_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower, step = tower_of(deep_model, Full(), tmp_path), step_of([3, 0, 4, 1])
    whole = found(tower, step, Memory(10**6, 1e12))
    plain, sizes = tower.__class__.__call__, []

    def small(self: TransformerTower, rows: np.ndarray) -> torch.Tensor:
        sizes.append(len(rows))
        if len(rows) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 TB")
        return plain(self, rows)

    monkeypatch.setattr(TransformerTower, "__call__", small)
    memory = Memory(96, 1e12)
    loss, grads = found(tower, step, memory)
    assert loss == pytest.approx(whole[0], rel=1e-5)
    agree(whole[1], grads)
    assert memory.whole == 0
    assert memory.tokens < 96
    assert max(sizes) > 1


def test_memory_that_one_text_is_too_much_for_is_told(
    deep_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = tower_of(deep_model, Full(), tmp_path)

    def none(self: TransformerTower, rows: np.ndarray) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TransformerTower, "__call__", none)
    with pytest.raises(UserError, match="memory runs out with a single text"):
        gradients(tower, step_of([0, 4]), Memory(64, 1e12))


def test_lora_merged_gives_the_vectors_of_lora_unmerged(deep_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    tower = tower_of(deep_model, Lora(rank=4), tmp_path)
    start = {name: p.detach().clone() for name, p in tower.trained().items()}
    assert all("lora_" in name for name in start)
    base = TransformerEncoder(deep_model).encode(TEXTS)
    with torch.no_grad():
        np.testing.assert_allclose(tower(np.arange(5)), base, atol=1e-5)  # it begins as the base
    generator = torch.Generator().manual_seed(0)
    end = {name: p + 0.3 * torch.randn(p.shape, generator=generator) for name, p in start.items()}
    tower.follow(start, end, 0.0)
    with torch.no_grad():
        np.testing.assert_allclose(tower(np.arange(5)), base, atol=1e-5)  # strength 0 is the base
        tower.follow(start, end, 0.5)
        unmerged = tower(np.arange(5)).numpy()
    assert np.abs(unmerged - base).max() > 0.01
    tower.save(tmp_path / "merged")
    merged = load_encoder(str(tmp_path / "merged"), cache=False)
    np.testing.assert_allclose(merged.encode(TEXTS), unmerged, atol=1e-5)


def test_more_layers_than_there_are_is_refused(deep_model: Path) -> None:
    with pytest.raises(UserError, match="has 2 layers, not 3"):
        TransformerTower(TransformerEncoder(deep_model), replace(Layers(), layers=3))
