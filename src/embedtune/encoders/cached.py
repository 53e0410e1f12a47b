"""An encoder that remembers: identical texts are encoded once, and never again after an interruption."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.encoders.cache import VectorCache, content_keys
from embedtune.encoders.claims import claimed
from embedtune.errors import TextsFailed
from embedtune.types import Content, Encoder, Kind, Similarity, Vectors

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (texts done, texts in all) as work goes on."""

WAIT = 0.3
"""Seconds between two looks at what another process is paying for."""

CHUNK_TEXTS = 2048
"""Texts of a chunk at most; a chunk is what an interruption can lose."""

CHUNK_CHARACTERS = 500_000
"""Characters of a chunk at most, so that chunks of long texts take no longer than those of short ones."""


class CachedEncoder:
    """Wrap an encoder so that its vectors are kept on disk.

    Parameters
    ----------
    encoder : Encoder
        What encodes the texts that are not in the cache. It may have a method ``prompt_key(kind)``:
        kinds with the same key share their vectors. Where its items are not their own content (paths
        of images), it has a method ``content_keys(prompt, items)`` in place of that of the cache. Where it
        works on several batches at once, it has a method ``encode_batches(items, kind=…, keep=…)`` that
        hands on the vectors of each as they come, see
        :meth:`~embedtune.encoders.api.ApiEncoder.encode_batches`.
    cache : VectorCache, optional
        Where vectors are kept; None keeps nothing, and still encodes identical texts once.
    progress : callable, optional
        Called with (texts done, texts in all); may be replaced at any time.
    """

    def __init__(
        self, encoder: Encoder, cache: VectorCache | None = None, *, progress: Progress | None = None
    ) -> None:
        self.encoder, self.cache, self.progress = encoder, cache, progress
        self.name: str = encoder.name
        self.content: Content = encoder.content
        self.dimension: int = encoder.dimension
        self.similarity: Similarity = encoder.similarity
        self.fingerprint: str = encoder.fingerprint
        self.max_tokens: int | None = encoder.max_tokens
        self._paid = hasattr(encoder, "cost")

    def __getattr__(self, name: str) -> Any:
        """Give what else the wrapped encoder has, for example ``folder``."""
        if name == "encoder":  # while unpickling or copying
            raise AttributeError(name)
        return getattr(self.encoder, name)

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Give the tokens of each text before truncation, or None where that is not known."""
        return self.encoder.count_tokens(texts)

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Give float32 vectors (n, d) in the order of ``items``; unit length if similarity is cosine.

        Each chunk is kept as soon as it is encoded, so that Ctrl-C or a kill loses one chunk at most.

        Raises
        ------
        DiskFull
            When the cache's disk has no room left.
        TextsFailed
            When an API gives no vector for some texts.
        """
        unique = list(dict.fromkeys(items))
        try:
            vectors = self._encode_unique(unique, kind)
        except TextsFailed as error:
            why = {unique[row]: reason for row, reason in zip(error.rows, error.reasons, strict=True)}
            rows = [row for row, text in enumerate(items) if text in why]
            raise error.placed(rows, [why[items[row]] for row in rows], len(items)) from None
        if len(unique) == len(items):
            return vectors
        row = {text: number for number, text in enumerate(unique)}
        return vectors[np.fromiter((row[text] for text in items), np.int64, len(items))]

    def cost(self, items: Sequence[str], *, kind: Kind = "document") -> Any:
        """Estimate what encoding texts costs that are not in the cache; None where encoding costs nothing.

        Returns
        -------
        embedtune.encoders.api.Estimate or None
        """
        estimate = getattr(self.encoder, "cost", None)
        if estimate is None:
            return None
        unique = list(dict.fromkeys(items))
        _, _, missing = self._look_up(unique, kind)
        return estimate([unique[row] for row in missing], kind=kind)

    def _look_up(
        self, texts: list[str], kind: Kind
    ) -> tuple[Vectors, NDArray[np.uint8] | None, NDArray[np.int64]]:
        """Give the vectors (n, d), those of the cache filled in, the keys, and the rows that are missing."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        if self.cache is None or not self.cache.size:
            return vectors, None, np.arange(len(texts))
        prompt_key = getattr(self.encoder, "prompt_key", None)
        make_keys = getattr(self.encoder, "content_keys", content_keys)
        keys = make_keys(prompt_key(kind) if prompt_key else kind, texts)
        return (
            vectors,
            keys,
            np.flatnonzero(~self.cache.read(self.fingerprint, keys, vectors, paid=self._paid)),
        )

    def _encode_unique(self, texts: list[str], kind: Kind) -> Vectors:
        vectors, keys, missing = self._look_up(texts, kind)
        work = _Work(self, texts, kind, vectors, keys, len(texts) - len(missing))
        work.tell()
        if self._paid and keys is not None and self.cache is not None:
            work.pay(missing, self.cache.folder / "claims" / self.fingerprint[:32])
        else:
            work.encode(missing)
        return vectors

    def _tell(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)


@dataclass
class _Work:
    """The encoding of what the cache does not have."""

    cached: CachedEncoder
    texts: list[str]
    kind: Kind
    vectors: Vectors
    keys: NDArray[np.uint8] | None
    done: int
    lock: AbstractContextManager[Any] = field(default_factory=Lock)

    def tell(self) -> None:
        """Say how far the work is."""
        self.cached._tell(self.done, len(self.texts))

    def keep(self, rows: NDArray[np.int64], found: Vectors) -> None:
        """Take the vectors of some rows, and put them into the cache at once."""
        cached = self.cached
        self.vectors[rows] = found
        with self.lock:
            if self.keys is not None and cached.cache is not None:
                cached.cache.write(cached.fingerprint, self.keys[rows], found, paid=cached._paid)
            self.done += len(rows)
            self.tell()

    def encode(self, missing: NDArray[np.int64]) -> None:
        """Encode some rows: chunk by chunk, or as the encoder itself hands them on."""
        encoder, texts = self.cached.encoder, self.texts
        encode_batches = getattr(encoder, "encode_batches", None)
        if encode_batches is None:
            for rows in _chunks(texts, missing):
                self.keep(rows, encoder.encode([texts[row] for row in rows], kind=self.kind))
            return
        try:
            encode_batches(
                [texts[row] for row in missing],
                kind=self.kind,
                keep=lambda rows, found: self.keep(missing[rows], found),
            )
        except TextsFailed as error:
            raise error.placed(missing[error.rows].tolist(), error.reasons, len(texts)) from None

    def pay(self, left: NDArray[np.int64], claims: Path) -> None:
        """Encode what no other process is paying for now; take the rest from the cache when it is there."""
        keys = self.keys
        assert keys is not None
        while len(left):
            with claimed(claims, keys[left]) as own:
                self.encode(self.look_again(left[own]))
            left = left[~own]
            if len(left) and not own.any():
                logger.info("waiting for another process that encodes %d of the same texts", len(left))
                time.sleep(WAIT)
            left = self.look_again(left)

    def look_again(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take what has come into the cache meanwhile; give the rows that are still missing."""
        cached = self.cached
        if not len(rows) or self.keys is None or cached.cache is None:
            return rows
        came = np.empty((len(rows), self.vectors.shape[1]), np.float32)
        found = cached.cache.read(cached.fingerprint, self.keys[rows], came, paid=cached._paid)
        self.vectors[rows[found]] = came[found]
        self.done += int(found.sum())
        if found.any():
            self.tell()
        return rows[~found]


def _chunks(texts: Sequence[str], rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut ``rows`` into runs of bounded texts and characters, in order."""
    start, characters = 0, 0
    for end, row in enumerate(rows):
        length = len(texts[row])
        if end > start and (end - start == CHUNK_TEXTS or characters + length > CHUNK_CHARACTERS):
            yield rows[start:end]
            start, characters = end, 0
        characters += length
    if start < len(rows):
        yield rows[start:]
