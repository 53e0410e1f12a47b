"""``embedtune doctor``: what is installed, what it gives, what is in the way and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from embedtune.cli.errors import CHECK_FAILED
from embedtune.cli.options import Json
from embedtune.cli.output import Output


def doctor(json: Json = None) -> None:
    """Say what is installed, and what is in the way.

    The exit code is 3 if something is.
    """
    output = Output(json)
    from embedtune.cli.diagnosis import diagnose

    found = diagnose()
    for title, section in found.items():
        output.say(title)
        for line in _lines(title, section):
            output.say(f"  {line}")
    output.write(found)
    if found["problems"]:
        raise typer.Exit(CHECK_FAILED)


def _lines(title: str, section: Any) -> list[str]:
    """Give a section of the diagnosis as lines."""
    if title == "problems":
        return section or ["none"]
    if title == "extras":
        return [_extra(name, extra) for name, extra in section.items()]
    return [f"{key}: {_value(key, value)}" for key, value in section.items()]


def _extra(name: str, extra: Mapping[str, Any]) -> str:
    if extra["installed"]:
        return f"{name}: installed ({extra['gives']})"
    return f"{name}: lacks {', '.join(extra['missing'])} ({extra['gives']}): {extra['remedy']}"


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value / 1e9:,.1f} GB" if key.endswith("bytes") and value is not None else str(value)
