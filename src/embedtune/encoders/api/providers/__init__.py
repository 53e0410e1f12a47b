"""The table of providers, and from the name of a model to the one that has it."""

from __future__ import annotations

from embedtune.encoders.api.providers.base import Provider
from embedtune.errors import ModelNotFound
from embedtune.registry import Entry, Registry

__all__ = ["PROVIDERS", "provider_of"]

_HERE = "embedtune.encoders.api.providers"

PROVIDERS = Registry(
    "provider",
    {
        "openai": Entry(f"{_HERE}.openai:OpenAI", "OpenAI, and every server that speaks its protocol"),
        "azure": Entry(f"{_HERE}.openai:Azure", "Azure OpenAI, by the name of a deployment"),
        "voyage": Entry(f"{_HERE}.voyage:Voyage", "Voyage AI"),
        "cohere": Entry(f"{_HERE}.cohere:Cohere", "Cohere"),
        "gemini": Entry(f"{_HERE}.gemini:Gemini", "Google's Gemini API"),
        "vertex": Entry(f"{_HERE}.gemini:Vertex", "Google's Vertex AI"),
        "mistral": Entry(f"{_HERE}.mistral:Mistral", "Mistral AI"),
    },
)

COMPATIBLE = {
    "jina": "https://api.jina.ai/v1",
    "together": "https://api.together.xyz/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "nvidia": "https://integrate.api.nvidia.com/v1",
}
"""Providers that are reached through OpenAI's protocol."""

UNKNOWN = ("bedrock", "google")
"""Prefixes that other tools use, and no provider here has."""


def provider_of(name: str, api_base: str | None = None) -> Provider | None:
    """Give who has the model called ``name``, or None where it is none of an API.

    Parameters
    ----------
    name : str
        ``openai:MODEL``, ``voyage:MODEL``, …; or a model's own name, where it tells who has it.
    api_base : str, optional
        Where a compatible server is: any name is then taken to be that of its model.

    Raises
    ------
    ModelNotFound
        When the prefix is that of a provider who is not here, or no model follows it.

    Examples
    --------
    >>> provider_of("text-embedding-3-large").name, provider_of("voyage:voyage-3.5").model
    ('openai', 'voyage-3.5')
    >>> provider_of("all-MiniLM-L6-v2") is None
    True
    """
    prefix, colon, rest = name.partition(":")
    if colon and prefix in PROVIDERS:
        if not rest:
            raise ModelNotFound("the name of the model is empty", where=name, fix=f"write {prefix}:MODEL")
        found: Provider = PROVIDERS.load(prefix)(rest)
        return found
    if api_base is not None:
        compatible: Provider = PROVIDERS.load("openai")(name)
        return compatible
    if colon and prefix.lower() in (*COMPATIBLE, *UNKNOWN):
        base = COMPATIBLE.get(prefix.lower(), "URL")
        raise ModelNotFound(
            f"{name!r} is no name that is known here",
            fix=f"reach it through OpenAI's protocol: {rest} with --api-base {base} and --api-key-env NAME, "
            f"or choose from {', '.join(f'{one}:MODEL' for one in PROVIDERS)}",
        )
    for one in PROVIDERS:
        kind: type[Provider] = PROVIDERS.load(one)
        if name.startswith(kind.starts):  # an empty tuple fits nothing
            return kind(name)
    return None
