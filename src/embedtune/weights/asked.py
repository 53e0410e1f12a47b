"""What tuning weights needs to know of a run, and what came of it. Nothing heavy here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedtune.collect import Collected
from embedtune.data.dataset import Dataset
from embedtune.training.budget import Budget
from embedtune.tuners.auto import Choice, Ladder
from embedtune.types import Encoder


@dataclass(frozen=True)
class Asked:
    """All that tuning weights needs to know of a run."""

    dataset: Dataset
    encoder: Encoder
    found: Collected
    pool: Any
    ladder: Ladder
    metric: str
    test: str
    seed: int
    budget: Budget
    checkpoint: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class Kept:
    """Nothing better came of tuning weights."""

    note: str
    """Why, in one line."""
    choice: Choice | None = None
    """What was better or as good, on the rows held out; None where no weights were trained."""
    adapters: float = 0.0
    """Seconds that choosing adapters on the base's vectors took."""
    late: bool = True
    """Whether there was no time, or it ended before training did."""


@dataclass(frozen=True)
class Reached:
    """What came of tuning weights."""

    encoder: Encoder
    """The base, or the base with other weights."""
    found: Collected
    """The labels with that encoder's vectors."""
    pool: Any
    """What was chosen on, with that encoder's vectors."""
    choice: Choice
    note: str
    """One line for people."""
    late: bool = False
    """Whether the time ended before training did."""
    adapters: float = 0.0
    """Seconds that choosing adapters on the base's vectors took."""
