"""The saved folder in stock sentence-transformers, without embedtune: the same vectors.

``python examples/sentence_transformers_roundtrip.py [FOLDER]``; needs ``embedtune[demo]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from embedtune import fine_tune

DATA = Path(__file__).parent / "data/pairs.csv"
QUERY = ["when does the door close"]


def main(folder: Path) -> None:
    """Tune a map of queries, save it, and load it elsewhere."""
    # One fixed method, saved whatever the verdict: this shows the folder, not a model to keep.
    tuned = fine_tune(base_model="all-MiniLM-L6-v2", data=DATA, method="ridge", force=True)
    tuned.save(folder, overwrite=True)
    print("stock loader:", tuned.manifest["stock_loader"])

    model = SentenceTransformer(str(folder))
    ours, theirs = tuned.encode_queries(QUERY), model.encode_query(QUERY)
    print(f"largest difference: {np.abs(ours - theirs).max():.1e}")
    assert np.abs(ours - theirs).max() < 1e-5

    # The trap: this map is for queries, and plain encode() treats everything as a document.
    plain = model.encode(QUERY)
    print(f"plain encode() against encode_query(): cosine {float(plain[0] @ theirs[0]):.3f}")
    assert np.abs(plain - tuned.encoder.encode(QUERY)).max() < 1e-5  # the base's vector


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "tuned-stock"))
