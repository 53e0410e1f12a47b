"""How long encoding may take: all that encodes within a block ends with its time, and its rate is seen."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedtune.duration import duration

logger = logging.getLogger(__name__)

FEW = 4
"""Batches after which it is seen whether the time suffices."""

FAR = 1.5
"""It is told where encoding would take so many times what is left."""


class Unfinished(Exception):
    """The time ended before all texts had a vector; what was encoded is in the cache, where there is one.

    Attributes
    ----------
    pace : Pace
        Whose time it was.
    """

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        super().__init__(f"{pace.done} of {pace.total} texts were encoded when the time ended")


@dataclass
class Pace:
    """A time for encoding, and what was encoded in it.

    Texts are weighed by how much of them is read, as :func:`~embedtune.encoders.tokens.reading_lengths` gives
    it: so the rate of long documents says how long short queries take.
    """

    deadline: float
    """``time.monotonic()`` from which on nothing new is begun."""
    otherwise: str
    """What becomes of the run where the time does not suffice, in words."""
    done: int = 0
    """Texts that have a vector, encoded now or before."""
    total: int = 0
    """Texts that were asked for so far."""
    encoded: int = 0
    """Texts that were encoded in this time."""
    kept: bool = True
    """Whether their vectors are in a cache."""
    weight: float = 0.0
    """Of all texts that were asked for so far."""
    missing: float = 0.0
    """Weight of those that have no vector yet."""
    _lengths: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False)
    _batches: int = 0
    _mark: float = 0.0
    _first: tuple[float, float] = (0.0, 0.0)
    """Seconds and weight of the first batch, which opens the model too."""
    _others: tuple[float, float] = (0.0, 0.0)

    @property
    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(self.deadline - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raise Unfinished when the time has ended."""
        if self.left <= 0:
            raise Unfinished(self)

    def begin(self, lengths: NDArray[np.float64], missing: NDArray[np.int64], *, kept: bool) -> None:
        """Take note of texts that are asked for: the weight of each, and the rows that are to be encoded."""
        self.total += len(lengths)
        self.done += len(lengths) - len(missing)
        self.weight += float(lengths.sum())
        self.missing = float(lengths[missing].sum())
        self.kept, self._lengths, self._mark = kept, lengths, time.monotonic()

    def took(self, rows: NDArray[np.int64]) -> None:
        """Take note of a batch of those texts that was encoded, or came from elsewhere, just now."""
        now, weight = time.monotonic(), float(self._lengths[rows].sum())
        seconds, self._mark = now - self._mark, now
        self.done += len(rows)
        self.encoded += len(rows)
        self.missing -= weight
        self._batches += 1
        if self._batches == 1:
            self._first = seconds, weight
        else:
            self._others = self._others[0] + seconds, self._others[1] + weight
        if self._batches == FEW and (rest := self.rest()) is not None and rest > FAR * self.left:
            kept = "what is encoded is kept, and another run goes on" if self.kept else "give more time"
            line = "encoding takes about %s more, and there are %s for it: %s; %s"
            logger.warning(line, duration(rest), duration(self.left), self.otherwise, kept)

    def rest(self, weight: float | None = None) -> float | None:
        """Give the seconds that texts of such a weight take, those that are missing unless given.

        None where nothing was encoded yet. Opening the model counts only where there was but one batch.
        """
        seconds, done = self._others if self._others[1] else self._first
        return None if not done else seconds / done * (self.missing if weight is None else weight)


_PACE: ContextVar[Pace | None] = ContextVar("pace", default=None)


@contextlib.contextmanager
def paced(pace: Pace | None) -> Iterator[None]:
    """Have encoding in this thread end with the time of ``pace``, while the block lasts; None for never."""
    token = _PACE.set(pace)
    try:
        yield
    finally:
        _PACE.reset(token)


def within(deadline: float | None, otherwise: str) -> contextlib.AbstractContextManager[None]:
    """Have encoding end by a time, None for never; ``otherwise`` says what becomes of the run then."""
    return paced(None if deadline is None else Pace(deadline, otherwise))


def current_pace() -> Pace | None:
    """Give the innermost time that holds in this thread."""
    return _PACE.get()
