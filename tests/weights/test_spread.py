"""Two real processes that train together: the gradients and weights of one, and an end in every case."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import embedtune
from embedtune.artifact.probes import uncached
from embedtune.errors import UserError
from embedtune.weights import spread
from embedtune.weights.material.base import Step
from embedtune.weights.methods import Full, Layers, Method
from embedtune.weights.processes import join
from embedtune.weights.spread import Team
from embedtune.weights.state import State
from embedtune.weights.step import Memory, encoded, gradients
from embedtune.weights.train import train
from embedtune.weights.transformer import TransformerTower
from embedtune.weights.work import material_of, tower_of

SECOND = """
import os, sys
import embedtune.weights.spread_parts as spread_parts

plain = spread_parts.Parts.backward
def backward(self, wanted):
    if os.path.exists(sys.argv[1] + "/full"):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
    if os.path.exists(sys.argv[1] + "/fails"):
        raise ValueError("its disk is on fire")
    plain(self, wanted)
spread_parts.Parts.backward = backward

from embedtune.weights.processes import join
join()
print("not reached")
"""


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Team, Any, Path]]:
    """Start a second process, and be the first; give the team, the other, and a folder that it looks into."""
    folder = tmp_path_factory.mktemp("signs")
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    names = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "EMBEDTUNE_DEVICE": "cpu",
    }
    source = {"PYTHONPATH": str(Path(embedtune.__file__).parents[1])}
    other = subprocess.Popen(
        [sys.executable, "-c", SECOND, str(folder)],
        env={**os.environ, **names, **source, "RANK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**names, "RANK": "0"}.items():
            patch.setenv(name, value)
        join()
        team = spread.team()
        assert team is not None
        assert (team.rank, team.size) == (0, 2)
        try:
            yield team, other, folder
        finally:
            team.release()
            other.kill()
            other.communicate()


def taken(tower: TransformerTower, step: Step, memory: Memory) -> tuple[float, dict[str, torch.Tensor]]:
    loss = gradients(tower, step, memory)
    grads = {name: p.grad.clone() for name, p in tower.trained().items() if p.grad is not None}
    for p in tower.trained().values():
        p.grad = None
    return loss, grads


def agree(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    """Every number differs by less than a millionth of the gradient's length."""
    assert set(a) == set(b)
    length = float(torch.sqrt(sum(((g * g).sum() for g in a.values()), torch.zeros(()))))
    assert length > 1e-2
    for name in a:
        assert float((a[name] - b[name]).abs().max()) <= 1e-6 * length, name


def both(asked: Any, method: Method, folder: Path, team: Team) -> tuple[Any, Any, Any]:
    """Give the material, and a tower of one process and one of two."""
    material = material_of(method, asked, asked.pool.hold_out(0.2, 800, 0))
    towers = []
    for number, who in enumerate((None, team)):
        tower = TransformerTower(uncached(asked.encoder), method, team=who)
        (folder / str(number)).mkdir()
        tower.read(material.texts, folder / str(number))
        towers.append(tower)
    return material, towers[0], towers[1]


def labelled() -> list[dict[str, str]]:
    return [
        {"text": f"{degree} {organ} {word}", "label": word, "split": "test" if degree == "low" else "train"}
        for degree in ("high", "low", "strong", "red")
        for organ in ("heart", "lung", "liver", "kidney", "skin", "eye", "ear", "nose")
        for word in ("ache", "pain", "itch", "rash")
    ]


def scored() -> list[dict[str, Any]]:
    words, organs = ["ache", "pain", "itch", "rash", "cough"], ["heart", "lung", "liver", "kidney"]
    return [
        {
            "sentence1": f"{a} {first}",
            "sentence2": f"the {second} {b}",
            "score": float(a == b) + 0.01 * number,
            "split": "test" if number % 5 == 0 else "train",
        }
        for number, (a, b, first, second) in enumerate(
            (a, b, first, second) for a in words for b in words for first in organs for second in organs
        )
    ]


TASKS: dict[str, Callable[[], Any]] = {"info_nce": lambda: None, "contrastive": labelled, "cosent": scored}


@pytest.mark.parametrize("loss", TASKS)
def test_two_processes_give_the_gradients_and_weights_of_one(
    asked: Callable[..., Any], tmp_path: Path, second: tuple[Team, Any, Path], loss: str
) -> None:
    data = TASKS[loss]()
    given = asked() if data is None else asked(data=data)
    material, alone, together = both(given, Full(batch=16, hard=2, rate=1e-3), tmp_path, second[0])
    steps = [make() for make in material.steps(0)[:3]]
    for memory in (Memory(10**6, 1e12), Memory(60, 0.0)):  # in one go, and by gradient caching
        one, two = (taken(tower, steps[0], Memory(**vars(memory))) for tower in (alone, together))
        assert two[0] == pytest.approx(one[0], rel=1e-6)
        agree(one[1], two[1])
    states = [State(tower, tower.method, None) for tower in (alone, together)]
    for step in steps:
        for state in states:
            gradients(state.tower, step, Memory(60, 0.0))
            state.advance(1e-3)
    for name, p in alone.trained().items():
        assert not torch.equal(p, states[0].start[name]), name
        np.testing.assert_allclose(together.trained()[name].detach(), p.detach(), atol=2e-5)
    rows = np.unique(material.judged)
    np.testing.assert_allclose(encoded(together, rows, 60), encoded(alone, rows, 60), atol=2e-5)


def test_the_frozen_layers_are_run_once_between_them(
    asked: Callable[..., Any], tmp_path: Path, second: tuple[Team, Any, Path]
) -> None:
    material, alone, together = both(asked(), Layers(layers=1, batch=16), tmp_path, second[0])
    assert (tmp_path / "0/prefix.f16").read_bytes() == (tmp_path / "1/prefix.f16").read_bytes()
    step = material.steps(0)[0]()
    one, two = (taken(tower, step, Memory(60, 0.0)) for tower in (alone, together))
    agree(one[1], two[1])


def test_memory_that_runs_out_in_the_second_halves_the_parts_of_both(
    asked: Callable[..., Any], tmp_path: Path, second: tuple[Team, Any, Path]
) -> None:
    team, _, folder = second
    material, alone, together = both(asked(), Full(batch=8), tmp_path, team)
    step = material.steps(0)[0]()
    expected = taken(alone, step, Memory(200, 0.0))
    memory, plain = Memory(200, 1e12), together.tokens.__class__.batches
    (folder / "full").touch()

    def batches(self: Any, rows: Any, most: int) -> Any:
        if memory.tokens < 200:  # it was told that memory has run out
            (folder / "full").unlink(missing_ok=True)
        return plain(self, rows, most)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together.tokens.__class__, "batches", batches)
        found = taken(together, step, memory)
    assert (memory.tokens, memory.whole) == (100, 0.0)
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    agree(expected[1], found[1])


def test_what_fails_in_the_second_is_told_by_the_first_and_the_team_goes_on(
    asked: Callable[..., Any], tmp_path: Path, second: tuple[Team, Any, Path]
) -> None:
    team, other, folder = second
    material, _, together = both(asked(), Full(batch=8), tmp_path, team)
    step = material.steps(0)[0]()
    (folder / "fails").touch()
    with pytest.raises(UserError, match="another process failed"):
        gradients(together, step, Memory(200, 0.0))
    (folder / "fails").unlink()
    assert select.select([other.stderr], [], [], 60)[0]
    assert other.stderr.readline() == "process 1 of 2: its disk is on fire\n"
    for p in together.trained().values():
        p.grad = None

    def loss(vectors: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gradients(together, Step(step.rows, loss), Memory(200, 0.0))
    assert taken(together, step, Memory(200, 0.0))[0] > 0
    assert not team.underway


def test_a_whole_training_is_that_of_one_process(
    asked: Callable[..., Any], tmp_path: Path, second: tuple[Team, Any, Path]
) -> None:
    method, given = Full(rate=2e-3, batch=32, checks=2, least_steps=6, passes=1, precision="float32"), asked()
    found = []
    for number, who in enumerate((None, second[0])):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spread, "_team", who)
            tower = tower_of(method, given.encoder)
            assert tower.team is who
            material = material_of(method, given, given.pool.hold_out(0.2, 800, 0))
            tower.read(material.texts, tmp_path / str(number))
            found.append((tower, train(tower, material, method)))
    (alone, one), (together, two) = found
    assert one.gain > 0
    np.testing.assert_allclose(two.history.checks, one.history.checks, atol=1e-4)
    assert two.strength == one.strength
    for name, p in alone.trained().items():
        np.testing.assert_allclose(together.trained()[name].detach(), p.detach(), atol=1e-4)


def test_the_second_ends_with_the_first_and_says_nothing(second: tuple[Team, Any, Path]) -> None:
    team, other, _ = second
    assert other.poll() is None
    other.send_signal(signal.SIGINT)  # Ctrl-C reaches all; it is for the first
    team.release()
    out, told = other.communicate(timeout=60)
    assert other.returncode == 0
    assert out == ""
    assert told == ""
