"""A process of its own that makes the requests of an API encoder, so that no answer that is paid for is lost.

When a process is killed, answers that are under way come to nobody, and are charged for. So it has a courier
make its requests: a small process in a session of its own, which no signal to the first one or to its group
reaches. The courier claims the texts, asks for them and keeps their vectors in the cache, as ``cached.py``
does it; then it hands them to its employer. When the employer is gone it begins nothing new, keeps what is
under way (each request ends by its time limit) and ends. Its claims say that it is still at it, so a run that
was started meanwhile waits for it and finds the vectors in the cache.

It is told what to do over its standard input, and answers over its standard output, see ``wire.py``. Keys are
in its environment, as in that of its employer, and in no message.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import traceback
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.encoders.api.asking import Halted
from embedtune.encoders.api.recipe import opened
from embedtune.encoders.api.wire import Wire, unpacked
from embedtune.encoders.cache import VectorCache
from embedtune.encoders.cached import Work
from embedtune.errors import DiskFull, TextsFailed, UserError
from embedtune.spending import Spending
from embedtune.types import Kind, Vectors

AGAIN = 0.1
"""Seconds between two calls to stop, while something is under way."""


class Employer:
    """Those who sent the courier: they may go away at any time, and then hear nothing."""

    def __init__(self, wire: Wire) -> None:
        self._wire, self._ids, self._lock = wire, count(), threading.Lock()
        self._asked: dict[int, Future[Any]] = {}
        self.gone = False

    def tell(self, message: dict[str, Any], *content: memoryview) -> None:
        """Say something."""
        if not self.gone:
            with contextlib.suppress(OSError):
                self._wire.send(message, *content)

    def ask(self, message: dict[str, Any]) -> Any:
        """Say something that is answered; give the answer, or None where nobody is there."""
        number, answer = next(self._ids), Future[Any]()
        with self._lock:
            if self.gone:
                return None
            self._asked[number] = answer
        self.tell(message | {"id": number})
        return answer.result()

    def answered(self, number: int, value: Any) -> None:
        """Hand on an answer."""
        self._asked.pop(number).set_result(value)

    def leave(self) -> None:
        """Take note that they are gone."""
        with self._lock:
            self.gone = True
            for answer in self._asked.values():
                answer.set_result(None)


class Purse(Spending):
    """The employer's spending, asked for each request where it has a limit: others may spend from it too."""

    def __init__(self, employer: Employer, stop: threading.Event) -> None:
        super().__init__(None)
        self._employer, self._stop = employer, stop

    @property
    def in_flight(self) -> bool:
        """Whether something is set aside, by anyone."""
        return self.limit is not None and bool(self._ask("in_flight"))

    def try_reserve(self, worst: float) -> bool:
        """Set ``worst`` aside; False where that could pass the limit now.

        Raises
        ------
        Halted
            When nothing new is to be begun.
        """
        granted = self.limit is None or bool(self._ask("reserve", worst))
        if self._stop.is_set() or self._employer.gone:
            if granted and self.limit is not None:
                self.settle(worst, 0.0)
            raise Halted
        return granted

    def settle(self, worst: float, cost: float) -> None:
        """Put the cost in the place of what was set aside."""
        if self.limit is not None:
            self.spent = self._ask("settle", worst, cost) or self.spent
        elif cost:
            self._employer.tell({"spend": "settle", "amounts": [worst, cost], "id": None})

    def _ask(self, what: str, *amounts: float) -> Any:
        return self._employer.ask({"spend": what, "amounts": amounts})


class Courier:
    """Encodes texts for an employer, one list after the other.

    Parameters
    ----------
    recipe : dict
        What :func:`~embedtune.encoders.api.recipe.recipe` gives.
    employer : Employer
        Whom to tell.
    """

    def __init__(self, recipe: dict[str, Any], employer: Employer) -> None:
        self.employer, self.stop = employer, threading.Event()
        self.purse = Purse(employer, self.stop)
        self.encoder = opened(recipe)
        self.encoder.spending = self.encoder._asker.spending = self.purse
        self.cache: VectorCache | None = None
        self._thread: threading.Thread | None = None

    def begin(self, order: dict[str, Any], content: bytearray) -> None:
        """Encode texts, in another thread."""
        self.stop.clear()
        self._thread = threading.Thread(target=self._run, args=(order, content))
        self._thread.start()

    def halt(self) -> None:
        """Begin nothing new."""
        self.stop.set()
        self.encoder._asker.halt()

    def finish(self) -> None:
        """Keep what is under way, and be done."""
        while self._thread is not None and self._thread.is_alive():
            self.halt()  # a run that begins just now forgets that it was halted
            self._thread.join(AGAIN)

    def _run(self, order: dict[str, Any], content: bytearray) -> None:
        asker = self.encoder._asker
        asker.answered, asker._base64, before = order["answered"], order["base64"], asker.tokens
        self.purse.limit, self.purse.spent, self.purse.stopped = order["limit"], 0.0, False
        self.encoder.notice = self._notice if order["notice"] else None
        for name, level in order["levels"].items():
            logging.getLogger(name).setLevel(level)
        kind, told = None, None
        try:
            self._encode(order["encode"], order["cache"], *unpacked(content))
        except Halted:
            pass
        except Exception as error:  # noqa: BLE001 - the employer raises it
            kind, told = _described(error)
        outcome = {
            "error": kind,
            "told": told,
            "answered": asker.answered - order["answered"],
            "tokens": asker.tokens - before,
            "base64": asker._base64,
            "stopped": self.purse.stopped,
        }
        self.employer.tell({"outcome": outcome})

    def _encode(self, kind: Kind, place: tuple[str, int], texts: list[str], keys: NDArray[np.uint8]) -> None:
        folder, size = Path(place[0]), place[1]
        if self.cache is None or (self.cache.folder, self.cache.size) != (folder, size):
            self.cache = VectorCache(folder, size=size)
        Work(self.encoder, self.cache, texts, kind, keys, self._take, stop=self.stop).pay(
            np.arange(len(texts))
        )

    def _take(self, rows: NDArray[np.int64], found: Vectors) -> None:
        rows, found = np.ascontiguousarray(rows, np.int64), np.ascontiguousarray(found, np.float32)
        self.employer.tell({"kept": len(rows)}, rows.data, found.data)

    def _notice(self, line: str) -> None:
        self.employer.tell({"notice": line})


def _described(error: BaseException) -> tuple[str, Any]:
    """Give the kind of an error, and what makes the same one again."""
    if isinstance(error, TextsFailed):
        failed = {"rows": error.rows, "reasons": error.reasons, "total": error.total}
        return "TextsFailed", failed | {"where": error.where, "fix": error.fix}
    if isinstance(error, UserError):
        return type(error).__name__, {"what": error.what, "where": error.where, "fix": error.fix}
    if isinstance(error, DiskFull):
        return "DiskFull", str(error)
    return "unexpected", "".join(traceback.format_exception(error))


class _Told(logging.Handler):
    """Hands log records to the employer, whose handlers show them."""

    def __init__(self, employer: Employer) -> None:
        super().__init__()
        self._employer = employer

    def emit(self, record: logging.LogRecord) -> None:
        message = {"log": record.name, "level": record.levelno, "text": record.getMessage()}
        self._employer.tell(message)


def main() -> None:
    """Serve one employer, until it is gone."""
    source, sink, nothing = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):  # nothing but messages may pass
        os.dup2(nothing, standard)
    parent = os.getppid()
    wire = Wire(source, sink, gone=lambda: os.getppid() != parent)
    first = wire.receive()
    if first is None or first[0]["employer"] != parent:
        return
    employer = Employer(wire)
    logging.getLogger().addHandler(_Told(employer))
    courier = Courier(first[0], employer)
    if courier.encoder.fingerprint != first[0]["fingerprint"]:  # another provider has the name here
        return
    employer.tell({"ready": True})
    try:
        while (message := wire.receive()) is not None:
            said, content = message
            if "encode" in said:
                courier.begin(said, content)
            elif "reply" in said:
                employer.answered(said["reply"], said["value"])
            elif "stop" in said:
                courier.halt()
    finally:
        employer.leave()
        courier.finish()


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing is left to tidy up, and nobody waits
