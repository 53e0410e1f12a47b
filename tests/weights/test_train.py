"""Training: it helps where it can, never harms, resumes to the same bytes, and says why it stops."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import embedtune
from embedtune.errors import ArtifactError, UserError
from embedtune.training.budget import Budget
from embedtune.weights.checkpoint import Checkpoint
from embedtune.weights.methods import Full, Layers, Method
from embedtune.weights.plan import Interrupted, TooLittleTime, Trained, schedule
from embedtune.weights.train import train
from embedtune.weights.work import material_of, tower_of

QUICK = Full(rate=2e-3, passes=2, batch=16, checks=4, precision="float32")
PRINT = {"version": "1", "data": "d", "base": "b", "settings": "s"}


def run(asked: Any, folder: Path, method: Method = QUICK, **options: Any) -> tuple[Any, Trained]:
    round_ = asked.pool.hold_out(0.2, 800, asked.seed)
    material = material_of(method, asked, round_)
    tower = tower_of(method, asked.encoder)
    tower.read(material.texts, folder)
    if "seconds" in options:
        options["budget"] = Budget(time.monotonic() + options.pop("seconds"))
    return tower, train(tower, material, method, **options)


def state(tower: Any) -> dict[str, bytes]:
    return {name: p.detach().numpy().tobytes() for name, p in tower.trained().items()}


def test_weights_learn_what_the_labels_say(asked: Callable[..., Any], tmp_path: Path) -> None:
    _, trained = run(asked(), tmp_path)
    assert trained.gain > 0.1
    assert trained.gain == max(trained.strengths.values())
    assert trained.strengths[0.0] == 0
    assert trained.history.best == pytest.approx(max(gain for _, gain in trained.history.checks))


def test_weights_that_lose_are_not_followed(asked: Callable[..., Any], tmp_path: Path) -> None:
    before = state(tower_of(QUICK, asked().encoder))
    wild = replace(QUICK, rate=3.0, clip=1e6)
    tower, trained = run(asked(), tmp_path, wild)
    assert trained.strength == 0.0
    assert trained.gain == 0.0
    assert state(tower) == before
    tower, trained = run(asked(), tmp_path, wild, forced=True)
    assert trained.strength > 0
    assert state(tower) != before


def test_training_ends_when_nothing_is_gained_any_more(asked: Callable[..., Any], tmp_path: Path) -> None:
    wild = replace(QUICK, rate=3.0, clip=1e6, passes=6, checks=12, patience=2)
    _, trained = run(asked(), tmp_path, wild)
    assert len(trained.history.checks) == 2
    assert trained.history.step < trained.history.total


class Stop(Exception):
    """Stands for a kill."""


def stops_at(step: int) -> Budget:
    def tell(stage: str, done: int, total: int) -> None:
        if stage.startswith("tune weights") and done == step:
            raise Stop

    return Budget(progress=tell)


def test_a_resumed_run_gives_the_bytes_of_an_unbroken_one(asked: Callable[..., Any], tmp_path: Path) -> None:
    often = replace(QUICK, checkpoint_every=0.0, checks=8)
    whole, first = run(asked(), tmp_path / "a", often)
    place = Checkpoint(tmp_path / "kept", PRINT)
    for step in (5, 13):
        with pytest.raises(Stop):
            run(asked(), tmp_path / "b", often, checkpoint=place, resume=place.exists, budget=stops_at(step))
        assert json.loads((place.folder / "state.json").read_text())["step"] == step - 1
    resumed, second = run(asked(), tmp_path / "c", often, checkpoint=place, resume=True)
    assert state(resumed) == state(whole)
    assert (second.gain, second.strength, second.history.checks) == (
        first.gain,
        first.strength,
        first.history.checks,
    )


@pytest.mark.parametrize(
    ("part", "words"),
    [("version", "another version"), ("data", "another dataset"), ("base", "another base model"),
     ("settings", "other settings")],
)  # fmt: skip
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, part: str, words: str) -> None:
    Checkpoint(tmp_path, PRINT).save({"a": torch.zeros(2)}, {"step": 1})
    with pytest.raises(UserError, match=f"the checkpoint is of {words}"):
        Checkpoint(tmp_path, {**PRINT, part: "other"}).load()


def test_a_checkpoint_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    place = Checkpoint(tmp_path / "kept", PRINT)
    with pytest.raises(UserError, match="no checkpoint to go on from"):
        place.load()
    place.save({"a": torch.arange(3.0)}, {"step": 1})
    place.save({"a": torch.arange(4.0)}, {"step": 2})
    tensors, read = place.load()
    assert tensors["a"].tolist() == [0, 1, 2, 3]
    assert read["step"] == 2
    (file,) = place.folder.glob("*.safetensors")  # the older one is gone
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        place.load()


def test_an_interruption_saves_the_best_so_far(asked: Callable[..., Any], tmp_path: Path) -> None:
    def tell(stage: str, done: int, total: int) -> None:
        if done == total - 2 and done > 5:
            raise KeyboardInterrupt

    place = Checkpoint(tmp_path / "kept", PRINT)
    with pytest.raises(Interrupted, match="go on with --resume"):
        run(asked(), tmp_path, checkpoint=place, budget=Budget(progress=tell))
    from embedtune.encoders import load_encoder

    best = load_encoder(str(place.folder / "best"), cache=False).encode(["heart ache"])
    assert np.abs(best - asked().encoder.encode(["heart ache"])).max() > 0.01


def test_weights_that_are_no_longer_numbers_stop_training(asked: Callable[..., Any], tmp_path: Path) -> None:
    given = asked()
    round_ = given.pool.hold_out(0.2, 800, 0)
    material, tower = material_of(QUICK, given, round_), tower_of(QUICK, given.encoder)
    tower.read(material.texts, tmp_path)

    def tell(stage: str, done: int, total: int) -> None:
        if done == 3:
            with torch.no_grad():
                next(iter(tower.trained().values()))[:] = float("nan")

    with pytest.raises(UserError, match=r"stopped at step 4 of \d+: the loss is no longer a number"):
        train(tower, material, QUICK, budget=Budget(progress=tell))


def test_too_little_time_is_told_before_training(asked: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(TooLittleTime, match="would take"):
        run(asked(), tmp_path, seconds=100, reserve=99.99)


def test_the_time_that_is_left_bounds_the_steps(asked: Callable[..., Any], tmp_path: Path) -> None:
    _, trained = run(asked(), tmp_path, replace(QUICK, passes=10_000), seconds=6)
    assert trained.history.late
    assert trained.history.step <= trained.history.total < 10_000 * 10


def test_the_same_seed_gives_the_same_weights(asked: Callable[..., Any], tmp_path: Path) -> None:
    short = replace(QUICK, passes=0.5)
    first, second = (state(run(asked(), tmp_path, short)[0]) for _ in range(2))
    assert first == second
    assert state(run(asked(), tmp_path, short, seed=1)[0]) == first  # the material has a seed of its own


def test_the_step_size_rises_and_falls() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1
    assert rates[99] == pytest.approx(1 / 90)
    assert np.all(np.diff(rates[9:]) <= 0)


def test_layers_train_only_the_top(asked: Callable[..., Any], tmp_path: Path) -> None:
    method = Layers(layers=1, rate=2e-3, batch=16, precision="float32")
    before = tower_of(Full(), asked().encoder)
    tower, trained = run(asked(), tmp_path, method)
    assert trained.gain > 0
    changed = [
        name
        for (name, a), b in zip(
            tower.model.state_dict().items(), before.model.state_dict().values(), strict=True
        )
        if not torch.equal(a, b)
    ]
    changed = [name for name in changed if ".pooler." not in name]  # made up anew whenever it is loaded
    assert changed
    assert all(".layer.1." in name for name in changed)


KILLED = """
import json, sys
from pathlib import Path
from embedtune.collect import collect
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.training.budget import Budget
from embedtune.tuners.ladders import LADDERS
from embedtune.weights.methods import Full
from embedtune.weights.asked import Asked
from embedtune.weights.train import train
from embedtune.weights.work import checkpoint_of, material_of, tower_of

data, base = read(json.loads(Path(sys.argv[1]).read_text())), load_encoder(sys.argv[2])
out, ladder = Path(sys.argv[3]), LADDERS["retrieval"]
found = collect(data, base, test="test")
asked = Asked(data, base, found, found.train, ladder, "ndcg@10", "test", 0, Budget(), out / "kept")
method = Full(rate=2e-3, batch=8, passes=4, checkpoint_every=0.0, precision="float32")
material, tower = material_of(method, asked, found.train.hold_out(0.2, 800, 0)), tower_of(method, base)
tower.read(material.texts, out)
train(tower, material, method, checkpoint=checkpoint_of(method, asked), resume="--resume" in sys.argv)
tower.save(out / "model")
"""


def test_a_killed_process_goes_on_to_the_same_bytes(
    rows: list[dict[str, str]], deep_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, script = tmp_path / "rows.json", tmp_path / "script.py"
    data.write_text(json.dumps(rows))
    script.write_text(KILLED)
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()

    def command(name: str, *more: str) -> list[str]:
        return [str(script), str(data), str(deep_model), str(tmp_path / name), *more]

    source = str(Path(embedtune.__file__).parents[1])
    broken = subprocess.Popen([sys.executable, *command("broken")], env={**os.environ, "PYTHONPATH": source})
    marker = tmp_path / "broken/kept/state.json"
    while not (marker.exists() and json.loads(marker.read_text())["step"] >= 5):
        assert broken.poll() is None
        time.sleep(0.01)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    for line in (command("whole"), command("broken", "--resume")):
        monkeypatch.setattr(sys, "argv", line)
        runpy.run_path(str(script))
    a, b = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "broken"))
    assert a.read_bytes() == b.read_bytes()
    assert a.read_bytes() != (deep_model / "model.safetensors").read_bytes()
