"""The distinct texts of a training run, their tokens, and batches of like length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass
class Texts:
    """Distinct pairs of prompt and text, numbered in the order in which they are added."""

    items: list[tuple[str, str]] = field(default_factory=list)
    """(prompt, text)."""
    _number: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.items)

    def add(self, texts: Sequence[str], prompt: str = "") -> Rows:
        """Give the number of each text, int64 (n,); those that are new get the next ones."""
        rows = np.empty(len(texts), np.int64)
        for place, text in enumerate(texts):
            key = (prompt, text)
            row = self._number.setdefault(key, len(self.items))
            if row == len(self.items):
                self.items.append(key)
            rows[place] = row
        return rows


@dataclass(frozen=True)
class Tokens:
    """Token numbers of texts, one after the other."""

    ids: NDArray[np.int32]
    """(tokens in all,)."""
    starts: Rows
    """Where each text begins, and where the last ends, (n + 1,)."""
    group: Rows
    """Texts with different numbers must not share a batch (prompts that pooling leaves out), (n,)."""

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]], group: Rows | None = None) -> Tokens:
        """Put lists of token numbers one after the other."""
        lengths = np.array([len(one) for one in lists], np.int64)
        ids = np.fromiter((token for one in lists for token in one), np.int32, int(lengths.sum()))
        own = np.zeros(len(lists), np.int64) if group is None else group
        return cls(ids, np.r_[0, np.cumsum(lengths)], own)

    @property
    def lengths(self) -> Rows:
        """Tokens of each text, (n,)."""
        return np.diff(self.starts)

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.ids[self.starts[row] : self.starts[row + 1]]

    def batches(self, rows: Rows, most: int) -> list[Rows]:
        """Cut ``rows`` into batches of like length, of at most ``most`` tokens with padding.

        The longest come first, so that memory runs out at once or never. A text longer than ``most`` is
        a batch of its own.
        """
        lengths = self.lengths
        order = rows[np.lexsort((rows, -lengths[rows], self.group[rows]))]
        found, start = [], 0
        while start < len(order):
            longest = max(int(lengths[order[start]]), 1)
            end = min(start + max(most // longest, 1), len(order))
            other = np.flatnonzero(self.group[order[start:end]] != self.group[order[start]])
            end = start + int(other[0]) if len(other) else end
            found.append(order[start:end])
            start = end
        return sorted(found, key=lambda one: -int(lengths[one[0]]) * len(one))
