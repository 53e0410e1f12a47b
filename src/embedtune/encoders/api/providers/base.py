"""What a provider of embeddings must say of its HTTP API: one small class, one file a family."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

from embedtune.types import Kind


class Unusable(Exception):
    """An answer that is not what the provider's documentation promises; another try may be."""


@dataclass(frozen=True)
class Limits:
    """What one request may hold."""

    items: int
    """Texts."""
    tokens: int | None = None
    """Tokens of all texts together; None where the provider names no limit."""


@dataclass(frozen=True)
class Facts:
    """What is known of a model before it is asked."""

    dimension: int | None = None
    """Of its vectors, where no other is asked for."""
    max_tokens: int | None = None
    """Tokens read of a text."""
    items: int | None = None
    """Texts of a request, where that is not the provider's own limit."""
    tokens: int | None = None
    """Tokens of a request, where that is not the provider's own limit."""


class Provider:
    """One API: where it is, how it is asked, how its answers are read.

    This class speaks OpenAI's protocol, which most others have taken over; a provider overrides what
    differs. Nothing here sends anything: :class:`embedtune.encoders.api.encoder.ApiEncoder` does.

    Parameters
    ----------
    model : str
        What the provider calls the model.
    """

    name: ClassVar[str] = "openai"
    """Its name in the registry, and before the colon of ``openai:MODEL``."""
    base: ClassVar[str | None] = None
    """Where it is; None where that must be given."""
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    starts: ClassVar[tuple[str, ...]] = ()
    """How the names of its models begin that need no prefix."""
    input_types: ClassVar[bool] = False
    """Whether queries and documents get different vectors."""
    limits: ClassVar[Limits] = Limits(2048, 300_000)
    """What its documentation allows for one request."""

    def __init__(self, model: str) -> None:
        self.model = model

    @property
    def facts(self) -> Facts:
        """What is known of the model."""
        return model_facts().get(self.name, {}).get(self.model, Facts())

    def url(self, base: str) -> str:
        """Give where to post to, from the API's base without a slash at its end."""
        return f"{base}/embeddings"

    def headers(self, key: str) -> dict[str, str]:
        """Give the headers that carry the key."""
        return {"Authorization": f"Bearer {key}"}

    def body(self, texts: Sequence[str], kind: Kind, dimensions: int | None) -> dict[str, Any]:
        """Give the request's JSON."""
        body: dict[str, Any] = {"model": self.model, "input": list(texts), "encoding_format": "base64"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        return body

    def rows(self, answer: Mapping[str, Any]) -> list[tuple[int, Any]]:
        """Give (number of the text in the request, its vector) for each vector of an answer.

        A vector is a list of numbers, or a string: little-endian float32 in base64.

        Raises
        ------
        KeyError, TypeError, ValueError
            When the answer has another form.
        """
        return [(int(row["index"]), row["embedding"]) for row in answer["data"]]

    def tokens(self, answer: Mapping[str, Any]) -> int | None:
        """Give the tokens that are charged for, or None where the answer does not say."""
        usage = answer.get("usage") or {}
        return usage.get("total_tokens", usage.get("prompt_tokens"))

    def refuses_key(self, status: int, body: Any) -> bool:
        """Say whether an answer means that the key is missing or wrong."""
        return status in (401, 403)

    def wait(self, body: Any) -> float | None:
        """Give the seconds that an answer's body asks to wait, where its headers do not."""
        return None


@cache
def model_facts() -> dict[str, dict[str, Facts]]:
    """Give what is known of models, by provider and name."""
    read = tomllib.loads((files(__package__) / "models.toml").read_text("utf-8"))
    return {
        provider: {name: Facts(**facts) for name, facts in models.items()}
        for provider, models in read.items()
    }
