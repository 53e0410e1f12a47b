"""One encoding that a courier is at, as its employer sees it: what comes, what it costs, how it ends."""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from embedtune.encoders.api.run import Keep
from embedtune.encoders.api.wire import Wire

if TYPE_CHECKING:
    from embedtune.encoders.api.encoder import ApiEncoder


@dataclass
class Errand:
    """One encoding that a courier is at."""

    encoder: ApiEncoder
    take: Keep
    changed: threading.Event = field(default_factory=threading.Event)
    """Set when it is over, and when there is trouble."""
    ended: threading.Event = field(default_factory=threading.Event)
    outcome: dict[str, Any] | None = None
    """What the courier said at the end; None where it never did."""
    trouble: BaseException | None = None
    """What went wrong on this side."""
    reserved: list[float] = field(default_factory=list)
    """What is set aside for requests under way."""

    def hear(self, message: dict[str, Any], content: bytearray, wire: Wire) -> None:
        """Do what a message asks for."""
        if "kept" in message:
            number = message["kept"]
            rows = np.frombuffer(content, np.int64, number)
            self.take(rows, np.frombuffer(content, np.float32, offset=8 * number).reshape(number, -1))
        elif "spend" in message:
            value = self._spend(message["spend"], *message["amounts"])
            if message["id"] is not None:
                with contextlib.suppress(OSError):
                    wire.send({"reply": message["id"], "value": value})
        elif "log" in message:
            logging.getLogger(message["log"]).log(message["level"], "%s", message["text"])
        elif "notice" in message and self.encoder.notice is not None:
            self.encoder.notice(message["notice"])
        elif "outcome" in message:
            self.end(message["outcome"])

    def fail(self, error: BaseException) -> None:
        """Note what went wrong first."""
        self.trouble = self.trouble or error
        self.changed.set()

    def end(self, outcome: dict[str, Any] | None) -> None:
        """Note that it is over."""
        self.outcome = outcome
        self.ended.set()
        self.changed.set()

    def _spend(self, what: str, *amounts: float) -> Any:
        spending = self.encoder.spending
        if what == "in_flight":
            return spending.in_flight
        if what == "reserve":
            granted = spending.try_reserve(*amounts)
            if granted:
                self.reserved.append(*amounts)
            return granted
        worst, cost = amounts
        if worst in self.reserved:
            self.reserved.remove(worst)
        else:  # without a limit nothing is set aside before
            spending.try_reserve(worst)
        spending.settle(worst, cost)
        return spending.spent

    def settle_rest(self) -> None:
        """Count requests whose end is unknown at their worst."""
        while self.reserved:
            worst = self.reserved.pop()
            self.encoder.spending.settle(worst, worst)
