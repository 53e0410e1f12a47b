"""OpenAI, Azure OpenAI, and every server that speaks OpenAI's protocol.

References
----------
https://platform.openai.com/docs/api-reference/embeddings (at most 2048 texts and 300,000 tokens a request,
8192 tokens a text, no empty text); https://learn.microsoft.com/azure/ai-services/openai (v1 API: the model
is the deployment's name, the key goes into ``api-key``).
"""

from __future__ import annotations

from typing import ClassVar

from embedtune.encoders.api.providers.base import Provider


class OpenAI(Provider):
    """OpenAI, or a compatible server whose base is given."""

    base: ClassVar[str | None] = "https://api.openai.com/v1"
    starts: ClassVar[tuple[str, ...]] = ("text-embedding-3-", "text-embedding-ada-")


class Azure(Provider):
    """Azure OpenAI: ``azure:DEPLOYMENT`` with the resource's base, ``https://NAME.openai.azure.com/openai/v1``."""

    name: ClassVar[str] = "azure"
    key_variable: ClassVar[str] = "AZURE_OPENAI_API_KEY"

    def headers(self, key: str) -> dict[str, str]:
        """Give the header that carries the key."""
        return {"api-key": key}
