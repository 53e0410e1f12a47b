"""Cells to moments: one form of timestamp a dataset, as two forms side by side are a mistake."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any

from embedtune.data.readers.values import wrong

SECONDS, MILLISECONDS = "seconds since 1970", "milliseconds since 1970"
LOCAL, ZONED = "ISO 8601 without a time zone", "ISO 8601 with a time zone"

_MILLISECONDS_FROM = 10**11
"""From here on a number is milliseconds: as seconds it would be the year 5138, as milliseconds it is 1973."""

_TOO_LARGE = 10**14
"""From here on a number is neither: micro- or nanoseconds."""


class Times:
    """Reads timestamps; the first one says in which form all others are.

    Epoch seconds or milliseconds (numbers, or their digits as text), ISO 8601 text, or ``datetime``
    objects. ISO 8601 without a time zone counts as UTC.

    Examples
    --------
    >>> times = Times()
    >>> times.read("1970-01-01T00:00:02", "timestamp", "log.csv", 2)
    2000
    >>> times.read("3", "timestamp", "log.csv", 3)
    Traceback (most recent call last):
    ...
    embedtune.errors.DataError: log.csv:3, column 'timestamp': '3' is seconds since 1970, but \
log.csv:2 is ISO 8601 without a time zone; write all timestamps in one form
    """

    def __init__(self) -> None:
        self._form: str | None = None
        self._first = ""

    def read(self, value: Any, column: str, file: str, line: int) -> int:
        """Give a cell's moment in milliseconds since 1970.

        Raises
        ------
        DataError
            When it is no timestamp, or one of another form than those before.
        """
        form, moment = _parsed(value, column, file, line)
        if self._form is None:
            self._form, self._first = form, f"{file}:{line}"
        if form != self._form:
            what = f"{value!r} is {form}, but {self._first} is {self._form}"
            raise wrong(what, column, file, line, "write all timestamps in one form")
        return moment


def _parsed(value: Any, column: str, file: str, line: int) -> tuple[str, int]:
    """Form and milliseconds of one cell."""
    fix = "write seconds or milliseconds since 1970, or ISO 8601 such as 2024-05-01T12:00:00Z"
    if isinstance(value, str):
        text = value.strip()
        number = _number(text)
        if number is not None:
            value = number
        else:
            try:
                value = datetime.fromisoformat(text)
            except ValueError:
                raise wrong(f"{text!r} is no timestamp" if text else "the timestamp is empty",
                            column, file, line, fix) from None  # fmt: skip
    elif value is None:
        raise wrong("the timestamp is empty", column, file, line, fix)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        zoned = value.tzinfo is not None
        moment = (value if zoned else value.replace(tzinfo=UTC)).timestamp()
        return ZONED if zoned else LOCAL, round(moment * 1000)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong(f"{value!r} is no timestamp", column, file, line, fix)
    if not 0 <= value < _TOO_LARGE:
        raise wrong(f"{value!r} is neither seconds nor milliseconds since 1970", column, file, line, fix)
    if value >= _MILLISECONDS_FROM:
        return MILLISECONDS, round(value)
    return SECONDS, round(value * 1000)


def _number(text: str) -> float | None:
    """Read a number of digits, with or without a fraction; a compact date such as 20240501 is none."""
    if not text or not text.isascii() or not text.replace(".", "", 1).lstrip("+-").isdigit():
        return None
    return None if len(text) == 8 and text[:2] in ("19", "20") else float(text)
