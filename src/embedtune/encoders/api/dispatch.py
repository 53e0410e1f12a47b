"""The side of the courier's employer: it starts the courier, hands it texts, and takes what comes back.

See :mod:`embedtune.encoders.api.courier`, which is the other side. Everything a courier says is heard by a
thread of its own, which a Ctrl-C does not break into; the caller's thread waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedtune import errors
from embedtune.encoders.api.errand import Errand
from embedtune.encoders.api.recipe import recipe, secrets
from embedtune.encoders.api.run import LAST_CALL, Keep
from embedtune.encoders.api.wire import Wire, packed
from embedtune.encoders.pace import current_pace
from embedtune.errors import DiskFull, TextsFailed, UserError
from embedtune.types import Kind

if TYPE_CHECKING:
    from embedtune.encoders.api.encoder import ApiEncoder
    from embedtune.encoders.cache import VectorCache

LOOK = 1.0
"""Seconds between two looks at whether the courier is there, while it says nothing."""

NO_START = "a process of its own for its requests does not start here, so this one makes them"

GOODBYE = 5.0
"""Seconds that an idle courier gets to end."""


class CourierLost(Exception):
    """A courier ended before its work did; its message is for the log.

    Attributes
    ----------
    began : bool
        Whether it had ever said anything.
    """

    def __init__(self, message: str, *, began: bool) -> None:
        super().__init__(message)
        self.began = began


class Dispatch:
    """Hands the texts of one encoder to its courier, one encoding after the other."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._courier: _Courier | None = None
        self.useless = False
        """Whether couriers cannot be started here."""

    def possible(self) -> bool:
        """Say whether there can be a courier: not on Windows, nor where this program is no plain Python."""
        if self.useless or sys.platform == "win32" or not sys.executable or hasattr(sys, "frozen"):
            return False
        courier = self._courier  # what is called back by its thread must not wait for that thread
        return courier is None or courier.thread is not threading.current_thread()

    def encode(
        self,
        encoder: ApiEncoder,
        cache: VectorCache,
        texts: Sequence[str],
        keys: NDArray[np.uint8],
        kind: Kind,
        take: Keep,
    ) -> None:
        """Encode texts; when this returns or raises, all that was handed on is in the cache.

        Raises
        ------
        TextsFailed, UserError, DiskFull
            As :meth:`~embedtune.encoders.api.encoder.ApiEncoder.encode_batches`.
        CourierLost
            When the courier ended early.
        Unfinished
            When the time that holds in this thread ends before; what was under way is kept.
        """
        with self._turn:
            try:
                self._running(encoder).encode(encoder, cache, texts, keys, kind, take)
            except CourierLost as lost:
                self.useless = not lost.began
                raise

    def _running(self, encoder: ApiEncoder) -> _Courier:
        if self._courier is not None and self._courier.usable():
            encoder._check_key()  # it has the one that was there when it was started
            return self._courier
        self._courier = _Courier(encoder)
        weakref.finalize(encoder, self._courier.close)
        return self._courier


class _Courier:
    """A running courier."""

    def __init__(self, encoder: ApiEncoder) -> None:
        self._began = False
        self._open, self._owner = True, os.getpid()
        self._errand: Errand | None = None
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))
        }
        environment |= secrets(encoder)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "embedtune.encoders.api.courier"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # who reads ours to its end must not wait for the courier
                bufsize=0,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise CourierLost(f"{encoder.name}: {NO_START} ({error})", began=False) from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._wire = Wire(self._stdout.fileno(), self._stdin.fileno())
        self.thread = threading.Thread(target=self._listen, daemon=True, name="embedtune-courier")
        self.thread.start()
        with contextlib.suppress(OSError):  # a courier that is dead is found out soon
            self._wire.send({"employer": os.getpid()} | recipe(encoder))

    def usable(self) -> bool:
        """Say whether it runs, and is this process's: not that of one which this was forked from."""
        return self._open and self._owner == os.getpid() and self._process.poll() is None

    def encode(
        self,
        encoder: ApiEncoder,
        cache: VectorCache,
        texts: Sequence[str],
        keys: NDArray[np.uint8],
        kind: Kind,
        take: Keep,
    ) -> None:
        """See :meth:`Dispatch.encode`."""
        asker = encoder._asker
        order = {
            "encode": kind,
            "cache": [str(cache.folder.absolute()), cache.size],
            "limit": encoder.spending.limit,
            "notice": encoder.notice is not None,
            "levels": {name: logging.getLogger(name).getEffectiveLevel() for name in ("", "embedtune")},
            "answered": asker.answered,
            "base64": asker._base64,
        }
        errand = self._errand = Errand(encoder, take)
        pace, sent = current_pace(), False
        try:
            with contextlib.suppress(OSError):
                self._wire.send(order, *packed(texts, keys))
            sent = True
            while not errand.changed.wait(LOOK if pace is None else min(LOOK, pace.left)):
                if not self.thread.is_alive():
                    break
                if pace is not None:
                    pace.check()
            if errand.trouble is not None:
                raise errand.trouble
        except BaseException:
            self._break_off(errand, sent)
            raise
        finally:
            self._errand = None
            errand.settle_rest()
        if errand.outcome is None:
            self.close()
            raise CourierLost(self._obituary(encoder.name), began=self._began)
        self._tell(errand.outcome, encoder)

    def _break_off(self, errand: Errand, sent: bool) -> None:
        """Take what is under way, as it is paid for; leave the courier to it where that takes long."""
        try:
            if sent:
                self._wire.send({"stop": True})
                errand.ended.wait(LAST_CALL)
        except OSError:  # it is gone
            pass
        finally:
            if errand.outcome is None:
                self.close(wait=0.0)  # it ends when it has kept what is under way

    def _listen(self) -> None:
        """Hear what the courier says, until it ends."""
        while (message := self._wire.receive()) is not None:
            self._began = True
            self._hear(*message)
        self._stdout.close()
        if (errand := self._errand) is not None:
            errand.end(None)

    def _hear(self, message: dict[str, Any], content: bytearray) -> None:
        if (errand := self._errand) is None:  # it was left
            return
        try:
            errand.hear(message, content, self._wire)
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            errand.fail(error)

    def _obituary(self, name: str) -> str:
        if not self._began:
            return f"{name}: {NO_START}"
        code = self._process.poll()
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"{name}: the process that made its requests was ended ({how}); what it had kept is there"

    def _tell(self, outcome: dict[str, Any], encoder: ApiEncoder) -> None:
        """Raise what the courier met, if anything."""
        asker = encoder._asker
        asker.answered += outcome["answered"]
        asker.tokens += outcome["tokens"]
        asker._base64 = outcome["base64"]
        encoder.spending.stopped |= outcome["stopped"]
        kind, told = outcome["error"], outcome["told"]
        if kind is None:
            return
        if kind == "TextsFailed":
            raise TextsFailed(**told)
        if kind == "DiskFull":
            raise DiskFull(told)
        if kind == "unexpected":
            raise RuntimeError(f"the process that made the requests of {encoder.name} met a defect:\n{told}")
        found = getattr(errors, kind, UserError)
        raise found(**told)

    def close(self, wait: float = GOODBYE) -> None:
        """Let it go: it ends at once if it is idle, else when it has kept what is under way."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(OSError):
            self._stdin.close()
        if wait and self._owner == os.getpid() and self.thread is not threading.current_thread():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait)
                self.thread.join(wait)
