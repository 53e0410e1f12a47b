"""The training loop: our own, as caching is the point.

The trainers of sentence-transformers and transformers run every text through every layer, padded to the
longest of a batch, once for each pair it is in, and save states that cannot be resumed to the same bytes.
Here a step encodes each distinct text once, in batches of like length, from cached activations, with
gradients that may be cached; what remains of a trainer is this file.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch

from embedtune.errors import UserError
from embedtune.judging.problem import Scores
from embedtune.training.budget import Budget
from embedtune.types import Vectors
from embedtune.weights.checkpoint import Checkpoint
from embedtune.weights.device import wait, worth_compiling
from embedtune.weights.material.base import Material, Step
from embedtune.weights.methods_base import Method
from embedtune.weights.plan import TooLittleTime, Trained, can_bfloat16, schedule
from embedtune.weights.state import State
from embedtune.weights.step import encoded, gradients
from embedtune.weights.tower import Tower

FEWEST = 10
"""Steps below which the time is too short to train."""

FASTER = 1.25
"""How many times as fast bfloat16 must be to be taken."""

MEASURED = 40
"""Steps from which on it is worth measuring that."""

TRIED = 0.15
"""Share of the time left above which a step is not taken only to be measured."""

LONG = 500
"""Steps from which on, on a GPU, compiling the layers is worth the minute that it takes to try it."""

COMPARED = 4
"""Steps that are taken with and without; the first ones also warm up."""

log = logging.getLogger(__name__)


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
    whole: bool = False,
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
    whole : bool
        Train only if all steps fit into the time.

    Raises
    ------
    TooLittleTime
        When fewer than :data:`FEWEST` steps would fit, or not all where they must; nothing has been changed.
    UserError
        When the loss is no longer a number, or a single text does not fit into memory.
    Interrupted
        On Ctrl-C.

    References
    ----------
    Weights between the base's and the trained ones: Wortsman et al. 2022, Robust fine-tuning of zero-shot
    models (arXiv:2109.01903), section 3.
    """
    state = State(tower, method, checkpoint)
    run = _Run(state, material, method, budget or Budget(), reserve)
    if resume and checkpoint is not None:
        state.restore()
    else:
        run.begin(whole=whole)
    try:
        run.train()
    except KeyboardInterrupt:
        raise state.interrupted() from None
    state.steady = False  # from here on the weights are not those of the last step
    try:
        return run.finish(forced=forced)
    except KeyboardInterrupt:
        raise state.interrupted() from None


class _Run:
    """A training run: steps, and looks at what they bring."""

    def __init__(
        self, state: State, material: Material, method: Method, budget: Budget, reserve: float
    ) -> None:
        self.state, self.material, self.method = state, material, method
        self.budget, self.reserve, self.tower = budget, reserve, state.tower
        started = time.monotonic()
        self.base = self.score()
        self.seconds_a_check = time.monotonic() - started

    # --- planning -----------------------------------------------------------------------------------------

    def begin(self, *, whole: bool) -> None:
        """Measure what a step takes, and plan."""
        history, steps = self.state.history, self.material.steps(0)
        history.total = max(self.method.least_steps, math.ceil(self.method.passes * len(steps)))
        if self.method.compile is True and hasattr(self.tower, "compile"):
            self.tower.compile()
        history.precision, history.seconds_a_step = self._measured(steps)
        self.state.take(history.precision)
        self._compile(steps)
        left = self.budget.left - self.reserve
        looks = self.method.checks + len(self.method.strengths)
        affordable = (left - looks * self.seconds_a_check) / max(history.seconds_a_step, 1e-6)
        fewest = history.total if whole else min(FEWEST, history.total)
        if affordable < fewest:  # then looks are fewer: one on the way, one at the end, the strengths
            looks = 2 + len(self.method.strengths)
            needed = fewest * history.seconds_a_step + looks * self.seconds_a_check + self.reserve
            affordable = fewest if needed <= self.budget.left else 0
        if affordable < fewest:
            raise TooLittleTime(
                f"tuning weights would take {needed:.0f} s at least, and {self.budget.left:.0f} s are left"
            )
        if affordable < history.total:
            history.total, history.late = int(affordable), True

    def _compile(self, steps: list[Callable[[], Step]]) -> None:
        """Have the trained layers compiled, where that may be and is measured to be faster."""
        history, tower = self.state.history, cast("Any", self.tower)
        device = getattr(tower, "device", None)
        if device is None or not worth_compiling(self.method.compile, device, history.total, LONG):
            return
        plain = min(self._times(steps, history.precision, COMPARED))
        tower.compile()
        if not tower.compiled:
            return
        compiled = min(self._times(steps, history.precision, COMPARED))
        log.info("a step takes %.3f s, and %.3f s with compiled layers", plain, compiled)
        if compiled >= plain:
            tower.uncompile()
        elif history.seconds_a_step:
            history.seconds_a_step = compiled

    def _measured(self, steps: list[Callable[[], Step]]) -> tuple[str, float]:
        """Choose the precision; give it and the seconds that a step takes."""
        names = [self.method.precision]
        if names == ["auto"]:
            worth = self.state.history.total >= MEASURED and can_bfloat16(self.tower)
            names = ["float32", "bfloat16"] if worth else ["float32"]
        if len(names) == 1 and self.budget.deadline is None:
            return names[0], 0.0
        found: dict[str, float] = {}
        for name in names:
            found[name] = self._timed(steps, name)
            if self._short(found[name]):
                break
        if len(found) == 1:
            return names[0], found[names[0]]
        name = "bfloat16" if found["float32"] > FASTER * found["bfloat16"] else "float32"
        return name, found[name]

    def _timed(self, steps: list[Callable[[], Step]], precision: str) -> float:
        """Give the seconds that a step takes."""
        return float(np.mean(self._times(steps, precision, 2)))

    def _times(self, steps: list[Callable[[], Step]], precision: str, count: int) -> list[float]:
        """Give the seconds of the first steps without the very first, which also warms up."""
        self.state.take(precision)
        times = []
        for make in steps[:count]:
            began = time.monotonic()
            gradients(self.tower, make(), self.state.memory)
            self.state.forget_gradients()
            wait(self.tower)
            times.append(time.monotonic() - began)
            if self._short(times[-1]):
                break
        return times[1:] or times

    def _short(self, seconds: float) -> bool:
        """Whether the time is too short to try more steps of so many seconds, only to measure them."""
        return seconds > TRIED * (self.budget.left - self.reserve)

    # --- training -----------------------------------------------------------------------------------------

    def train(self) -> None:
        """Take the steps that are left."""
        state, history = self.state, self.state.history
        looks = np.unique(np.ceil(np.linspace(0, history.total, self.method.checks + 1)[1:]).astype(int))
        if history.step in looks:
            self._look_once()  # it was interrupted
        for step in self._steps():
            if history.waited >= self.method.patience:
                return
            left = self.budget.left - self.reserve - (1 + len(self.method.strengths)) * self.seconds_a_check
            if left <= 0:
                history.late = True
                break
            self._step(step)
            looked = history.step in looks
            if looked:
                self._look_once()
            self._tell()
            if looked or time.monotonic() - state.saved > self.method.checkpoint_every:
                state.save()
        if history.waited < self.method.patience:
            self._look_once()
            state.save()

    def _steps(self) -> Iterator[Step]:
        """Make the steps from the next one on; what they are depends on their number and the seed alone."""
        turn, first, history = 0, 0, self.state.history
        while first < history.total:
            steps = self.material.steps(turn)
            for number, make in enumerate(steps, first):
                if number >= history.total:
                    return
                if number >= history.step:
                    yield make()
            turn, first = turn + 1, first + len(steps)

    def _step(self, step: Step) -> None:
        state, history = self.state, self.state.history
        loss, length = self._gradient(step)
        if not (math.isfinite(loss) and math.isfinite(length)) and history.precision == "bfloat16":
            history.precision = "float32"  # once more, with more room for large numbers
            state.take(history.precision)
            state.forget_gradients()
            loss, length = self._gradient(step)
        rate = self.method.rate * schedule(history.step, history.total, self.method.warm_up)
        if not math.isfinite(loss) or not math.isfinite(length):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise UserError(
                f"training stopped at step {history.step + 1} of {history.total}: the {what} is no longer a "
                f"number (step size {rate:.2g})",
                fix="see that the base's weights are finite, or train fewer of them (method layers)",
            )
        state.advance(rate)

    def _gradient(self, step: Step) -> tuple[float, float]:
        """Leave a step's gradient in the weights, cut to its longest; give the loss, and how long it was."""
        loss = gradients(self.tower, step, self.state.memory)
        return loss, float(torch.nn.utils.clip_grad_norm_(self.state.weights.values(), self.method.clip))

    def _look_once(self) -> None:
        """Look at the gain on held-out rows, and keep the weights if it is the best."""
        history = self.state.history
        if history.checks and history.checks[-1][0] == history.step:
            return
        self.state.looked(float(np.mean(self.score() - self.base)))

    def score(self) -> Scores:
        """Score the held-out rows with the weights as they are."""
        return self.material.score(self.vectors())

    def vectors(self) -> Vectors:
        """Give the vectors of the texts that are judged, each encoded once, in full precision."""
        self.state.take("float32")
        rows, place = np.unique(self.material.judged, return_inverse=True)
        found: Vectors = encoded(self.tower, rows, self.method.tokens).cpu().numpy()
        self.state.take(self.state.history.precision)
        return found[place]

    def _tell(self) -> None:
        history = self.state.history
        gain = f": held-out gain {history.checks[-1][1]:+.3f}" if history.checks else ""
        self.budget.tell(f"tune weights{gain}", history.step, history.total)

    # --- the end ------------------------------------------------------------------------------------------

    def finish(self, *, forced: bool) -> Trained:
        """Choose how far the best weights are followed."""
        state = self.state
        found = {} if forced else {0.0: 0.0}
        if forced and state.best is state.start:
            state.keep()
        if state.best is not state.start:
            for strength in self.method.strengths:
                self.tower.follow(state.start, state.best, strength)
                found[strength] = float(np.mean(self.score() - self.base))
        strength = max(found, key=lambda one: (found[one], -one))
        self.tower.follow(state.start, state.best, strength)
        return Trained(strength, found[strength], found, state.history)
