"""The methods that embedtune is measured against; each gets the same vectors and the same labels.

A peer is a function ``fit(queries, documents, train, dev, seed) -> (map_queries, map_documents)``:

- ``queries`` (n, d) and ``documents`` (N, d): float32, unit length; all of them, test queries too,
  whose rows hold no label in ``train`` and ``dev``;
- ``train`` and ``dev``: sparse (n, N), the positives of the two splits. ``dev`` is for choosing
  settings, epochs and step sizes, as each method does it itself;
- ``map_queries`` maps any queries, ``map_documents`` the N documents above, in their order. What they
  give is compared by inner product, as it is: a peer that means cosine gives unit vectors.

Test judgements are never passed to a peer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scipy.sparse import csr_matrix

from embedtune.types import Vectors
from peers import base, llamaindex_adapter, nudge_ft
from peers.sentence_transformers_tuning import Encode, fit_retrieval

Map = Callable[[Vectors], Vectors]
Fit = Callable[[Vectors, Vectors, csr_matrix, csr_matrix, int], tuple[Map, Map]]

BASE = "base"

PEERS: dict[str, Fit] = {
    BASE: base.fit,
    "NUDGE-M": nudge_ft.fit_m,
    "NUDGE-N": nudge_ft.fit_n,
    "linear, query": llamaindex_adapter.fit_query,
    "linear, both": llamaindex_adapter.fit_both,
    "linear, as shipped": llamaindex_adapter.fit_as_shipped,
}
"""Name in the tables -> its fit."""

TEXT_PEERS: dict[str, Callable[[str, Sequence[str], Sequence[str], csr_matrix, int], Encode]] = {
    "sentence-transformers": fit_retrieval,
}
"""Those that tune the base model itself, from its name and texts, and give another encoder: hours."""
