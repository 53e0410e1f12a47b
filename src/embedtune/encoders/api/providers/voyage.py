"""Voyage AI.

References
----------
https://docs.voyageai.com/reference/embeddings-api: at most 1,000 texts a request; 1M, 320K or 120K tokens,
by model; ``input_type`` puts a prompt before the text; ``truncation`` cuts long texts; base64 is float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from embedtune.encoders.api.providers.base import Limits, Provider
from embedtune.types import Kind


class Voyage(Provider):
    """Voyage AI: queries and documents have prompts of their own."""

    name: ClassVar[str] = "voyage"
    base: ClassVar[str | None] = "https://api.voyageai.com/v1"
    key_variable: ClassVar[str] = "VOYAGE_API_KEY"
    starts: ClassVar[tuple[str, ...]] = ("voyage-",)
    input_types: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits(1000, 120_000)

    def body(self, texts: Sequence[str], kind: Kind, dimensions: int | None) -> dict[str, Any]:
        """Give the request's JSON."""
        body: dict[str, Any] = {
            "model": self.model,
            "input": list(texts),
            "input_type": kind,
            "truncation": True,
            "encoding_format": "base64",
        }
        if dimensions is not None:
            body["output_dimension"] = dimensions
        return body
