"""The training loop: our own, as caching is the point.

The trainers of sentence-transformers and transformers run every text through every layer, padded to the
longest of a batch, once for each pair it is in, and save states that cannot be resumed to the same bytes.
Here a step encodes each distinct text once, in batches of like length, from cached activations, with
gradients that may be cached; what remains of a trainer is this file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np
import torch

from embedtune.errors import UserError
from embedtune.judging.problem import Scores
from embedtune.tuners.base import Budget
from embedtune.types import Vectors
from embedtune.weights.checkpoint import Checkpoint
from embedtune.weights.material.base import Material, Step
from embedtune.weights.methods_base import Method
from embedtune.weights.plan import History, Interrupted, OutOfTime, Trained, can_bfloat16, schedule
from embedtune.weights.step import Memory, gradients
from embedtune.weights.tower import Tower

Tensors = dict[str, torch.Tensor]

FEWEST = 10
"""Steps below which the time is too short to train."""

FASTER = 1.25
"""How many times as fast bfloat16 must be to be taken."""

MEASURED = 40
"""Steps from which on it is worth measuring that."""

BETAS = (0.9, 0.999)


def train(
    tower: Tower,
    material: Material,
    method: Method,
    *,
    seed: int = 0,
    budget: Budget | None = None,
    reserve: float = 0.0,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    forced: bool = False,
) -> Trained:
    """Train the weights of a tower, and follow them as far as held-out rows gain.

    Parameters
    ----------
    tower : Tower
        Its texts must have been read.
    material : Material
        Steps, and rows held out of training.
    method : Method
        Settings.
    seed : int
        Seed of the order of the steps; the same seed gives the same weights on a CPU, unless the time
        ends the work.
    budget : Budget, optional
        When to be done.
    reserve : float
        Seconds that must be left at the end.
    checkpoint : Checkpoint, optional
        Where the state is saved from time to time.
    resume : bool
        Go on from there.
    forced : bool
        Never give the base's own weights back: what was asked for is what is judged.

    Raises
    ------
    OutOfTime
        When fewer than :data:`FEWEST` steps would fit; nothing has been changed.
    UserError
        When the loss is no longer a number, or a single text does not fit into memory.
    Interrupted
        On Ctrl-C.

    References
    ----------
    Weights between the base's and the trained ones: Wortsman et al. 2022, Robust fine-tuning of zero-shot
    models (arXiv:2109.01903), section 3.
    """
    run = _Run(tower, material, method, seed, budget or Budget(), reserve, checkpoint)
    if resume and checkpoint is not None:
        run.restore()
    else:
        run.begin()
    try:
        run.train()
    except KeyboardInterrupt:
        raise run.interrupted() from None
    return run.finish(forced=forced)


class _Run:
    """A training run: weights, moments, the best so far."""

    def __init__(
        self,
        tower: Tower,
        material: Material,
        method: Method,
        seed: int,
        budget: Budget,
        reserve: float,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.tower, self.material, self.method, self.seed = tower, material, method, seed
        self.budget, self.reserve, self.checkpoint = budget, reserve, checkpoint
        self.weights = tower.trained()
        self.start: Tensors = {name: p.detach().clone() for name, p in self.weights.items()}
        self.best: Tensors = self.start
        self.memory = Memory(method.tokens, method.memory)
        self.history = History()
        groups = [
            {"params": [p for p in self.weights.values() if p.ndim > 1], "weight_decay": method.decay},
            {"params": [p for p in self.weights.values() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=method.rate, betas=BETAS)
        self.saved = time.monotonic()
        started = time.monotonic()
        self.base = self.score()
        self.seconds_a_check = time.monotonic() - started

    # --- beginning and going on ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Measure what a step takes, and plan."""
        history, steps = self.history, self.material.steps(0)
        history.total = max(self.method.least_steps, math.ceil(self.method.passes * len(steps)))
        history.precision, history.seconds_a_step = self._measured(steps)
        self._take(history.precision)
        left = self.budget.left - self.reserve
        looks = self.method.checks + len(self.method.strengths)
        affordable = (left - looks * self.seconds_a_check) / max(history.seconds_a_step, 1e-6)
        if affordable < min(FEWEST, history.total):
            needed = FEWEST * history.seconds_a_step + looks * self.seconds_a_check + self.reserve
            raise OutOfTime(
                f"tuning weights would take {needed:.0f} s at least, and {self.budget.left:.0f} s are left"
            )
        if affordable < history.total:
            history.total, history.late = int(affordable), True

    def _measured(self, steps: list[Callable[[], Step]]) -> tuple[str, float]:
        """Choose the precision; give it and the seconds that a step takes."""
        names = [self.method.precision]
        if names == ["auto"]:
            worth = self.history.total >= MEASURED and can_bfloat16(self.tower)
            names = ["float32", "bfloat16"] if worth else ["float32"]
        if len(names) == 1 and self.budget.deadline is None:
            return names[0], 0.0
        found = {name: self._timed(steps, name) for name in names}
        if len(found) == 1:
            return names[0], found[names[0]]
        name = "bfloat16" if found["float32"] > FASTER * found["bfloat16"] else "float32"
        return name, found[name]

    def _timed(self, steps: list[Callable[[], Step]], precision: str) -> float:
        self._take(precision)
        times = []
        for make in steps[:2]:
            began = time.monotonic()
            gradients(self.tower, make(), self.memory)
            self.optimiser.zero_grad(set_to_none=True)
            times.append(time.monotonic() - began)
        return float(np.mean(times[1:] or times))  # the first one also warms up

    def _take(self, precision: str) -> None:
        if hasattr(self.tower, "autocast"):
            self.tower.autocast = torch.bfloat16 if precision == "bfloat16" else None

    def restore(self) -> None:
        """Go on from the checkpoint."""
        if self.checkpoint is None:
            raise ValueError("there is no checkpoint")
        tensors, state = self.checkpoint.load()
        history = dict(state["history"])
        history["checks"] = [tuple(one) for one in history["checks"]]
        self.history = History(**history)
        self._take(self.history.precision)
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
        """Save the state, where there is a place for it."""
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

    # --- training -----------------------------------------------------------------------------------------

    def train(self) -> None:
        """Take the steps that are left."""
        history = self.history
        looks = np.unique(np.ceil(np.linspace(0, history.total, self.method.checks + 1)[1:]).astype(int))
        for step in self._steps():
            if history.waited >= self.method.patience:
                return
            left = self.budget.left - self.reserve - (1 + len(self.method.strengths)) * self.seconds_a_check
            if left <= 0:
                history.late = True
                break
            self._step(step)
            history.step += 1
            looked = history.step in looks
            if looked:
                self.look()
            self._tell()
            if looked or time.monotonic() - self.saved > self.method.checkpoint_every:
                self.save()
        if history.waited < self.method.patience and (
            not history.checks or history.checks[-1][0] != history.step
        ):
            self.look()
            self.save()

    def _steps(self) -> Iterator[Step]:
        """Make the steps from the next one on; what they are depends on their number and the seed alone."""
        turn, first = 0, 0
        while first < self.history.total:
            steps = self.material.steps(turn)
            for number, make in enumerate(steps, first):
                if number >= self.history.total:
                    return
                if number >= self.history.step:
                    yield make()
            turn, first = turn + 1, first + len(steps)

    def _step(self, step: Step) -> None:
        history = self.history
        loss = gradients(self.tower, step, self.memory)
        length = float(torch.nn.utils.clip_grad_norm_(self.weights.values(), self.method.clip))
        if not (math.isfinite(loss) and math.isfinite(length)) and history.precision == "bfloat16":
            history.precision = "float32"  # once more, with more room for large numbers
            self._take(history.precision)
            self.optimiser.zero_grad(set_to_none=True)
            loss = gradients(self.tower, step, self.memory)
            length = float(torch.nn.utils.clip_grad_norm_(self.weights.values(), self.method.clip))
        rate = self.method.rate * schedule(history.step, history.total, self.method.warm_up)
        if not math.isfinite(loss) or not math.isfinite(length):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise UserError(
                f"training stopped at step {history.step + 1} of {history.total}: the {what} is no longer a "
                f"number (step size {rate:.2g})",
                fix="see that the base's weights are finite, or train fewer of them (method layers)",
            )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def look(self) -> None:
        """Look at the gain on held-out rows, and keep the weights if it is the best."""
        history = self.history
        gain = float(np.mean(self.score() - self.base))
        history.checks.append((history.step, round(gain, 9)))
        if gain > history.best:
            history.best, history.best_step, history.waited = gain, history.step, 0
            self.best = {name: p.detach().clone() for name, p in self.weights.items()}
        else:
            history.waited += 1

    def score(self) -> Scores:
        """Score the held-out rows with the weights as they are."""
        return self.material.score(self.vectors())

    def vectors(self) -> Vectors:
        """Give the vectors of the texts that are judged, each encoded once, in full precision."""
        self._take("float32")
        rows, place = np.unique(self.material.judged, return_inverse=True)
        found: Vectors | None = None
        with torch.no_grad():
            for part in self.tower.tokens.batches(rows, self.method.tokens):
                vectors = self.tower(part).cpu().numpy()
                if found is None:
                    found = np.empty((len(rows), vectors.shape[1]), np.float32)
                found[np.searchsorted(rows, part)] = vectors
        self._take(self.history.precision)
        if found is None:
            raise ValueError("no text is judged")
        return found[place]

    def _tell(self) -> None:
        history = self.history
        gain = f": held-out gain {history.checks[-1][1]:+.3f}" if history.checks else ""
        self.budget.tell(f"tune weights{gain}", history.step, history.total)

    # --- the end ------------------------------------------------------------------------------------------

    def interrupted(self) -> Interrupted:
        """Save what there is, and give what to raise."""
        if self.checkpoint is None or not self.history.step:
            return Interrupted("interrupted: no weights were kept")
        self.optimiser.zero_grad(set_to_none=True)
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

    def finish(self, *, forced: bool) -> Trained:
        """Choose how far the best weights are followed."""
        found = {} if forced else {0.0: 0.0}
        if forced and self.best is self.start:
            self.best = {name: p.detach().clone() for name, p in self.weights.items()}
        if self.best is not self.start:
            for strength in self.method.strengths:
                self.tower.follow(self.start, self.best, strength)
                found[strength] = float(np.mean(self.score() - self.base))
        strength = max(found, key=lambda one: (found[one], -one))
        self.tower.follow(self.start, self.best, strength)
        return Trained(strength, found[strength], found, self.history)
