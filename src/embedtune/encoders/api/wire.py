"""Messages between a process and its courier, over two pipes: a line of JSON and raw bytes, never pickle.

A message is its two lengths (of the JSON, of the bytes that follow it), the JSON, the bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

if sys.platform != "win32":
    import fcntl

_LENGTHS = struct.Struct(">IQ")

LOOK = 1.0
"""Seconds between two looks at whether the other side is there, while it says nothing."""


ROOM = 1 << 20
"""Bytes that a pipe is to hold, where the system lets it: who sends need not wait for who receives."""


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
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, ROOM)
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


def packed(texts: Sequence[str], keys: NDArray[np.uint8]) -> list[bytes | memoryview]:
    """Give texts and their keys, uint8 (n, 32), as bytes; JSON would take several times as long."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    content = "".join(texts).encode("utf-8", "surrogatepass")
    return [np.int64(len(texts)).tobytes(), lengths.data, np.ascontiguousarray(keys).data, content]


def unpacked(content: bytearray) -> tuple[list[str], NDArray[np.uint8]]:
    """Give what :func:`packed` was given.

    >>> texts, keys = unpacked(bytearray().join(packed(["a", "", "bc"], np.zeros((3, 32), np.uint8))))
    >>> texts, keys.shape
    (['a', '', 'bc'], (3, 32))
    """
    number = int(np.frombuffer(content, np.int64, 1)[0])
    lengths = np.frombuffer(content, np.int64, number, offset=8)
    keys = np.frombuffer(content, np.uint8, 32 * number, offset=8 * (number + 1)).reshape(number, 32)
    text = str(memoryview(content)[8 * (number + 1) + 32 * number :], "utf-8", "surrogatepass")
    ends = np.cumsum(lengths).tolist()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)], keys
