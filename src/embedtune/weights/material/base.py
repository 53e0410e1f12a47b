"""What a trainer asks of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from embedtune.judging.problem import Round, Scores
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


class TooFew(Exception):
    """Labels do not suffice to hold some out, and some more of what is left."""


def divided(problem: Any, share: float, most: int, seed: int) -> Round:
    """Hold out a share of a problem's rows, ``most`` at most.

    Raises
    ------
    TooFew
        When nothing would be held out, or nothing would be left.
    """
    found: Round = problem.hold_out(share, most, seed)
    if not len(found.held) or not found.train.size:
        raise TooFew("too few documents or classes have labels to hold some out of training and of choosing")
    return found


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
