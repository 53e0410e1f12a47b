"""The fitted maps of vectors: apply them, scale them, chain them, save them."""

from __future__ import annotations

from embedtune.registry import Entry, Registry
from embedtune.transforms.chain import Chain, then
from embedtune.transforms.deltas import ItemDeltas
from embedtune.transforms.files import load_transform, save_transform
from embedtune.transforms.identity import Identity
from embedtune.transforms.linear import Linear

TRANSFORMS = Registry(
    "transform",
    {
        "identity": Entry("embedtune.transforms.identity:Identity", "leaves vectors as they are"),
        "linear": Entry(
            "embedtune.transforms.linear:Linear",
            "one matrix for queries, documents, or both",
        ),
        "item_deltas": Entry("embedtune.transforms.deltas:ItemDeltas", "a shift for each known document"),
        "chain": Entry(
            "embedtune.transforms.chain:Chain",
            "several transforms, one after the other",
        ),
    },
)
"""Every kind of transform, by the name that manifests use."""

__all__ = [
    "TRANSFORMS",
    "Chain",
    "Identity",
    "ItemDeltas",
    "Linear",
    "load_transform",
    "save_transform",
    "then",
]
