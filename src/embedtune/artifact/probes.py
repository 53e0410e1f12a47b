"""A dozen vectors stored with the artifact: no other vector is given before these are the same again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.errors import ArtifactError, DataError, VectorError
from embedtune.manifest import AGAIN, write_json
from embedtune.transforms import ItemDeltas
from embedtune.transforms.chain import parts_of
from embedtune.transforms.codes import before_rounding
from embedtune.transforms.files import load_tensors, save_tensors
from embedtune.types import Encoder, Kind, Transform, Vectors

TOLERANCE = 1e-4
"""Largest difference of a coordinate that counts as the same vector."""

KINDS: tuple[Kind, Kind] = ("query", "document")

VECTORS, INPUTS = "probes.safetensors", "probes.json"

TEXTS = (
    "water",
    "How do I reset my password?",
    "The train to the coast leaves at 7:45 from platform 3.",
    "sharp pain in the chest after climbing stairs",
    "def area(radius): return 3.14159 * radius ** 2",
    "Äpfel, Birnen und Kürbisse",
    "東京の天気は晴れです",
    "SELECT name FROM cities WHERE population > 100000;",
    "A contract is void where one party could not have known its terms.",
    "blue cotton shirt, size M, long sleeves",
    "Results differ between the two groups (p < 0.01, n = 248).",
    "It was not the first time that the old bridge had been closed for repairs in winter.",
)
"""Short texts of many kinds; part of the format, so they do not change."""


@dataclass(frozen=True, eq=False)
class Probes:
    """What was encoded as query and as document, the ids that went along, and the tuned vectors (n, d)."""

    query_items: tuple[str, ...]
    document_items: tuple[str, ...]
    document_ids: tuple[str, ...]
    queries: Vectors
    documents: Vectors
    tolerance: float = TOLERANCE
    """Largest difference of a coordinate that counts as the same vector; more where they were rounded."""

    @classmethod
    def make(cls, encoder: Encoder, transform: Transform) -> Probes:
        """Encode the probes through ``encoder``, past any cache, and ``transform``."""
        query_items, document_items, ids = _items(encoder, transform)
        queries, documents = _encode(encoder, transform, query_items, document_items, ids)
        return cls(query_items, document_items, ids, queries, documents, _tolerance(encoder))

    def save(self, folder: Path) -> str:
        """Write the vectors and what they were made from into ``folder``; give the vectors' file name."""
        save_tensors({"documents": self.documents, "queries": self.queries}, folder / VECTORS)
        write_json(
            {
                "queries": self.query_items,
                "documents": self.document_items,
                "document_ids": self.document_ids,
                "tolerance": self.tolerance,
            },
            folder / INPUTS,
        )
        return VECTORS

    @classmethod
    def load(cls, folder: Path) -> Probes:
        """Read what ``save`` wrote.

        Raises
        ------
        ArtifactError
            When a file is missing or damaged.
        """
        tensors = load_tensors(folder / VECTORS)
        try:
            inputs: dict[str, Any] = json.loads((folder / INPUTS).read_bytes())
            queries, documents, ids = (
                tuple(inputs[name]) for name in ("queries", "documents", "document_ids")
            )
            tolerance = float(inputs.get("tolerance", TOLERANCE))
            return cls(queries, documents, ids, tensors["queries"], tensors["documents"], tolerance)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"the probes are damaged ({error})", where=str(folder), fix=AGAIN) from None

    def verify(self, encoder: Encoder, transform: Transform, *, where: str) -> None:
        """Encode the probes again and compare.

        Raises
        ------
        ArtifactError
            When a coordinate differs by more than :data:`TOLERANCE`, or the encoder's own
            ``probe_tolerance``; or the vectors do not fit the map.
        """
        try:
            found = _encode(encoder, transform, self.query_items, self.document_items, self.document_ids)
        except VectorError as error:
            raise ArtifactError(
                f"base model {encoder.name!r} is not the one that this was saved with ({error.what})",
                where=where,
                fix="use the base model that it was tuned with",
            ) from None
        for side, now, then in zip(("query", "document"), found, (self.queries, self.documents), strict=True):
            off = np.inf if now.shape != then.shape else np.abs(now - then).max(initial=0)
            allowed = max(self.tolerance, _tolerance(encoder))
            if not off <= allowed:
                raise ArtifactError(
                    f"base model {encoder.name!r} gives other {side} vectors than when this was saved "
                    f"(largest difference {off:.2g}, allowed {allowed:g})",
                    where=where,
                    fix="use the base model and the versions of its libraries that it was tuned with",
                )


def uncached(encoder: Encoder) -> Encoder:
    """Give the encoder that does the work, without cache and deferral around it."""
    for wrapper in ("opened", "encoder"):
        encoder = getattr(encoder, wrapper, encoder)
    return encoder


def _tolerance(encoder: Encoder) -> float:
    return float(getattr(uncached(encoder), "probe_tolerance", TOLERANCE))


def known_ids(transform: Transform, limit: int) -> tuple[str, ...]:
    """Give the first ``limit`` document ids that ``transform`` has deltas for."""
    parts = parts_of(transform)
    return tuple(name for part in parts if isinstance(part, ItemDeltas) for name in part.ids[:limit])[:limit]


def _items(
    encoder: Encoder, transform: Transform
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Choose the probes: texts, half of them under ids that have deltas; or ids that the encoder knows."""
    if encoder.content == "id":
        queries, documents = (_known_items(uncached(encoder), kind) for kind in KINDS)
        return queries, documents, documents
    items: tuple[str, ...] = getattr(uncached(encoder), "probes", TEXTS)
    ids = known_ids(transform, len(items) // 2)
    return items, items, ids + ("",) * (len(items) - len(ids))


def _encode(
    encoder: Encoder,
    transform: Transform,
    queries: tuple[str, ...],
    documents: tuple[str, ...],
    ids: tuple[str, ...],
) -> tuple[Vectors, Vectors]:
    plain, transform = uncached(encoder), before_rounding(transform)  # rounding would magnify differences
    nothing = np.zeros((0, plain.dimension), np.float32)
    return (
        transform.queries(plain.encode(queries, kind="query") if queries else nothing),
        transform.documents(plain.encode(documents, kind="document") if documents else nothing, ids),
    )


def _known_items(encoder: Any, kind: Kind) -> tuple[str, ...]:
    """Give the first ids that an encoder of precomputed vectors knows; none where it lacks that kind."""
    try:
        return tuple(encoder.ids(kind)[: len(TEXTS)])
    except DataError:
        return ()
