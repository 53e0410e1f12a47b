"""Mistral AI.

References
----------
https://docs.mistral.ai/api/endpoint/embeddings; more than 512 texts or about 16,000 tokens are answered with
400, "too many tokens in batch, max is 16384".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from embedtune.encoders.api.providers.base import Limits, Provider
from embedtune.types import Kind


class Mistral(Provider):
    """Mistral AI: ``mistral-embed``, ``codestral-embed``."""

    name: ClassVar[str] = "mistral"
    base: ClassVar[str | None] = "https://api.mistral.ai/v1"
    key_variable: ClassVar[str] = "MISTRAL_API_KEY"
    starts: ClassVar[tuple[str, ...]] = ("mistral-embed", "codestral-embed")
    limits: ClassVar[Limits] = Limits(512, 16_384)

    def body(self, texts: Sequence[str], kind: Kind, dimensions: int | None) -> dict[str, Any]:
        """Give the request's JSON."""
        body: dict[str, Any] = {"model": self.model, "input": list(texts)}
        if dimensions is not None:
            body["output_dimension"] = dimensions
        return body
