"""Texts through a model in parts: their vectors, and their gradients back into the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch

from embedtune.weights.texts import Rows
from embedtune.weights.tower import Tower


class Parts:
    """Batches of texts that go through a model.

    Parameters
    ----------
    tower : Tower
        The model.
    parts : sequence of int64 arrays
        Numbers of its texts, a batch each.
    whole : bool
        Whether the backward pass finds the activations of the forward one; otherwise each part goes
        through the model once more, and memory holds the activations of one.
    """

    def __init__(self, tower: Tower, parts: Sequence[Rows], *, whole: bool) -> None:
        self.tower, self.parts, self.whole = tower, list(parts), whole
        self._kept: list[torch.Tensor] = []

    def forward(self) -> torch.Tensor | None:
        """Give the vectors, float32 (n, d), without a graph, one part after the other; None for no text."""
        if not self.parts:
            return None
        if self.whole:
            self._kept = [self.tower(part) for part in self.parts]
            return torch.cat([vectors.detach() for vectors in self._kept])
        with torch.no_grad():
            return torch.cat([self.tower(part) for part in self.parts])

    def backward(self, wanted: torch.Tensor) -> None:
        """Add to the weights' gradients what ``wanted``, (n, d), the loss's gradient by the vectors, asks."""
        pieces = torch.split(wanted, [len(part) for part in self.parts]) if self.parts else ()
        if self.whole:
            torch.autograd.backward(self._kept, pieces)
            self._kept = []
            return
        for part, piece in zip(self.parts, pieces, strict=True):
            torch.autograd.backward(self.tower(part), piece)

    def together(self) -> Any:
        """Give a context for what comes between the two; it has no effect here."""
        return contextlib.nullcontext()
