"""Smaller vectors: fewer dimensions and fewer bits, judged beside the full ones; the least within noise."""

from embedtune.sizes.asked import Dims, checked_dims, parse_dims, widths
from embedtune.sizes.choosing import choose_size
from embedtune.sizes.size import Size, size_lines, size_of
from embedtune.sizes.verdict import with_sizes

__all__ = [
    "Dims",
    "Size",
    "checked_dims",
    "choose_size",
    "parse_dims",
    "size_lines",
    "size_of",
    "widths",
    "with_sizes",
]
