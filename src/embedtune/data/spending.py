"""A limit of cost that several requests at the same time cannot pass."""

from __future__ import annotations

from threading import Lock


class Spending:
    """What was spent, and what requests in flight may still cost."""

    def __init__(self, limit: float | None) -> None:
        self.limit, self.spent, self.stopped = limit, 0.0, False
        self._reserved, self._lock = 0.0, Lock()

    def reserve(self, worst: float) -> bool:
        """Set ``worst`` aside; False where that could pass the limit."""
        with self._lock:
            if self.limit is not None and self.spent + self._reserved + worst > self.limit:
                self.stopped = True
                return False
            self._reserved += worst
            return True

    def settle(self, worst: float, cost: float) -> None:
        """Put the cost in the place of what was set aside."""
        with self._lock:
            self._reserved -= worst
            self.spent += cost
