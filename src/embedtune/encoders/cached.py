"""An encoder that remembers: identical texts are encoded once, and never again after an interruption."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.encoders.api.asking import Halted
from embedtune.encoders.api.dispatch import CourierLost
from embedtune.encoders.cache import VectorCache, content_keys
from embedtune.encoders.claims import claimed
from embedtune.encoders.pace import Pace, Unfinished, current_pace
from embedtune.encoders.tokens import reading_lengths
from embedtune.errors import TextsFailed
from embedtune.types import Content, Encoder, Kind, Similarity, Vectors

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (texts done, texts in all) as work goes on."""

Take = Callable[[NDArray[np.int64], Vectors], None]
"""Gets rows of the texts and their vectors (n, d) as they come, one call at a time."""

COURIERS = 3
"""So many couriers in a row that end before their work does, and this process does it itself."""

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
        can stop between batches, it has a method ``encode_parts(items, kind=…)`` that gives (rows, vectors)
        batch by batch. Where it
        works on several batches at once, it has a method ``encode_batches(items, kind=…, keep=…)`` that
        hands on the vectors of each as they come, see
        :meth:`~embedtune.encoders.api.encoder.ApiEncoder.encode_batches`.
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
        self._paid = _costs(encoder)

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
        Unfinished
            When the time that holds here ends before all texts have a vector, see
            :mod:`embedtune.encoders.pace`; what was encoded is kept.
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
        embedtune.encoders.api.encoder.Estimate or None
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
        done = len(texts) - len(missing)
        self._tell(done, len(texts))
        if not len(missing):
            return vectors
        pace = current_pace()
        if pace is not None:
            pace.begin(reading_lengths(texts, self.max_tokens), missing, kept=keys is not None)
            pace.check()

        def take(rows: NDArray[np.int64], found: Vectors) -> None:
            nonlocal done
            vectors[rows] = found
            done += len(rows)
            if pace is not None:
                pace.took(rows)
            self._tell(done, len(texts))

        work = Work(self.encoder, self.cache, texts, kind, keys, take, pace)
        if self._paid and keys is not None:
            work.pay(work.entrust(missing))
        else:
            work.encode(missing)
        return vectors

    def _tell(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)


@dataclass
class Work:
    """The encoding of what the cache does not have."""

    encoder: Encoder
    cache: VectorCache | None
    texts: Sequence[str]
    kind: Kind
    keys: NDArray[np.uint8] | None
    """Of the texts, (n, 32); None where nothing is kept."""
    take: Take
    """Gets what was encoded, and what others have put into the cache meanwhile; what costs money, once it is
    in the cache."""
    pace: Pace | None = None
    """The time for it; None where there is no end."""
    stop: Event = field(default_factory=Event)
    """Set by another thread where nothing new is to be begun."""
    lock: AbstractContextManager[Any] = field(default_factory=Lock)

    def keep(self, rows: NDArray[np.int64], found: Vectors) -> None:
        """Put the vectors of some rows into the cache at once, and hand them on."""
        with self.lock:
            self._write(rows, found)
            self.take(rows, found)

    def _write(self, rows: NDArray[np.int64], found: Vectors) -> None:
        if self.keys is not None and self.cache is not None:
            self.cache.write(self.encoder.fingerprint, self.keys[rows], found, paid=_costs(self.encoder))

    def encode(self, missing: NDArray[np.int64]) -> None:
        """Encode some rows: chunk by chunk, or as the encoder itself hands them on."""
        encoder, texts = self.encoder, self.texts
        encode_batches = getattr(encoder, "encode_batches", None)
        if encode_batches is None:
            for rows in _chunks(texts, missing):
                self._chunk(rows)
            return
        try:
            encode_batches(
                [texts[row] for row in missing],
                kind=self.kind,
                keep=lambda rows, found: self.keep(missing[rows], found),
            )
        except TextsFailed as error:
            raise error.placed(missing[error.rows].tolist(), error.reasons, len(texts)) from None

    def _chunk(self, rows: NDArray[np.int64]) -> None:
        """Encode one chunk and keep it; where the time ends in its midst, what was encoded by then."""
        items = [self.texts[row] for row in rows]
        encode_parts = _parts_of(self.encoder)
        if encode_parts is None:
            self._check()
            return self.keep(rows, self.encoder.encode(items, kind=self.kind))
        vectors, came = np.empty((len(rows), self.encoder.dimension), np.float32), np.zeros(len(rows), bool)
        parts = encode_parts(items, kind=self.kind)
        try:
            while not came.all():
                self._check()
                some, found = next(parts)
                vectors[some], came[some] = found, True
                self.take(rows[some], found)
        except Unfinished:
            if came.any():
                self._write(rows[came], vectors[came])
            raise
        return self._write(rows, vectors)

    def _check(self) -> None:
        if self.pace is not None:
            self.pace.check()

    def entrust(self, left: NDArray[np.int64]) -> NDArray[np.int64]:
        """Let a courier encode some rows; give those that this process has to encode itself.

        A courier does what :meth:`pay` does, in a process that no signal reaches which ends this one: what is
        under way then is not lost. See :mod:`embedtune.encoders.api.courier`.
        """
        courier_for = getattr(self.encoder, "courier_for", None)
        if courier_for is None or self.keys is None or type(self.cache) is not VectorCache:
            return left
        for _ in range(COURIERS):
            send = courier_for(self.texts, self.cache) if len(left) else None
            if send is None:
                break
            came, asked = np.zeros(len(left), bool), left

            def take(rows: NDArray[np.int64], found: Vectors, came: Any = came, asked: Any = asked) -> None:
                came[rows] = True
                self.take(asked[rows], found)

            try:
                send([self.texts[row] for row in left], self.keys[left], self.kind, take)
            except TextsFailed as error:
                raise error.placed(asked[error.rows].tolist(), error.reasons, len(self.texts)) from None
            except CourierLost as lost:
                logger.warning("%s", lost)
            left = self.look_again(left[~came])
        return left

    def pay(self, left: NDArray[np.int64]) -> None:
        """Encode what no other process is paying for now; take the rest from the cache when it is there.

        Raises
        ------
        Halted
            When ``stop`` was set; what was under way has been kept.
        Unfinished
            When the time has ended; so has what was under way.
        """
        keys, cache = self.keys, self.cache
        assert keys is not None
        assert cache is not None
        claims = cache.folder / "claims" / self.encoder.fingerprint[:32]
        while len(left):
            with claimed(claims, keys[left]) as own:
                if len(mine := self.look_again(left[own])) and not self.stop.is_set():
                    self.encode(mine)
            left = left[~own]
            if len(left) and not own.any():
                logger.info("waiting for another process that encodes %d of the same texts", len(left))
                self.stop.wait(WAIT)
            if self.stop.is_set():
                raise Halted
            left = self.look_again(left)
            if len(left):
                self._check()

    def look_again(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take what has come into the cache meanwhile; give the rows that are still missing."""
        if not len(rows) or self.keys is None or self.cache is None:
            return rows
        came = np.empty((len(rows), self.encoder.dimension), np.float32)
        found = self.cache.read(self.encoder.fingerprint, self.keys[rows], came, paid=_costs(self.encoder))
        if found.any():
            self.take(rows[found], came[found])
        return rows[~found]


def _parts_of(encoder: Any) -> Callable[..., Iterator[tuple[NDArray[np.int64], Vectors]]] | None:
    """Give an encoder's ``encode_parts``; None where a class below has an ``encode`` of its own."""
    for one in type(encoder).__mro__:
        if "encode_parts" in vars(one):
            return encoder.encode_parts  # type: ignore[no-any-return]
        if "encode" in vars(one):
            return None
    return None


def _costs(encoder: Encoder) -> bool:
    """Say whether encoding is paid for."""
    return hasattr(encoder, "cost")


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
