"""Weights on another device: nothing is left behind, and the result is that of the processor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from elsewhere import DEVICE, Away, Elsewhere
from safetensors.torch import load_file

from embedtune.training.budget import Budget
from embedtune.weights import prefix, transformer
from embedtune.weights.checkpoint import Checkpoint
from embedtune.weights.methods import Full, Layers, Lora, Method
from embedtune.weights.plan import Interrupted
from embedtune.weights.train import train
from embedtune.weights.work import material_of, tower_of

QUICK: dict[str, Any] = {"rate": 2e-3, "passes": 1, "least_steps": 6, "batch": 16, "checks": 2}
NEAR = 5e-4
"""Six steps move a weight by a hundredth; sums in another order by far less than this."""

METHODS = {
    "full": Full(**QUICK),
    "in parts": Full(**QUICK, tokens=100, memory=0.0),
    "layers": Layers(**QUICK, layers=1),
    "lora": Lora(**QUICK),
    "warm": Full(**QUICK, warm=True),
    "leading dimensions": Full(**QUICK, matryoshka=(8, 32)),
    "teacher": Full(**QUICK, distil=0.5, candidates=4),
}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Give a context in which weights are on the other device, not the processor; encoders stay on that."""
    now = [torch.device("cpu")]
    monkeypatch.setattr(transformer, "device_of", lambda asked: now[0])
    monkeypatch.setattr(transformer.TransformerTower, "mixed", lambda self: contextlib.nullcontext())
    monkeypatch.setattr(prefix.torch, "inference_mode", torch.no_grad)  # which such tensors do not know

    @contextlib.contextmanager
    def entered() -> Any:
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        now[0] = DEVICE
        try:
            with Elsewhere():
                yield
        finally:
            now[0] = torch.device("cpu")
            torch.__future__.set_overwrite_module_params_on_conversion(False)

    return entered


@pytest.fixture
def labels(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Give texts whose class is the organ that they name."""
    return [{"text": row["query"], "label": row["query"].split()[1], "split": row["split"]} for row in rows]


@pytest.fixture
def pairs(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Give pairs with a score: 1 for what belongs together, 0 for what does not."""
    texts = [(row["query"], row["positive"]) for row in rows]
    return [
        {"sentence1": texts[i][0], "sentence2": texts[(i + far) % len(texts)][1], "score": float(not far)}
        for i in range(0, len(texts), 2)
        for far in (0, 7)
    ]


def run(given: Any, folder: Path, method: Method, **options: Any) -> dict[str, torch.Tensor]:
    """Train; give the weights that come of it."""
    method = replace(method, precision="float32")
    material = material_of(method, given, given.pool.hold_out(0.2, 800, given.seed))
    tower = tower_of(method, given.encoder)
    tower.read(material.texts, folder)
    train(tower, material, method, forced=True, **options)
    tower.save(folder / "saved")
    return {name: p.detach() for name, p in tower.trained().items()}


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """See that the weights were elsewhere, and are the same."""
    assert set(found) == set(wanted)
    for name, weight in found.items():
        assert isinstance(weight.data, Away), name
        torch.testing.assert_close(weight.data.inner, wanted[name], atol=NEAR, rtol=0)


def test_what_was_left_behind_is_noticed() -> None:
    with Elsewhere():
        there = torch.ones(2).to(DEVICE)
        assert (there * 2).cpu().tolist() == [2, 2]
        assert (there + torch.tensor(1.0)).device == DEVICE
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(2)


@pytest.mark.parametrize("name", METHODS)
def test_training_is_that_of_the_processor(
    asked: Callable[..., Any],
    taught: Callable[[Any], Any],
    tmp_path: Path,
    there: Callable[[], Any],
    name: str,
) -> None:
    given = taught(asked()) if name == "teacher" else asked()
    with there():
        found = run(given, tmp_path / "there", METHODS[name])
    same(found, run(given, tmp_path / "here", METHODS[name]))
    saved, plain = (
        load_file(tmp_path / where / "saved" / "model.safetensors") for where in ("there", "here")
    )
    torch.testing.assert_close(saved, plain, atol=NEAR, rtol=0)


@pytest.mark.parametrize("data", ["labels", "pairs"])
def test_other_tasks_too(
    asked: Callable[..., Any], tmp_path: Path, there: Callable[[], Any], request: Any, data: str
) -> None:
    given = asked(data=request.getfixturevalue(data))
    with there():
        found = run(given, tmp_path / "there", METHODS["full"])
    same(found, run(given, tmp_path / "here", METHODS["full"]))


def test_a_run_goes_on_there_after_an_interruption(
    asked: Callable[..., Any], tmp_path: Path, there: Callable[[], Any]
) -> None:
    place = Checkpoint(tmp_path / "kept", {"version": "1", "data": "d", "base": "b", "settings": "s"})

    def tell(stage: str, done: int, total: int) -> None:
        if stage.startswith("tune weights") and done == 4:
            raise KeyboardInterrupt

    with there():
        whole = run(asked(), tmp_path / "a", METHODS["full"])
        with pytest.raises(Interrupted):
            run(asked(), tmp_path / "b", METHODS["full"], checkpoint=place, budget=Budget(progress=tell))
        resumed = run(asked(), tmp_path / "c", METHODS["full"], checkpoint=place, resume=True)
        same(resumed, {name: weight.data.inner for name, weight in whole.items()})
