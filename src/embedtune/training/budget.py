"""How long work may take, and whom to tell how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event


class OutOfTime(Exception):
    """The budget ended while a tuner had nothing yet that it could give."""


@dataclass(frozen=True)
class Budget:
    """When to stop, and whom to tell how far the work is."""

    deadline: float | None = None
    """``time.monotonic()`` at which the work has to end; None for never."""
    progress: Callable[[str, int, int], None] | None = None
    """Called with (stage, done, total)."""
    ended: Event | None = None
    """Ends the work at once when it is set."""

    @property
    def left(self) -> float:
        """Seconds left; infinite without a deadline."""
        if self.ended is not None and self.ended.is_set():
            return 0.0
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def check(self) -> None:
        """Raise OutOfTime when the time has ended."""
        if self.left <= 0:
            raise OutOfTime

    def leaving(self, share: float) -> Budget:
        """Give one that ends earlier, so that a share of the time that is left now remains."""
        if self.deadline is None:
            return self
        return replace(self, deadline=self.deadline - share * max(self.left, 0))

    def within(self, seconds: float) -> Budget:
        """Give one that has so many seconds, or what is left where that is less."""
        return self if self.left <= seconds else replace(self, deadline=time.monotonic() + seconds)

    def tell(self, stage: str, done: int, total: int) -> None:
        """Report progress, if anyone listens."""
        if self.progress:
            self.progress(stage, done, total)
