"""RESULTS.md: a section a script, between markers, replaced when the script runs again."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from embedtune.files import atomic_write

HERE = Path(__file__).parent
OUT = HERE / "out"
RESULTS = HERE / "RESULTS.md"
SECTIONS = (
    "compare",
    "peer-folds",
    "classification",
    "similarity",
    "recommendation",
    "sizes",
    "migration",
    "trust",
    "speed",
    "encoding",
    "engine-quality",
    "weights",
    "weights-memory",
    "teacher",
    "teacher-weights",
    "memory",
    "api",
    "apply",
    "suggest",
    "curve",
)
PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "nudge-ft",
    "implicit",
    "sentence-transformers",
    "onnxruntime",
    "openvino",
    "nncf",
)
HEAD = "# Results\n\nWritten by the scripts of this folder; see [README.md](README.md) for how to run them.\n"


def write_section(name: str, title: str, body: str) -> None:
    """Put ``body`` under ``title`` into the section ``name`` of RESULTS.md, with the command that made it."""
    text = RESULTS.read_text("utf-8") if RESULTS.exists() else HEAD
    parts = {
        found: match[0]
        for found in SECTIONS
        if (match := re.search(rf"<!-- {found} -->.*?<!-- /{found} -->", text, re.DOTALL))
    }
    parts[name] = (
        f"<!-- {name} -->\n## {title}\n\n```\n{command()}\n```\n\n{machine()}\n\n{body}\n<!-- /{name} -->"
    )
    whole = HEAD + "".join(f"\n{parts[section]}\n" for section in SECTIONS if section in parts)
    with atomic_write(RESULTS) as file:
        file.write(whole.encode())


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def kept(path: Path, make: Callable[[], dict[str, Any]], *, reuse: bool) -> dict[str, Any]:
    """Give what ``path`` holds, where it may be reused; else make it and write it there."""
    if reuse and path.exists():
        return dict(json.loads(path.read_text("utf-8")))
    made = make()
    write_json(path, made)
    return made


def slug(name: str) -> str:
    """Give a name as part of a file's.

    Examples
    --------
    >>> slug("linear, as shipped")
    'linear-as-shipped'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def command() -> str:
    """Give the command line that is running, from the root of the repository."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def machine() -> str:
    """Give the cores and versions that figures depend on."""
    versions = ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name)))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores ({platform.machine()}), Python {platform.python_version()}, {versions}."


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a markdown table; all columns but the first are right-aligned."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print the same table to the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def number(value: float | None, places: int = 3) -> str:
    """Format a score, without the leading zero; a dash for nothing."""
    if value is None:
        return "–"
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{places}f}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
