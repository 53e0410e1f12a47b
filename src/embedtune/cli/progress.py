"""Bars with the time left on a terminal; elsewhere a line from time to time. Always on stderr."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from embedtune.duration import duration

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from embedtune.artifact.tuned import Tuned

INTERVAL = 10.0
"""Seconds between two lines where there is no terminal."""


class StageProgress:
    """Shows how far each stage of a command is; call it with (stage, done, total).

    A stage that is over at its first call took no time, and is not shown.
    """

    def __init__(self) -> None:
        self._bars: Progress | None = _bars() if sys.stderr.isatty() else None
        self._stages: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        """Start drawing."""
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` are done in a stage; what follows a colon may change meanwhile."""
        name = stage.partition(": ")[0]
        if self._bars is None:
            self._line(stage, done, total)
        elif name in self._stages:
            self._bars.update(self._stages[name], completed=done, total=total, description=stage)
        elif done < total:
            self._stages[name] = self._bars.add_task(stage, completed=done, total=total)

    def stage(self, name: str) -> Callable[[int, int], None]:
        """Give what reports (done, total) for the stage ``name``."""
        return functools.partial(self, name)

    def _line(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        started, before = self._started.setdefault(
            stage.partition(": ")[0], (now, done)
        )  # before: in the cache
        if now - self._spoke < INTERVAL or done >= total:
            return
        self._spoke = now
        rest = (now - started) / (done - before) * (total - done) if done > before else None
        left = "" if rest is None else f", about {duration(rest)} left"
        typer.echo(f"{stage}: {done:,} of {total:,}{left}", err=True)


def watch(model: Tuned, told: Callable[[int, int], None]) -> None:
    """Have ``told`` called while a model encodes texts; vectors that exist already take no time."""
    from embedtune.artifact.deferred import DeferredEncoder
    from embedtune.encoders import CachedEncoder

    if isinstance(model.encoder, CachedEncoder | DeferredEncoder):
        model.encoder.progress = told


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    return Progress(*columns, console=Console(stderr=True))
