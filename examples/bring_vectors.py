"""Vectors of one's own: from an API, a database, or, as here, made on the spot. No torch.

``python examples/bring_vectors.py [FOLDER]``
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune import fine_tune
from embedtune.data import read
from embedtune.encoders.vectors import write_vectors

DATA = Path(__file__).parent / "data/pairs.csv"


def main(folder: Path) -> None:
    """Write vectors and their ids to ``folder``, and tune to them."""
    data = read(DATA)
    write_vectors(folder, "document", data.document_ids, embed(data.document_texts))
    write_vectors(folder, "query", data.query_ids, embed(data.query_texts))
    print(sorted(path.name for path in folder.iterdir()))

    tuned = fine_tune(base_model=f"vectors:{folder}", data=data)
    print(tuned.verdict.text())

    # A new query: its vector comes from where the others came from; the map is applied to it.
    new = tuned.transform.queries(embed(["pending since noon"]))
    documents = tuned.encode_documents(data.document_ids, data.document_ids)
    print("first:", data.document_ids[int(np.argmax(new @ documents.T))])


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Stand in for your model: count letter triples in 256 buckets; rows of unit length."""
    vectors = np.zeros((len(texts), 256), np.float32)
    for row, text in enumerate(texts):
        padded = f"  {text.lower()} "
        for start in range(len(padded) - 2):
            vectors[row, zlib.crc32(padded[start : start + 3].encode()) % 256] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "vectors"))
