"""Cohere, version 2 of its API.

References
----------
https://docs.cohere.com/reference/embed: at most 96 texts a request; ``input_type`` is required;
``output_dimension`` from embed-v4 on; ``truncate`` cuts the end; the vectors are in the order of the texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from embedtune.encoders.api.providers.base import Limits, Provider
from embedtune.types import Kind

INPUT_TYPES: dict[Kind, str] = {"query": "search_query", "document": "search_document"}


class Cohere(Provider):
    """Cohere: ``embed-v4.0``, ``embed-english-v3.0``, ``embed-multilingual-v3.0`` and others."""

    name: ClassVar[str] = "cohere"
    base: ClassVar[str | None] = "https://api.cohere.com/v2"
    key_variable: ClassVar[str] = "CO_API_KEY"
    starts: ClassVar[tuple[str, ...]] = ("embed-v4", "embed-english-", "embed-multilingual-")
    input_types: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits(96)

    def url(self, base: str) -> str:
        """Give where to post to."""
        return f"{base}/embed"

    def body(self, texts: Sequence[str], kind: Kind, dimensions: int | None) -> dict[str, Any]:
        """Give the request's JSON."""
        body: dict[str, Any] = {
            "model": self.model,
            "texts": list(texts),
            "input_type": INPUT_TYPES[kind],
            "embedding_types": ["float"],
            "truncate": "END",
        }
        if dimensions is not None:
            body["output_dimension"] = dimensions
        return body

    def rows(self, answer: Mapping[str, Any]) -> list[tuple[int, Any]]:
        """Give the vectors, in the order of the texts."""
        return list(enumerate(answer["embeddings"]["float"]))

    def tokens(self, answer: Mapping[str, Any]) -> int | None:
        """Give the billed tokens."""
        billed = (answer.get("meta") or {}).get("billed_units") or {}
        tokens = billed.get("input_tokens")
        return None if tokens is None else int(tokens)
