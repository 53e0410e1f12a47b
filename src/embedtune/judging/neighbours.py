"""Which items lie next to one another under a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedtune.mapped import gather
from embedtune.search import top_k
from embedtune.types import Transform, Vectors

ASKED = 300
"""Rows whose neighbours are compared."""

AMONG = 20_000
"""Items that they are looked for among, at most."""

BLOCK = 4096
"""Items mapped at a time."""


def among_items(
    transform: Transform, items: Vectors, k: int, seed: int, ids: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """Give the ``k`` nearest of some items, (asked, k), without the item itself.

    Parameters
    ----------
    transform : Transform
        Its map of documents is applied.
    items : float32 array of shape (N, d)
        Unit length where the similarity is cosine.
    k : int
    seed : int
        Which up to :data:`ASKED` of up to :data:`AMONG` items are asked for.
    ids : sequence of str, optional
        Names of the items, for maps that know items.
    """
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.choice(len(items), min(len(items), AMONG), replace=False))
    asked = np.sort(rng.choice(len(kept), min(len(kept), ASKED), replace=False))

    def mapped(some: NDArray[np.int64] | slice) -> Vectors:
        rows = kept[some]
        return transform.documents(gather(items, rows), None if ids is None else [ids[row] for row in rows])

    there = np.broadcast_to(np.float32(0), (len(kept), items.shape[1]))  # for its shape alone
    found = top_k(mapped(asked), there, k + 1, block=BLOCK, document_map=mapped)[0]
    own = found == asked[:, None]
    own[~own.any(axis=1), -1] = True  # where others lie at the same place, drop the last
    return np.asarray(found[~own].reshape(len(asked), -1), np.int64)
