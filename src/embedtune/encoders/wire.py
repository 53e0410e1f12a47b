"""Messages between a process and its courier, over two pipes: a line of JSON and raw bytes, never pickle.

A message is its two lengths (of the JSON, of the bytes that follow it), the JSON, the bytes.
"""

from __future__ import annotations

import json
import os
import select
import struct
import threading
from collections.abc import Callable
from typing import Any

_LENGTHS = struct.Struct(">IQ")

LOOK = 1.0
"""Seconds between two looks at whether the other side is there, while it says nothing."""


class Wire:
    """One side of two pipes; any thread may send, one thread receives.

    Parameters
    ----------
    source, sink : int
        The file descriptors that are read and written.
    gone : callable, optional
        Says whether the other side is gone for good, although its end of the pipe may still be open: in a
        process that it forked. With it, neither side of the pipes is waited for without looking.
    """

    def __init__(self, source: int, sink: int, gone: Callable[[], bool] | None = None) -> None:
        self._source, self._sink, self._gone = source, sink, gone
        self._lock = threading.Lock()
        if gone is not None:
            os.set_blocking(sink, False)

    def send(self, message: dict[str, Any], *content: bytes | memoryview) -> None:
        """Send a message, and bytes with it.

        Raises
        ------
        OSError
            When nobody reads any more.
        """
        head = json.dumps(message).encode()  # ASCII: lone surrogates come through
        pieces = [memoryview(piece).cast("B") for piece in content if len(piece)]
        lengths = _LENGTHS.pack(len(head), sum(len(piece) for piece in pieces))
        with self._lock:
            for piece in (memoryview(lengths + head), *pieces):
                while len(piece):
                    piece = piece[self._write(piece) :]

    def receive(self) -> tuple[dict[str, Any], bytearray] | None:
        """Give the next message and its bytes; None when the other side is gone."""
        lengths = self._read(_LENGTHS.size)
        if lengths is None:
            return None
        of_head, of_content = _LENGTHS.unpack(lengths)
        head, content = self._read(of_head), self._read(of_content)
        if head is None or content is None:
            return None
        return json.loads(head), content

    def _write(self, piece: memoryview) -> int:
        try:
            return os.write(self._sink, piece)
        except BlockingIOError:
            if not select.select([], [self._sink], [], LOOK)[1] and self._gone is not None and self._gone():
                raise BrokenPipeError from None
            return 0

    def _read(self, size: int) -> bytearray | None:
        got, filled = bytearray(size), 0
        view = memoryview(got)
        while filled < size:
            if self._gone is not None and not select.select([self._source], [], [], LOOK)[0]:
                if self._gone():
                    return None
                continue
            number = os.readv(self._source, [view[filled:]])
            if not number:
                return None
            filled += number
        return got
