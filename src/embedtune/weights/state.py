"""What a training run is made of: the weights, their moments, the best so far, and how far it is."""

from __future__ import annotations

import time
from dataclasses import asdict

import torch

from embedtune.weights.checkpoint import Checkpoint
from embedtune.weights.methods_base import Method
from embedtune.weights.plan import History, Interrupted
from embedtune.weights.step import Memory
from embedtune.weights.tower import Tower

Tensors = dict[str, torch.Tensor]

BETAS = (0.9, 0.999)


class State:
    """All that changes while weights are trained; a checkpoint holds it.

    Parameters
    ----------
    tower : Tower
        Its weights as they are now are the base's.
    method : Method
        Settings.
    checkpoint : Checkpoint, optional
        Where it is saved.
    """

    def __init__(self, tower: Tower, method: Method, checkpoint: Checkpoint | None) -> None:
        self.tower, self.checkpoint = tower, checkpoint
        self.weights = tower.trained()
        self.start: Tensors = self._now()
        self.best: Tensors = self.start
        self.memory = Memory.of(tower, method)
        self.history = History()
        groups = [
            {"params": [p for p in self.weights.values() if p.ndim > 1], "weight_decay": method.decay},
            {"params": [p for p in self.weights.values() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=method.rate, betas=BETAS)
        self.saved = time.monotonic()
        self.steady = True
        """Whether the weights are those of the last step, all of them."""

    def _now(self) -> Tensors:
        return {name: p.detach().clone() for name, p in self.weights.items()}

    def take(self, precision: str) -> None:
        """Have the model run in a precision."""
        if hasattr(self.tower, "autocast"):
            self.tower.autocast = torch.bfloat16 if precision == "bfloat16" else None

    def keep(self) -> None:
        """Take the weights as they are for the best."""
        self.best = self._now()

    def advance(self, rate: float) -> None:
        """Take a step of the optimiser."""
        self.steady = False
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.history.step += 1
        self.steady = True
        self.forget_gradients()

    def looked(self, gain: float) -> None:
        """Take down the gain on held-out rows at this step, and keep the weights if it is the best."""
        history = self.history
        self.steady = False
        history.checks.append((history.step, round(gain, 9)))
        if gain > history.best:
            history.best, history.best_step, history.waited = gain, history.step, 0
            self.keep()
        else:
            history.waited += 1
        self.steady = True

    def forget_gradients(self) -> None:
        """Leave no gradient in the weights."""
        self.optimiser.zero_grad(set_to_none=True)

    def restore(self) -> None:
        """Go on from the checkpoint."""
        if self.checkpoint is None:
            raise ValueError("there is no checkpoint")
        tensors, state = self.checkpoint.load()
        history = dict(state["history"])
        history["checks"] = [tuple(one) for one in history["checks"]]
        self.history = History(**history)
        self.take(self.history.precision)
        self.memory = Memory(self.history.tokens, float(state["whole"]))
        with torch.no_grad():
            for name, parameter in self.weights.items():
                parameter.copy_(tensors[f"now.{name}"])
                self.optimiser.state[parameter] = {
                    "step": torch.tensor(float(self.history.step)),
                    "exp_avg": tensors[f"first.{name}"].to(parameter.device),
                    "exp_avg_sq": tensors[f"second.{name}"].to(parameter.device),
                }
        best = {name: tensors[f"best.{name}"] for name in self.weights if f"best.{name}" in tensors}
        self.best = (
            {name: best[name].to(p.device) for name, p in self.weights.items()} if best else self.start
        )

    def save(self) -> None:
        """Save everything, where there is a place for it."""
        if self.checkpoint is None or not self.history.step:
            return
        tensors: Tensors = {}
        for name, parameter in self.weights.items():
            state = self.optimiser.state[parameter]
            tensors[f"now.{name}"] = parameter
            tensors[f"first.{name}"], tensors[f"second.{name}"] = state["exp_avg"], state["exp_avg_sq"]
            if self.best is not self.start:
                tensors[f"best.{name}"] = self.best[name]
        self.history.tokens = self.memory.tokens
        state = {"step": self.history.step, "history": asdict(self.history), "whole": self.memory.whole}
        self.checkpoint.save(tensors, state)
        self.saved = time.monotonic()

    def interrupted(self) -> Interrupted:
        """Save what there is, the best weights as a model too, and give what to raise.

        Where the interruption came in the middle of a change, the state saved before stays.
        """
        if self.checkpoint is None or not self.history.step or not (self.steady or self.checkpoint.exists):
            return Interrupted("interrupted: no weights were kept")
        self.forget_gradients()
        if self.steady:
            self.save()
        folder = self.checkpoint.folder
        if self.best is not self.start:
            self.tower.follow(self.start, self.best, 1.0)
            self.tower.save(folder / "best")
            gain = f"held-out gain {self.history.best:+.3f}, not judged"
            gain = f"the best weights so far ({gain}) are in {folder / 'best'}"
        else:
            gain = "no weights were better than the base's yet"
        return Interrupted(
            f"interrupted at step {self.history.step} of {self.history.total}: {gain}; go on with --resume"
        )
