"""Texts and ids to vectors: models, static tables, precomputed vectors, and the cache that they share."""

from __future__ import annotations

from embedtune.encoders.cache import VectorCache
from embedtune.encoders.cached import CachedEncoder, Progress
from embedtune.encoders.load import load_encoder
from embedtune.encoders.table import ENCODERS

__all__ = ["ENCODERS", "CachedEncoder", "Progress", "VectorCache", "load_encoder"]
