"""A limit of cost that several requests at the same time cannot pass."""

from __future__ import annotations

from threading import Lock


class Spending:
    """What was spent, and what requests in flight may still cost."""

    def __init__(self, limit: float | None) -> None:
        self.limit, self.spent, self.stopped = limit, 0.0, False
        self._reserved, self._requests, self._lock = 0.0, 0, Lock()

    @property
    def in_flight(self) -> bool:
        """Whether something is set aside."""
        return self._requests > 0

    def reserve(self, worst: float) -> bool:
        """Set ``worst`` aside; False, and the end of all spending, where that could pass the limit."""
        if self.try_reserve(worst):
            return True
        self.stopped = True
        return False

    def try_reserve(self, worst: float) -> bool:
        """Set ``worst`` aside; False where that could pass the limit now."""
        with self._lock:
            if self.limit is not None and self.spent + self._reserved + worst > self.limit:
                return False
            self._reserved += worst
            self._requests += 1
            return True

    def settle(self, worst: float, cost: float) -> None:
        """Put the cost in the place of what was set aside."""
        with self._lock:
            self._requests -= 1
            # no rounding is left over when nothing is in flight
            self._reserved = self._reserved - worst if self._requests else 0.0
            self.spent += cost
