"""The table of stores, by the scheme of their URLs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from embedtune.registry import Entry, Registry
from embedtune.stores.base import Store
from embedtune.stores.url import StoreURL

_PGVECTOR = Entry(
    "embedtune.stores.pgvector:PgVector",
    "Postgres with pgvector: postgresql://user@host/db?table=docs&column=embedding",
    extra="pgvector",
    module="psycopg",
)

_FOLDER = Entry(
    "embedtune.stores.folder:Folder",
    "Parquet or NumPy files: parquet:///folder, parquet:///file.parquet, numpy:///documents.npy",
)

_QDRANT = Entry(
    "embedtune.stores.qdrant:Qdrant",
    "Qdrant, by alias: qdrant://host:6333/alias, qdrant+file:///folder#alias",
    extra="qdrant",
    module="qdrant_client",
)

STORES = Registry(
    "store",
    {
        "postgresql": _PGVECTOR,
        "postgres": _PGVECTOR,
        "lancedb": Entry(
            "embedtune.stores.lance:Lance",
            "LanceDB: lancedb:///path/to/database?column=vector#table",
            extra="lancedb",
            module="lancedb",
        ),
        "chroma": Entry(
            "embedtune.stores.chroma:Chroma",
            "Chroma's server: chroma://host:8000/collection",
            extra="chroma",
            module="chromadb",
        ),
        "chroma+pointer": Entry(
            "embedtune.stores.chroma_pointer:ChromaPointer",
            "Chroma, switched in one step for readers that follow: chroma+pointer://host:8000/collection",
            extra="chroma",
            module="chromadb",
        ),
        "parquet": _FOLDER,
        "numpy": _FOLDER,
        "faiss": Entry(
            "embedtune.stores.faiss_file:Faiss",
            "FAISS index files with exact vectors: faiss:///path/to/file.index",
            extra="faiss",
            module="faiss",
        ),
        "qdrant": _QDRANT,
        "qdrant+file": _QDRANT,
        "milvus": Entry(
            "embedtune.stores.milvus:Milvus",
            "Milvus, by alias: milvus://host:19530/alias, milvus:///path/file.db#alias (Milvus Lite)",
            extra="milvus",
            module="pymilvus",
        ),
    },
)
"""Every kind of store. A class is called with the :class:`~embedtune.stores.url.StoreURL`."""


def open_store(url: str) -> Store:
    """Open the store at a URL; its scheme says which kind it is.

    Parameters
    ----------
    url : str
        For example ``"postgresql://me@host/shop?table=docs&column=embedding"``. Secrets may come from the
        environment instead, as the store's own client reads them.

    Raises
    ------
    StoreError
        When it cannot be reached or does not hold what the URL names.
    MissingExtra
        When the store's client is not installed.
    """
    parsed = StoreURL.parse(url)
    store: Store = STORES.load(parsed.scheme)(parsed)
    return store


@contextmanager
def opened(store: Store | str) -> Iterator[Store]:
    """Open the store at a URL for a block; one that is open already is left so."""
    if not isinstance(store, str):
        yield store
        return
    found = open_store(store)
    try:
        yield found
    finally:
        found.close()
