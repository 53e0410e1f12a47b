"""What a trainer asks of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from embedtune.judging.problem import Scores
from embedtune.types import Vectors
from embedtune.weights.texts import Rows, Texts

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Step:
    """One batch: which texts are encoded, each once, and what is wanted of their vectors."""

    rows: Rows
    """Numbers of the texts, distinct, (m,)."""
    loss: Callable[[torch.Tensor], torch.Tensor]
    """Takes the vectors (m, d) of ``rows``, unit length where the similarity is cosine, to a number."""


class Material(Protocol):
    """One task's training rows, and rows held out of training that say when to stop."""

    texts: Texts
    judged: Rows
    """Numbers of the texts whose vectors :meth:`score` needs."""

    def steps(self, turn: int) -> list[Callable[[], Step]]:
        """Give the steps of one pass, each made when it is called; ``turn`` and the seed decide the order."""
        ...

    def score(self, vectors: Vectors) -> Scores:
        """Score each held-out row, (v,), from the vectors of ``judged``; the higher the better."""
        ...
