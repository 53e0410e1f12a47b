"""What a model does not read of a long text, cut into windows that it does read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.encoders.tokens import TokenCounter
from embedtune.types import Vectors

HEAD = 32
"""Tokens of a text's beginning that each window repeats, at most: they say what the text is about."""

MOST = 3
"""Windows after the first, at most."""


def later_windows(
    texts: Sequence[str], counter: TokenCounter, max_tokens: int, *, prompt: str = ""
) -> tuple[list[str], NDArray[np.int64]]:
    """Cut what is beyond a model's limit into windows; each begins with the text's own first tokens.

    A window by itself is about nobody knows what: a title, or the first words, tell. (As contextual chunk
    headers do in retrieval of passages.)

    Parameters
    ----------
    texts : sequence of str
        Of which most may be short.
    counter : TokenCounter
        The model's tokenizer.
    max_tokens : int
        Tokens that the model reads of a text, special ones included.
    prompt : str
        What the model puts before each.

    Returns
    -------
    windows : list of str
        Each at most as long as the model reads, but for what tokens at its seams may add.
    rows : int64 array of shape (windows,)
        The text that each is of, ascending.
    """
    room = max_tokens - int(counter.count([""], prompt=prompt)[0])
    head = min(HEAD, room // 4)
    step = room - head
    windows: list[str] = []
    rows: list[int] = []
    if head < 1:
        return windows, np.empty(0, np.int64)
    longer = [row for row, text in enumerate(texts) if len(text) > room]  # a token has a character or more
    for row, ends in zip(longer, counter.ends([texts[row] for row in longer]), strict=True):
        text, count = texts[row], len(ends)
        for start in range(room, min(count, room + MOST * step), step):
            begin, end = ends[start - 1], ends[min(start + step, count) - 1]
            windows.append(f"{text[: ends[head - 1]]} {text[begin:end].strip()}")
            rows.append(row)
    return windows, np.array(rows, np.int64)


def mean_of_each(vectors: Vectors, rows: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.int64]]:
    """Give the mean of each text's windows, float32 (m, d), not normalised, and the texts' rows, ascending.

    Parameters
    ----------
    vectors : float32 array of shape (windows, d)
        Those of the windows.
    rows : int64 array of shape (windows,)
        The text that each is of.
    """
    long, place = np.unique(rows, return_inverse=True)
    each = 1 / np.bincount(place)[place].astype(np.float32)
    mean = csr_matrix((each, (place, np.arange(len(rows)))), (len(long), len(rows))) @ vectors
    return np.asarray(mean, np.float32), long
