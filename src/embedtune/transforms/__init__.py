"""The fitted maps of vectors: apply them, scale them, chain them, save them."""

from __future__ import annotations

from embedtune.registry import Entry, Registry
from embedtune.transforms.chain import Chain, then
from embedtune.transforms.codes import Binary, Int4, Int8
from embedtune.transforms.deltas import ItemDeltas
from embedtune.transforms.factors import ItemFactors
from embedtune.transforms.files import load_transform, save_transform
from embedtune.transforms.identity import Identity
from embedtune.transforms.linear import Linear
from embedtune.transforms.pooling import Pooled, Pooling
from embedtune.transforms.read_on import ReadOnDeltas

TRANSFORMS = Registry(
    "transform",
    {
        "identity": Entry("embedtune.transforms.identity:Identity", "leaves vectors as they are"),
        "linear": Entry(
            "embedtune.transforms.linear:Linear",
            "one matrix for queries, documents, or both",
        ),
        "item_deltas": Entry("embedtune.transforms.deltas:ItemDeltas", "a shift for each known document"),
        "read_on": Entry(
            "embedtune.transforms.read_on:ReadOnDeltas", "long documents moved to all that they say"
        ),
        "pooled": Entry("embedtune.transforms.pooling:Pooled", "vectors as they are, histories pooled"),
        "item_factors": Entry(
            "embedtune.transforms.factors:ItemFactors", "two vectors for each known item, one for histories"
        ),
        "bridge": Entry(
            "embedtune.transforms.bridge:Bridge", "stored vectors of one model to the space of another"
        ),
        "int8": Entry("embedtune.transforms.codes:Int8", "documents in one byte a dimension"),
        "int4": Entry("embedtune.transforms.codes:Int4", "documents in half a byte a dimension"),
        "binary": Entry("embedtune.transforms.codes:Binary", "documents in one bit a dimension"),
        "chain": Entry(
            "embedtune.transforms.chain:Chain",
            "several transforms, one after the other",
        ),
    },
)
"""Every kind of transform, by the name that manifests use."""

__all__ = [
    "TRANSFORMS",
    "Binary",
    "Chain",
    "Identity",
    "Int4",
    "Int8",
    "ItemDeltas",
    "ItemFactors",
    "Linear",
    "Pooled",
    "Pooling",
    "ReadOnDeltas",
    "load_transform",
    "save_transform",
    "then",
]
