"""The map that changes nothing: what is saved when tuning is not worth it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from embedtune.transforms.blocks import as_block
from embedtune.types import Vectors


@dataclass(frozen=True)
class Identity:
    """Give vectors back as they came, bit for bit and without a copy."""

    kind: ClassVar[str] = "identity"

    def queries(self, x: Vectors) -> Vectors:
        """Give ``x`` itself."""
        return as_block(x)

    def documents(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Give ``x`` itself."""
        return as_block(x)

    def scaled(self, strength: float) -> Identity:
        """Give the identity, whatever the strength."""
        return self

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """No tensors, no settings."""
        return {}, {}

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Identity:
        """Rebuild what ``state`` gave."""
        return cls()
