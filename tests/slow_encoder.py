"""A clock that only an encoder moves, and that encoder: a second a text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

D = 8


@dataclass
class FakeClock:
    """Stands in for ``time.monotonic``."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class SlowEncoder:
    """Texts to unit vectors that their sha256 decides; remembers what it was asked."""

    clock: FakeClock
    seconds: float = 1.0
    name: str = "slow"
    asked: list[str] = field(default_factory=list)
    dimension = D
    similarity = "cosine"
    max_tokens = None
    content = "text"

    @property
    def fingerprint(self) -> str:
        return self.name

    def encode(self, items: Sequence[str], *, kind: str = "document") -> np.ndarray:
        self.clock.now += self.seconds * len(items)
        self.asked += items
        digests = b"".join(hashlib.sha256(text.encode()).digest()[:D] for text in items)
        rows = np.frombuffer(digests, np.int8).reshape(len(items), D).astype(np.float32) + 0.5
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def count_tokens(self, texts: Sequence[str]) -> None:
        return None
