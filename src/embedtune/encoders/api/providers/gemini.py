"""Google: the Gemini API, and the same models on Vertex AI.

References
----------
https://ai.google.dev/api/embeddings: ``batchEmbedContents`` takes at most 100 texts; vectors of fewer
dimensions than the model's own are not normalised there. Answers do not say how many tokens they cost.
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api: at most 250 texts
and 20,000 tokens a request, for gemini-embedding-001 one text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from embedtune.encoders.api.providers.base import Limits, Provider
from embedtune.types import Kind

TASKS: dict[Kind, str] = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}


class Google(Provider):
    """What both share: errors in the form of google.rpc.Status.

    References
    ----------
    https://cloud.google.com/apis/design/errors: ``error.details`` has an ``ErrorInfo`` with a ``reason``, and
    for a limit a ``RetryInfo`` with ``retryDelay``, seconds such as ``"36s"``; there is no Retry-After.
    """

    def refuses_key(self, status: int, body: Any) -> bool:
        """Say whether the key is refused: a wrong one of the Gemini API is answered with 400."""
        reasons = [one.get("reason") for one in _details(body)]
        return super().refuses_key(status, body) or "API_KEY_INVALID" in reasons

    def wait(self, body: Any) -> float | None:
        """Give the seconds of ``RetryInfo``."""
        for one in _details(body):
            found = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(one.get("retryDelay", "")))
            if found:
                return float(found[1])
        return None


def _details(body: Any) -> list[Mapping[str, Any]]:
    """Give the details of an error."""
    inner = body.get("error") if isinstance(body, Mapping) else None
    found = inner.get("details") if isinstance(inner, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


class Gemini(Google):
    """The Gemini API."""

    name: ClassVar[str] = "gemini"
    base: ClassVar[str | None] = "https://generativelanguage.googleapis.com/v1beta"
    key_variable: ClassVar[str] = "GEMINI_API_KEY"
    starts: ClassVar[tuple[str, ...]] = ("gemini-embedding-",)
    input_types: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits(100)

    def url(self, base: str) -> str:
        """Give where to post to."""
        return f"{base}/models/{self.model}:batchEmbedContents"

    def headers(self, key: str) -> dict[str, str]:
        """Give the header that carries the key, which is never in the address."""
        return {"x-goog-api-key": key}

    def body(self, texts: Sequence[str], kind: Kind, dimensions: int | None) -> dict[str, Any]:
        """Give the request's JSON."""
        shared: dict[str, Any] = {"model": f"models/{self.model}", "taskType": TASKS[kind]}
        if dimensions is not None:
            shared["outputDimensionality"] = dimensions
        return {"requests": [{**shared, "content": {"parts": [{"text": text}]}} for text in texts]}

    def rows(self, answer: Mapping[str, Any]) -> list[tuple[int, Any]]:
        """Give the vectors, in the order of the texts."""
        return [(number, one["values"]) for number, one in enumerate(answer["embeddings"])]

    def tokens(self, answer: Mapping[str, Any]) -> int | None:
        """Give the tokens where the answer has them."""
        tokens = (answer.get("usageMetadata") or {}).get("promptTokenCount")
        return None if tokens is None else int(tokens)


class Vertex(Google):
    """Vertex AI: ``vertex:MODEL``; its key is what ``gcloud auth print-access-token`` prints.

    Its base is ``https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION``, without
    the prefix for the location ``global``: made from ``GOOGLE_CLOUD_PROJECT`` and ``GOOGLE_CLOUD_LOCATION``
    where it is not given.
    """

    name: ClassVar[str] = "vertex"
    key_variable: ClassVar[str] = "VERTEX_ACCESS_TOKEN"
    input_types: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits(250, 20_000)

    def __init__(self, model: str) -> None:
        super().__init__(model)
        project, place = os.environ.get("GOOGLE_CLOUD_PROJECT"), os.environ.get("GOOGLE_CLOUD_LOCATION")
        if project and place:
            region = "" if place == "global" else f"{place}-"
            host = f"https://{region}aiplatform.googleapis.com/v1"
            self.base = f"{host}/projects/{project}/locations/{place}"  # type: ignore[misc]

    def url(self, base: str) -> str:
        """Give where to post to."""
        return f"{base}/publishers/google/models/{self.model}:predict"

    def body(self, texts: Sequence[str], kind: Kind, dimensions: int | None) -> dict[str, Any]:
        """Give the request's JSON."""
        parameters: dict[str, Any] = {"autoTruncate": True}
        if dimensions is not None:
            parameters["outputDimensionality"] = dimensions
        instances = [{"content": text, "task_type": TASKS[kind]} for text in texts]
        return {"instances": instances, "parameters": parameters}

    def rows(self, answer: Mapping[str, Any]) -> list[tuple[int, Any]]:
        """Give the vectors, in the order of the texts."""
        return [(number, one["embeddings"]["values"]) for number, one in enumerate(answer["predictions"])]

    def tokens(self, answer: Mapping[str, Any]) -> int | None:
        """Give the tokens of all texts, where each says how many it has."""
        known = [one["embeddings"].get("statistics") or {} for one in answer["predictions"]]
        counts = [int(one["token_count"]) for one in known if "token_count" in one]
        return sum(counts) if len(counts) == len(known) else None
