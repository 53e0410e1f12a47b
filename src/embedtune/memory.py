"""A limit on memory: what a run needs is told before it begins, and what can be smaller is made smaller."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import ParamSpec, TypeVar

import pyarrow as pa

from embedtune.errors import UserError
from embedtune.types import Encoder

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

SHARE = 8
"""Of a limit, one part in so many is for vectors that are mapped in one go."""

COPIES = 4
"""Arrays as large as those that a map is fitted to, which a fit holds at a time, about."""

NAMES = 250
"""Bytes of a document's id in all tables together, about."""

MANY = 50_000
"""Rows from which on it is worth the time to hand freed memory back."""

APART = 2**20
"""Bytes from which on an array is then allocated apart."""

_MMAP_THRESHOLD = -3
"""What glibc's ``mallopt`` calls it."""

P = ParamSpec("P")
T = TypeVar("T")

_LIMIT: ContextVar[int | None] = ContextVar("memory", default=None)


def parse_size(size: str | float | None) -> int | None:
    """Read a number of bytes.

    Raises
    ------
    UserError
        When it is no size above zero.

    Examples
    --------
    >>> parse_size("2GB"), parse_size("1.5 G"), parse_size(1000)
    (2000000000, 1500000000, 1000)
    """
    if size is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", str(size), re.IGNORECASE)
    value = int(float(match[1]) * UNITS[match[2].upper()]) if match else 0
    if value <= 0:
        raise UserError(
            f"the memory {size!r} is no size above zero", fix="write for example '2GB' or '800MB'"
        )
    return value


def limited(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function's keyword ``memory`` hold for all that it calls in its thread."""

    @functools.wraps(function)
    def within(*args: P.args, **options: P.kwargs) -> T:
        given = options.get("memory")
        token = _LIMIT.set(parse_size(given if isinstance(given, str | float | int) else None))
        try:
            return function(*args, **options)
        finally:
            _LIMIT.reset(token)

    return within


def is_limited() -> bool:
    """Say whether there is a limit."""
    return _LIMIT.get() is not None


def at_most(usual: int) -> int:
    """Give how many bytes of vectors may be mapped in one go: ``usual``, or less under a limit."""
    limit = _LIMIT.get()
    return usual if limit is None else min(usual, limit // SHARE)


def check_memory(encoder: Encoder, documents: int, queries: int, *, pool: int, at_once: int) -> None:
    """Refuse a limit that a run would pass; without one do nothing.

    Documents that are looked up by id, in a file or a store, are mapped: no more of them is resident than is
    being read. Others are held.

    Parameters
    ----------
    encoder : Encoder
        The base.
    documents, queries : int
        Of the data.
    pool : int
        Documents that candidates are chosen on, at most.
    at_once : int
        Bytes of documents that are mapped in one go without a limit.

    Raises
    ------
    UserError
        With what it would take, and how to need less.
    """
    limit = _LIMIT.get()
    if limit is None:
        return
    row, held = 4 * encoder.dimension, documents
    if encoder.content == "id" or getattr(encoder, "documents_by_id", False):
        documents, held = len(getattr(encoder, "ids")("document")), 0  # noqa: B009 - these have it
    need = resident() + documents * NAMES + held * row + at_most(at_once)
    need += (min(documents, pool) + queries) * row * COPIES
    if need > limit:
        store = "allow more, or read the documents' vectors from a store with --from-store: they stay on disk"
        raise UserError(
            f"this takes about {need / 1e9:.2f} GB of memory, and {limit / 1e9:.2f} GB are allowed",
            fix=store if held else "allow more",
        )


def give_back(rows: int) -> None:
    """Hand freed memory back to the system after very many rows were read: much of it is kept aside.

    From then on arrays are allocated apart, so that what is freed goes back at once.
    """
    if rows < MANY:
        return
    gc.collect()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # not every C library has these
            library = ctypes.CDLL(None)
            library.mallopt(_MMAP_THRESHOLD, APART)
            library.malloc_trim(0)


def resident() -> int:
    """Give the bytes that this process has in memory now; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")), 0)
