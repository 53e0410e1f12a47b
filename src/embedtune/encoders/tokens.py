"""How many tokens a text has, by a model's fast tokenizer, without torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedtune.extras import need

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHARACTERS = 6
"""Characters of a token, about: what is beyond a model's limit of tokens takes no time."""

BLOCK = 1024
"""Texts that are tokenized at once, so that memory stays small."""


def reading_lengths(texts: Sequence[str], max_tokens: int | None) -> NDArray[np.float64]:
    """Give about how much a model reads of each text, in characters, (n,): encoding takes as long.

    Examples
    --------
    >>> reading_lengths(["short", "x" * 10_000], max_tokens=256).tolist()
    [11.0, 1542.0]
    """
    most = CHARACTERS * (max_tokens or 10**9)
    lengths = (min(len(text), most) + CHARACTERS for text in texts)
    return np.fromiter(lengths, np.float64, len(texts))


def load_tokenizer(file: Path, *, who: str, extra: str) -> Tokenizer:
    """Read ``tokenizer.json`` and switch its padding and truncation off.

    Raises
    ------
    MissingExtra
        When tokenizers is not installed.
    """
    library: Any = need("tokenizers", extra=extra, who=who)
    tokenizer: Tokenizer = library.Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class TokenCounter:
    """Counts tokens by a ``tokenizer.json``, which is read when it is first needed."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def of(cls, file: Path | None) -> TokenCounter | None:
        """Make one if there is a file to read and a library to read it."""
        return cls(file) if file is not None and importlib.util.find_spec("tokenizers") is not None else None

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(self._file, who="counting tokens", extra="local")

    def count(self, texts: Sequence[str], *, prompt: str = "", special: bool = True) -> NDArray[np.int64]:
        """Give the number of tokens of each text, int64 (n,), special ones included if asked."""
        counts = np.empty(len(texts), np.int64)
        for start in range(0, len(texts), BLOCK):
            block = [prompt + text for text in texts[start : start + BLOCK]]
            encodings = self._tokenizer.encode_batch_fast(block, add_special_tokens=special)
            counts[start : start + len(block)] = [len(encoding.ids) for encoding in encodings]
        return counts

    def ends(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Give where each token of each text ends, in characters; without special tokens."""
        for start in range(0, len(texts), BLOCK):
            for encoding in self._tokenizer.encode_batch(
                list(texts[start : start + BLOCK]), add_special_tokens=False
            ):
                yield [end for _, end in encoding.offsets]
