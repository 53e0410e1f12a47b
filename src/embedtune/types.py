"""The Protocols and small frozen dataclasses that travel between the rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""float32, C-contiguous, (n, d); rows unit length where the similarity is cosine."""

Halves = NDArray[np.float16]
"""A table that is large, and kept in half precision."""

Kind = Literal["query", "document"]
Similarity = Literal["cosine", "dot"]
Content = Literal["text", "id", "image"]
"""What an encoder's items are."""


@runtime_checkable
class Encoder(Protocol):
    """Turns items into vectors. Unit length if ``similarity`` is cosine.

    ``content`` says what an item is: ``"text"`` for models that read texts, ``"id"`` for
    precomputed vectors, which are looked up by the id of the query or document, ``"image"`` for
    models that read images, given by their paths. A model of texts that has a true attribute
    ``images`` reads images too, given as :class:`embedtune.data.images.ImagePath`. A model that costs
    money has a method ``cost(items, kind=…)`` that estimates it, and its vectors are kept for good.
    """

    name: str
    dimension: int
    similarity: Similarity
    fingerprint: str
    """Changes whenever the vectors would."""
    max_tokens: int | None
    """Tokens read of a text; the rest is lost. None where there is no limit."""
    content: Content

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Give float32 vectors of shape (len(items), dimension), in the order of ``items``."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Give the tokens of each text before truncation, or None where that is not known."""
        ...


@runtime_checkable
class Transform(Protocol):
    """A fitted map of vectors. Never changes its input; new documents always work."""

    @property
    def kind(self) -> str:
        """Its name in the registry of transforms, and in manifests; a class attribute will do."""
        ...

    def queries(self, x: Vectors) -> Vectors:
        """Map query vectors (n, d) to (n, d')."""
        ...

    def documents(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Map document vectors (n, d) to (n, d'); ``ids`` names the rows for maps that know items."""
        ...

    def scaled(self, strength: float) -> Transform:
        """Give the same map at ``strength``: 0 is the identity, 1 is the map itself."""
        ...

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give the tensors (saved as safetensors) and the settings (saved as JSON)."""
        ...

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Transform:
        """Rebuild what ``state`` gave."""
        ...
