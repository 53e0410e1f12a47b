"""The settings that every method of tuning weights shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embedtune.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Method:
    """How weights are trained: AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), warm-up, decay."""

    name: ClassVar[str]
    base: ClassVar[str]
    """Kind of encoder that it tunes."""
    tasks: ClassVar[tuple[str, ...]] = ("retrieval", "classification", "similarity")
    needs: ClassVar[str] = "weights"

    rate: float = 5e-5
    """Step size at its highest: after the warm-up; it falls to zero in a straight line."""
    passes: float = 2.0
    """Passes over the training rows, unless the time ends or nothing is gained any more."""
    least_steps: int = 60
    """Steps taken at least, so that few labels are learnt too."""
    batch: int = 64
    """Rows a step: queries, labelled items or pairs."""
    hard: int = 1
    """Hard negatives a query."""
    scale: float = 20.0
    """Inverse temperature, for vectors of unit length."""
    warm_up: float = 0.1
    """Share of the steps in which the step size grows from zero."""
    decay: float = 0.01
    """Weight decay of the matrices."""
    clip: float = 1.0
    """Longest gradient."""
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """How far the weights are followed from the base's; 0, the base itself, is always tried."""
    checks: int = 6
    """Times that the gain on held-out rows is looked at."""
    patience: int = 3
    """Checks without a better gain after which training ends."""
    validation: int = 200
    """Rows held out of training for these checks, at most."""
    tokens: int = 1024
    """Tokens that go through the model at once, padding included: what the caches of a core hold. On a GPU
    :data:`embedtune.weights.device.GPU_TOKENS` at least."""
    memory: float = 1.5e9
    """Bytes of activations up to which a step goes through the model once; above that, twice but in parts."""
    precision: str = "auto"
    """``"float32"``, ``"bfloat16"``, or ``"auto"``: whichever is measured to be faster by a quarter."""
    compile: bool | str = "auto"
    """Whether torch compiles the trained layers: True, False, or ``"auto"``: in a long run on a GPU, where
    that is measured to be faster."""
    checkpoint_every: float = 60.0
    """Seconds between two checkpoints."""
    warm: bool = False
    """Whether weights train under the adapter of the base's vectors, see :mod:`embedtune.weights.head`."""
    layers: int = 0
    """Top layers that are trained; 0 for all."""
    distil: float = 0.0
    """Share of the loss that follows a teacher's scores, from 0 to 1; its labels train in any case."""
    distil_by: str = "margins"
    """What of the scores is followed: ``"margins"``, how far the first of a query's documents is ahead of
    each other one, or the ``"softmax"`` over them."""
    candidates: int = 8
    """Documents of a query whose scores are followed in a step."""
    matryoshka: tuple[int, ...] = ()
    """Numbers of leading dimensions that each are to serve alone, the full one among them; none for plain
    training."""

    def __post_init__(self) -> None:
        if not 0 <= self.distil <= 1:
            raise UserError(f"distil is {self.distil}", fix="give a share from 0 to 1")
        if self.distil_by not in ("softmax", "margins"):
            raise UserError(f"distil_by is {self.distil_by!r}", fix="choose from margins, softmax")
