"""Texts cut into requests that keep to a provider's limits; tokens estimated without a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BYTES_A_TOKEN = 3
"""Bytes of UTF-8 that a token has at least, in nearly every text: English has 4 to 5, code about 3.5, Chinese
and Japanese about 3 (one character). Random letters and digits have fewer; requests that are refused for
their length are cut in two."""

EXTRA = 16
"""Tokens that a provider may put around a text, such as the prompt of its input type."""


def byte_lengths(texts: Sequence[str]) -> NDArray[np.int64]:
    """Give the bytes of each text in UTF-8."""
    return np.fromiter((len(text.encode("utf-8", "surrogatepass")) for text in texts), np.int64, len(texts))


def estimated_tokens(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the tokens that texts of so many bytes have at most, but for unusual ones."""
    return -(-lengths // BYTES_A_TOKEN) + 1


def most_tokens(lengths: NDArray[np.int64]) -> int:
    """Give the tokens that texts of so many bytes cannot pass: one a byte, and what is put around them."""
    return int(lengths.sum()) + EXTRA * len(lengths)


def batches(tokens: NDArray[np.int64], items: int, limit: int | None) -> Iterator[NDArray[np.int64]]:
    """Cut texts into runs, in order, of at most ``items`` texts and ``limit`` tokens.

    A text that is longer than the limit is a run of its own.
    """
    start, total = 0, 0
    for end, count in enumerate(tokens.tolist()):
        if end > start and (end - start == items or (limit is not None and total + count > limit)):
            yield np.arange(start, end)
            start, total = end, 0
        total += count
    if start < len(tokens):
        yield np.arange(start, len(tokens))
