"""The work of encoding texts through an API: several requests at a time, each answer kept as it comes.

What is paid for twice: a vector is handed on to be kept as soon as its answer is read, before the same worker
sends anything else, and nothing is asked for that is kept. Lost are only answers that are under way, or being
kept, when the process is killed that makes the requests. Where vectors are kept that is a courier (see
``courier.py``), which ends with its own work, whatever ends the process that employs it: nothing is lost.
The process itself makes the requests that are the only one of an encoding, and all where there is no courier
(on Windows, and where nothing is kept). There, a kill loses those of at most :data:`WORKERS` times
``concurrency`` requests; so does one that ends the courier too, as that of a whole container does.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedtune.encoders.api.asking import Failed, Halted, OverLimit
from embedtune.encoders.api.batches import batches, byte_lengths, estimated_tokens
from embedtune.encoders.api.refusals import Refused
from embedtune.encoders.pace import current_pace
from embedtune.errors import TextsFailed, UserError
from embedtune.types import Kind, Vectors

if TYPE_CHECKING:
    from embedtune.encoders.api.encoder import ApiEncoder

logger = logging.getLogger(__name__)

Keep = Callable[[NDArray[np.int64], Vectors], None]
"""Gets rows of the texts and their vectors (n, d), from any thread, as soon as they are there."""

WORKERS = 2
"""Threads for each request at a time: while some wait for answers, others read and keep theirs."""

GIVE_UP = 3
"""So many requests in a row that no try could save end the work: the provider is down, or the model wrong."""

FEWER_TRIES = 3
"""Tries of a part of a request, when one is looked for that the provider fails on."""

LAST_CALL = 10.0
"""Seconds that answers under way are waited for when the work is broken off: they are paid for."""

USELESS = "its vector is zero or not finite"

_TOO_LONG = re.compile(r"token|length|long|context|exceed", re.IGNORECASE)


@dataclass
class Run:
    """The encoding of some texts."""

    encoder: ApiEncoder
    texts: Sequence[str]
    kind: Kind
    keep: Keep
    reasons: dict[int, str] = field(default_factory=dict)
    """Why a text has no vector."""
    fatal: BaseException | None = None
    over: bool = False
    """Whether the limit of cost was reached."""
    cut: list[int] = field(default_factory=list)
    done: int = 0
    row_of_failures: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Encode everything, or say what is missing.

        Raises
        ------
        Unfinished
            When the time that holds in this thread ends before; what was under way has been handed on.
        """
        encoder, asker = self.encoder, self.encoder._asker
        encoder._check_key()
        self.texts = [text or " " for text in self.texts]  # APIs refuse empty ones
        tokens = estimated_tokens(byte_lengths(self.texts))
        queue = list(batches(tokens, encoder._items, encoder._tokens))[::-1]
        asker.start()
        threads = min(len(queue), WORKERS * asker.manner.concurrency)
        pool = ThreadPoolExecutor(threads)
        futures = [pool.submit(self._work, queue) for _ in range(threads)]
        try:
            self._wait(futures)
        finally:
            self._end(pool, futures)
        self._tell()

    def _wait(self, futures: list[Future[None]]) -> None:
        """Wait for all threads, until one fails or the time ends."""
        pace = current_pace()
        while True:
            given = None if pace is None else pace.left
            done, others = wait(futures, given, return_when=FIRST_EXCEPTION)
            if pace is None or not others or self.fatal is not None or any(one.exception() for one in done):
                return
            pace.check()

    def _end(self, pool: ThreadPoolExecutor, futures: list[Future[None]]) -> None:
        """End all threads: at once where nothing is under way, else when what is paid for has come."""
        asker = self.encoder._asker
        if any(not future.done() for future in futures):
            self._stop(Halted())  # counts where the caller was interrupted; else there is a reason already
            if wait(futures, timeout=LAST_CALL).not_done:
                asker.hang_up()
        pool.shutdown(wait=True)

    def _work(self, queue: list[NDArray[np.int64]]) -> None:
        """Take one batch after the other."""
        while self.fatal is None and not self.over:
            try:
                rows = queue.pop()
            except IndexError:
                return
            try:
                self._encode(rows)
            except Halted:
                return
            except BaseException as error:
                self._stop(error)
                raise

    def _encode(self, rows: NDArray[np.int64], tries: int = 3) -> None:
        """Encode one batch; in halves where it is refused or too dear, and again what came out useless."""
        if self.fatal is not None or self.over:
            return None
        try:
            vectors, good = self.encoder._send([self.texts[row] for row in rows], self.kind)
        except Refused as error:
            if len(rows) > 1:
                return self._halves(rows, tries)
            return self._refused(int(rows[0]), str(error))
        except OverLimit:
            if len(rows) > 1:
                return self._halves(rows, tries)
            self.over = True
            return None
        except Failed as error:
            return self._narrow(rows, str(error))
        self._keep(rows[good], vectors[good])
        bad = rows[~good]
        if not len(bad):
            return None
        if tries > 1:
            return self._encode(bad, tries - 1)
        return self._failed(bad, USELESS, content=True)

    def _narrow(self, rows: NDArray[np.int64], reason: str) -> None:
        """Look for the one text that the provider fails on, as long as it answers half of a request."""
        while len(rows) > 1 and self.encoder._asker.answered:
            failing = []
            for part in np.array_split(rows, 2):
                try:
                    texts = [self.texts[row] for row in part]
                    vectors, good = self.encoder._send(texts, self.kind, FEWER_TRIES)
                except (Failed, Refused, OverLimit) as error:
                    failing.append(part)
                    reason = str(error) or reason
                else:
                    self._keep(part[good], vectors[good])
                    if not good.all():
                        self._failed(part[~good], USELESS, content=True)
            if not failing:
                return
            if len(failing) == 2:
                break
            rows = failing[0]
        self._failed(rows, reason)

    def _halves(self, rows: NDArray[np.int64], tries: int) -> None:
        middle = len(rows) // 2
        self._encode(rows[:middle], tries)
        self._encode(rows[middle:], tries)

    def _refused(self, row: int, reason: str) -> None:
        """Cut a text that is too long for the model, as the model would; else it has no vector."""
        text, most = self.texts[row], self.encoder.max_tokens or 8192
        for characters in (4 * most, 3 * most, 2 * most, most) if _TOO_LONG.search(reason) else ():
            if characters >= len(text):
                continue
            try:
                vectors, good = self.encoder._send([text[:characters]], self.kind)
            except Refused:
                continue
            except (Failed, OverLimit):
                break
            if good[0]:
                self.cut.append(row)
                self._keep(np.array([row]), vectors)
                return
        self._failed(np.array([row]), reason, content=True)

    def _keep(self, rows: NDArray[np.int64], vectors: Vectors) -> None:
        if not len(rows):
            return
        self.keep(rows, vectors)
        with self.lock:
            self.done += len(rows)
            self.row_of_failures = 0

    def _failed(self, rows: NDArray[np.int64], reason: str, *, content: bool = False) -> None:
        """Note why texts have no vector; end the work where it is not for what is in them (``content``)."""
        with self.lock:
            self.reasons |= dict.fromkeys(rows.tolist(), reason)
            answered = self.encoder._asker.answered > 0
            self.row_of_failures += not (content and answered)
            end = self.row_of_failures >= GIVE_UP or not (content or answered)
        if end:
            fix = "run again later" if answered else "check the model, --dimensions and --api-base"
            kept = "; what was paid for is kept" if self.done else ""
            what = f"no vectors come from {self.encoder.name}: {reason}"
            self._stop(UserError(what, where=str(self.encoder.address), fix=fix + kept))

    def _stop(self, error: BaseException) -> None:
        with self.lock:
            self.fatal = self.fatal or error
        self.encoder._asker.halt()

    def _tell(self) -> None:
        """Say what went wrong, if anything."""
        if self.cut:
            logger.warning("%d texts were too long for %s, and were cut", len(self.cut), self.encoder.name)
        if self.fatal is not None:
            raise self.fatal
        if self.over:
            spending, price = self.encoder.spending, self.encoder.price
            spending.stopped = True
            currency = price.currency if price else ""
            raise UserError(
                f"stopped before the limit of {spending.limit:g} {currency}: {self.done:,} of "
                f"{len(self.texts):,} texts were encoded, for {spending.spent:.4g}",
                where=self.encoder.name,
                fix="what was paid for is kept: run again with a higher --max-cost",
            )
        if self.reasons:
            rows = sorted(self.reasons)
            raise TextsFailed(
                rows,
                [self.reasons[row] for row in rows],
                len(self.texts),
                where=self.encoder.name,
                fix="the others are kept: mend or remove these, or run again",
            )
