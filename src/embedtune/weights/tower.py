"""What a trainer asks of a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from embedtune.weights.texts import Rows, Texts, Tokens

if TYPE_CHECKING:
    import torch

    from embedtune.weights.spread import Team

Tell = Callable[[int, int], None]
"""Called with (texts done, texts in all)."""


class Tower(Protocol):
    """A model on torch: texts in, vectors out, and the weights of it that are trained."""

    tokens: Tokens
    """Of the texts that were given last."""
    team: Team | None
    """The processes that train it together, where there are several."""

    @property
    def per_token(self) -> float:
        """Bytes of activations that a backward pass needs, a token."""
        ...

    def read(self, texts: Texts, folder: Path, tell: Tell | None = None) -> None:
        """Tokenise the texts; what is computed once for all of them may be kept in ``folder``."""
        ...

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """Give the weights that are trained, by name, in a fixed order."""
        ...

    def __call__(self, rows: Rows) -> torch.Tensor:
        """Give the vectors of texts, float32 (n, d); unit length where the similarity is cosine."""
        ...

    def follow(self, start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], strength: float) -> None:
        """Set the weights on the way from the base's (0) to the trained ones (1)."""
        ...

    def save(self, folder: Path) -> None:
        """Write the whole model into ``folder``, an empty one, as its encoder reads it."""
        ...
