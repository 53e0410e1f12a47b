"""A time for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Give a time in the one or two units that say enough.

    Examples
    --------
    >>> duration(4.2), duration(150), duration(7300)
    ('4 s', '2 min 30 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
