"""What a dataset and an encoder become: labels that train, labels that judge, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.judging.problem import Problem

DEV = "dev"
"""The split that trains too, and judges a map that was trained on the others."""


@dataclass(frozen=True)
class Collected:
    """The labels that train, and those that judge."""

    train: Problem
    train_texts: list[str]
    """What each row of ``train`` says, for people."""
    labels: int
    """What is counted as labels: queries, items, pairs or users."""
    metrics: tuple[str, ...]
    """The task's metrics; the first decides unless another is asked for."""
    test: Problem | None = None
    """None where there is no test split; the verdict is then given out of fold."""
    test_texts: list[str] = field(default_factory=list)
    """What each of ``test_rows`` says."""
    test_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """The rows of ``test`` that are judged."""
    test_train: Any = None
    """What ``test`` was trained on, as its ``evaluate`` takes it."""
    test_strata: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Which of ``test_rows`` are in which stratum."""
    test_natural: NDArray[np.bool_] | None = None
    """Which of ``test_rows`` count overall; the others count in their strata alone. None for all."""
    train_from: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Row of the dataset's queries, items, pairs or (in the order of their ids) users behind each of
    ``train``."""
    test_from: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """The same of ``test_rows``."""
    made: bool = False
    """Whether all labels that train were made from the collection itself, so that they judge nothing."""
