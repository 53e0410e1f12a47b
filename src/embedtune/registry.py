"""Names to implementations: one table a kind, looked up lazily, open to third parties.

A room keeps its own table in its ``__init__.py``::

    TUNERS = Registry("tuner", {"linear": Entry("embedtune.tuners.linear:LinearTuner", "…")})

Other packages add entries under the entry-point group ``embedtune.<kind>s``.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from embedtune.errors import UserError
from embedtune.extras import require


@dataclass(frozen=True)
class Entry:
    """One implementation: where it lives, what it is, and what it needs."""

    path: str
    """``"package.module:Name"``."""
    summary: str
    """One line, shown in help, errors and the documentation."""
    extra: str | None = None
    """The extra that it needs; None for the core."""
    module: str | None = None
    """The module that proves the extra is there."""


class Registry(Mapping[str, Entry]):
    """A table of named implementations of one kind."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self.kind = kind
        self._built_in = dict(entries)
        self._all: dict[str, Entry] | None = None

    def _entries(self) -> dict[str, Entry]:
        if self._all is None:
            found = dict(self._built_in)
            for point in entry_points(group=f"embedtune.{self.kind}s"):
                if point.name in found:
                    raise UserError(
                        f"two {self.kind}s are called {point.name!r}: "
                        f"{found[point.name].path} and {point.value}",
                        fix="uninstall one of the packages, or rename its entry point",
                    )
                found[point.name] = Entry(point.value, summary=f"from {point.value.split('.')[0]}")
            self._all = found
        return self._all

    def __getitem__(self, name: str) -> Entry:
        entries = self._entries()
        if name not in entries:
            close = difflib.get_close_matches(name, entries, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UserError(
                f"there is no {self.kind} called {name!r}", fix=f"{hint}choose from {', '.join(entries)}"
            )
        return entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def load(self, name: str) -> Any:
        """Import the implementation called ``name``.

        Raises
        ------
        UserError
            When no entry has that name.
        MissingExtra
            When its optional dependency is not installed.
        """
        entry = self[name]
        if entry.extra and entry.module:
            require(entry.module, extra=entry.extra, who=f"{self.kind} {name!r}")
        module, _, attribute = entry.path.partition(":")
        return getattr(importlib.import_module(module), attribute)
