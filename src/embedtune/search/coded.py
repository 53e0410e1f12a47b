"""Search in codes: float queries against them, exactly; or the nearest by bits first, then rescored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError, VectorError
from embedtune.search.exact import BLOCK, top_k
from embedtune.transforms.blocks import as_block
from embedtune.transforms.codes import Binary, Codes, Int8, Rounding
from embedtune.types import Vectors


def coded_top_k(
    queries: Vectors, codes: Codes, k: int, *, rounding: Rounding, block: int = BLOCK
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the ``k`` documents whose codes stand for the highest inner products with the query, exactly.

    Codes are unpacked block by block; the float vectors of all documents are never in memory.

    Parameters
    ----------
    queries : float32 array of shape (n, r)
        As the transform's ``queries`` gives them; nothing is normalised here.
    codes : array of shape (N, bytes)
        int8, or packed uint8, as ``documents_codes`` gives them; may be memory-mapped.
    k : int
        At least 1.
    rounding : Int8, Int4 or Binary
        What made the codes.
    block : int
        Documents unpacked at a time.

    Returns
    -------
    indices : int64 array of shape (n, min(k, N))
        Best first; of equal scores the lower row first.
    scores : float32 array of shape (n, min(k, N))

    Raises
    ------
    VectorError
        When codes and queries do not fit ``rounding``.
    UserError
        When ``k`` is below 1.
    """
    queries = _checked(queries, codes, k, rounding)
    weighed, added = rounding.weighed(queries)
    rows = np.empty((len(queries), 0), np.int64)
    best = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(codes), block):
        found, scores = top_k(
            weighed, np.asarray(rounding.levels(codes[start : start + block]), np.float32), k
        )
        rows, best = np.c_[rows, found + start], np.c_[best, scores]
        order = np.lexsort((rows, -best), axis=1)[:, :k]
        rows, best = np.take_along_axis(rows, order, 1), np.take_along_axis(best, order, 1)
    return rows, best + added[:, None]


def hamming_distances(queries: NDArray[np.uint8], codes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Count the bits in which packed queries (n, b) and documents (N, b) differ, uint16 (n, N).

    Raises
    ------
    VectorError
        When the widths differ.
    """
    if queries.shape[1] != codes.shape[1]:
        raise VectorError(f"queries have {queries.shape[1]} bytes of bits, documents {codes.shape[1]}")
    asked, words = _as_words(queries), _as_words(codes)
    found = np.zeros((len(asked), len(words)), np.uint16)
    for word in range(words.shape[1]):
        found += np.bitwise_count(asked[:, word, None] ^ words[None, :, word])
    return found


def rescored_top_k(
    queries: Vectors,
    bits: NDArray[np.uint8],
    k: int,
    *,
    binary: Binary,
    candidates: int = 200,
    int8: Int8 | None = None,
    int8_codes: NDArray[np.int8] | None = None,
    block: int = BLOCK,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the nearest documents by their bits alone, then order those by a finer score.

    Fast where documents are many: the first pass reads r / 8 bytes a document and multiplies nothing.
    The finer score is that of the float query with the bits or, where ``int8_codes`` are given (on disk,
    say: only those of the candidates are read), with what these stand for.

    Parameters
    ----------
    queries : float32 array of shape (n, r)
        As the transform's ``queries`` gives them.
    bits : uint8 array of shape (N, ceil(r / 8))
        Packed codes of ``binary``.
    k, candidates : int
        Documents wanted, and how many of the nearest by bits are rescored; at least 1, and at least ``k``.
    binary : Binary
        What made ``bits``.
    int8, int8_codes : Int8 and int8 array of shape (N, r), optional
        Finer codes of the same documents, and what made them.
    block : int
        Documents compared at a time.

    Returns
    -------
    indices : int64 array of shape (n, min(k, N))
        Best first; of equal scores the lower row first.
    scores : float32 array of shape (n, min(k, N))

    Raises
    ------
    VectorError
        When codes do not fit.
    UserError
        When ``k`` is below 1.
    """
    queries = _checked(queries, bits, k, binary)
    if (int8 is None) != (int8_codes is None):
        raise UserError("int8 and int8_codes go together", fix="give both, or neither")
    near = _nearest_by_bits(binary.query_codes(queries), bits, min(max(candidates, k), len(bits)), block)
    k = min(k, len(bits))
    indices = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), np.float32)
    for i, rows in enumerate(near):
        rows = np.sort(rows)
        if int8 is not None and int8_codes is not None:
            fine = int8.decode(int8_codes[rows]) @ queries[i]
        else:
            fine = binary.decode(bits[rows]) @ queries[i]
        order = np.argsort(-fine, kind="stable")[:k]
        indices[i], scores[i] = rows[order], fine[order]
    return indices, scores


def _nearest_by_bits(
    queries: NDArray[np.uint8], bits: NDArray[np.uint8], k: int, block: int
) -> NDArray[np.int64]:
    """Rows of the ``k`` documents with the fewest differing bits, (n, k); of equal ones the lower rows."""
    keys = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(bits), block):
        distance = hamming_distances(queries, bits[start : start + block]).astype(np.int64)
        rows = np.arange(start, start + distance.shape[1])
        keys = np.concatenate([keys, (distance << 40) | rows], axis=1)  # (distance, row), in one number
        if keys.shape[1] > k:
            keys = np.partition(keys, k - 1, axis=1)[:, :k]
    return keys & ((1 << 40) - 1)


def _as_words(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Pad rows of bytes to whole words of eight."""
    padded = np.zeros((len(codes), -(-codes.shape[1] // 8) * 8), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view(np.uint64)


def _checked(queries: Vectors, codes: Codes, k: int, rounding: Rounding) -> Vectors:
    if k < 1:
        raise UserError(f"k is {k}", fix="ask for at least one document")
    wanted = (rounding.bytes, np.dtype(np.int8 if rounding.kind == "int8" else np.uint8))
    if codes.ndim != 2 or (codes.shape[1], codes.dtype) != wanted:
        raise VectorError(
            f"codes of shape {codes.shape} and type {codes.dtype} are not of the kind {rounding.kind!r}",
            fix="take them from encode_documents(..., codes=True) of the same model",
        )
    return as_block(queries, rounding.dims)
