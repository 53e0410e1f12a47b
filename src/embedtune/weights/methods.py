"""What can be trained of a model, and how: settings alone, so that listing them imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embedtune.errors import UserError
from embedtune.weights.methods_base import Method

__all__ = ["Full", "Layers", "Lora", "Method", "Table"]


@dataclass(frozen=True, kw_only=True)
class Layers(Method):
    """The top layers of a transformer; the activations below them are computed once and read from disk."""

    name: ClassVar[str] = "layers"
    base: ClassVar[str] = "transformer"

    layers: int = 2
    """Layers that are trained, from the top."""
    rate: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers < 1:
            raise UserError(f"layers is {self.layers}", fix="train at least the top layer: 1 or more")


@dataclass(frozen=True, kw_only=True)
class Full(Method):
    """All weights of a transformer."""

    name: ClassVar[str] = "full"
    base: ClassVar[str] = "transformer"
    rate: float = 5e-5


@dataclass(frozen=True, kw_only=True)
class Lora(Method):
    """A low-rank change of every matrix (Hu et al. 2021, arXiv:2106.09685), merged at the end."""

    name: ClassVar[str] = "lora"
    base: ClassVar[str] = "transformer"
    rate: float = 5e-4
    rank: int = 16
    """Rank of each change."""


@dataclass(frozen=True, kw_only=True)
class Table(Method):
    """The token table of a static model: every token's vector may move."""

    name: ClassVar[str] = "table"
    base: ClassVar[str] = "static"
    rate: float = 6e-2
    """In units of the table's root mean square."""
    passes: float = 6.0
    batch: int = 128
    decay: float = 0.0
    """None: it would take tokens without labels to zero."""
