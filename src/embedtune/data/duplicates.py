"""Groups of near-duplicate texts: all pairs above a Jaccard similarity of their word shingles, exactly.

References
----------
Bayardo, Ma & Srikant 2007, Scaling Up All Pairs Similarity Search, section 3 (prefixes of rare features);
Xiao et al. 2008, Efficient Similarity Joins for Near Duplicate Detection, sections 3-4 (bounds for Jaccard).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""A run of letters and digits; characters of scripts that write no spaces each count as a word."""

_BLOCK = 2048
"""Texts compared with all the others at a time; bounds the memory of the candidates."""


def plain(text: str) -> str:
    """Give a text case-folded, with single spaces: what is the same text, whoever wrote it.

    Examples
    --------
    >>> plain("What's  THIS?")
    "what's this?"
    """
    return " ".join(text.casefold().split())


def normalise(text: str) -> str:
    """Give the words of a text, case-folded, without punctuation, with single spaces.

    Examples
    --------
    >>> normalise("What's  THIS?")
    'what s this'
    """
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words) if words else text.strip()


def near_duplicates(texts: Sequence[str], threshold: float = 0.8) -> NDArray[np.int64]:
    """Group texts that say nearly the same in the same words.

    Two texts are linked where the Jaccard similarity of their sets of words and word pairs, without case
    and punctuation, is at least ``threshold``; groups are the connected components. Exact, not sampled:
    a pair that is this similar must share one of the rarest shingles of each, so only texts with such a
    shingle in common are compared, and words that are everywhere cost nothing.

    Parameters
    ----------
    texts : sequence of str
        n texts.
    threshold : float
        Least similarity, above 0, at most 1 (the same shingles).

    Returns
    -------
    int64 array of shape (n,)
        Group of each text, numbered in the order of their first texts.

    Examples
    --------
    >>> near_duplicates(["What is Marfan syndrome?", "marfan", "what is marfan syndrome"]).tolist()
    [0, 1, 0]
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
    first: dict[str, int] = {}
    unique = np.array([first.setdefault(normalise(text), len(first)) for text in texts], np.int64)
    linked = _linked(_shingle_matrix(list(first)), threshold)
    _, group = connected_components(linked, directed=False)
    return _in_order(group[unique] if len(unique) else unique)


def _shingle_matrix(texts: list[str]) -> csr_matrix:
    """Presence of shingles, (texts, shingles); columns from the rarest shingle to the most frequent."""
    vocabulary: dict[str, int] = {}
    indices: list[int] = []
    ends = [0]
    for text in texts:
        words = text.split(" ")
        shingles = dict.fromkeys(words) | dict.fromkeys(map(" ".join, pairwise(words)))
        indices += [vocabulary.setdefault(shingle, len(vocabulary)) for shingle in shingles]
        ends.append(len(indices))
    columns = np.asarray(indices, np.int64)
    rank = np.empty(len(vocabulary), np.int64)
    rank[np.argsort(np.bincount(columns, minlength=len(vocabulary)), kind="stable")] = np.arange(
        len(vocabulary)
    )
    matrix = csr_matrix((np.ones(len(columns), np.int32), rank[columns], ends), (len(texts), len(vocabulary)))
    matrix.sort_indices()
    return matrix


def _linked(shingles: csr_matrix, threshold: float) -> csr_matrix:
    """Pairs of texts at least ``threshold`` similar, as a sparse (texts, texts) upper triangle."""
    count = len(shingles.indptr) - 1
    size = np.diff(shingles.indptr).astype(np.int64)
    length = np.minimum(size, size - np.ceil(threshold * size - 1e-9).astype(np.int64) + 1)  # of each prefix
    at = np.arange(shingles.nnz) - np.repeat(shingles.indptr[:-1], size)
    in_prefix = at < np.repeat(length, size)
    rows = np.repeat(np.arange(count), size)[in_prefix]
    prefix = csr_matrix((np.ones(len(rows), np.int32), (rows, shingles.indices[in_prefix])), shingles.shape)
    last = (
        shingles.indices[shingles.indptr[:-1] + length - 1] if count else size
    )  # rank of the prefix's last shingle
    transposed = prefix.T.tocsr()
    pairs = [np.zeros((2, 0), np.int64)]
    for start in range(0, count, _BLOCK):
        shared = coo_matrix(prefix[start : start + _BLOCK] @ transposed)
        left, right = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        needed = np.ceil(threshold / (1 + threshold) * (size[left] + size[right]) - 1e-9)
        shorter = np.where(last[left] < last[right], left, right)  # whose prefix ends at the rarer shingle
        keep = (left < right) & (shared.data + size[shorter] - length[shorter] >= needed)
        left, right, needed = left[keep], right[keep], needed[keep]
        pairs.append(np.stack([left, right])[:, _overlap(shingles, left, right) >= needed])
    left, right = np.concatenate(pairs, axis=1)
    return csr_matrix((np.ones(len(left), np.int8), (left, right)), (count, count))


def _overlap(shingles: csr_matrix, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Shingles in common of each pair of texts."""
    common = np.zeros(len(left), np.int64)
    step = max(1, math.ceil(2**22 / max(1, shingles.nnz / max(1, len(shingles.indptr) - 1))))
    for start in range(0, len(left), step):
        part = slice(start, start + step)
        common[part] = shingles[left[part]].multiply(shingles[right[part]]).sum(axis=1).ravel()
    return common


def _in_order(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give groups new numbers, in the order of their first members."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
