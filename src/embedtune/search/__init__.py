"""Exact search: in vectors, in codes, in documents with ids, and for duplicates."""

from embedtune.search.exact import positive_ranks, top_k

__all__ = ["positive_ranks", "top_k"]
