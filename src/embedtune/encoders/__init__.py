"""Texts and ids to vectors: models, static tables, precomputed vectors, and the cache that they share."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedtune.encoders.cache import VectorCache
    from embedtune.encoders.cached import CachedEncoder, Progress
    from embedtune.encoders.load import load_encoder
    from embedtune.encoders.table import ENCODERS

_HOMES = {
    "ENCODERS": "embedtune.encoders.table",
    "CachedEncoder": "embedtune.encoders.cached",
    "Progress": "embedtune.encoders.cached",
    "VectorCache": "embedtune.encoders.cache",
    "load_encoder": "embedtune.encoders.load",
}

__all__ = ["ENCODERS", "CachedEncoder", "Progress", "VectorCache", "load_encoder"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a courier needs few of the modules here, and soon."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'embedtune.encoders' has no attribute {name!r}")
