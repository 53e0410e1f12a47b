"""How long training is, how fast, in which precision, and what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


class TooLittleTime(Exception):
    """The time does not suffice for training; says what would."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; says where the best weights so far are."""


@dataclass
class History:
    """How far training is."""

    step: int = 0
    total: int = 0
    best: float = 0.0
    """Best gain on held-out rows so far; 0 is the base."""
    best_step: int = 0
    waited: int = 0
    """Checks since then."""
    checks: list[tuple[int, float]] = field(default_factory=list)
    """(step, gain on held-out rows)."""
    precision: str = "float32"
    tokens: int = 0
    seconds_a_step: float = 0.0
    late: bool = False
    """Whether the time ended before training did."""


@dataclass(frozen=True)
class Trained:
    """What came of training; the tower has these weights."""

    strength: float
    """How far the weights were followed from the base's; 0 is the base."""
    gain: float
    """Mean gain on the rows held out of training, at that strength."""
    strengths: dict[float, float]
    """Gain at each strength."""
    history: History


def schedule(step: int, total: int, warm_up: float) -> float:
    """Give the share of the step size at ``step`` (from 0): up in a straight line, then down to zero.

    Examples
    --------
    >>> [schedule(step, 10, 0.2) for step in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.125]
    """
    rising = max(round(warm_up * total), 1)
    if step < rising:
        return (step + 1) / rising
    return max(total - step, 1) / max(total - rising, 1)


def can_bfloat16(tower: Any) -> bool:
    """Whether the device multiplies bfloat16 by itself, so that it may be faster."""
    if not hasattr(tower, "autocast"):
        return False
    device = getattr(tower, "device", torch.device("cpu"))
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
