"""The command ``embedtune``, also as ``python -m embedtune``: Ctrl-C ends it with 130 from the start on."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn


class Interrupted(KeyboardInterrupt):
    """Ctrl-C.

    A class of its own, as CPython ends the process by the signal, whatever the exit code, where a plain
    KeyboardInterrupt has passed through code given as text, as some imports have it.
    """


def main() -> None:
    """Run the command line; the console script ``embedtune``."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        from embedtune.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was begun\n")
        sys.exit(130)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted


if __name__ == "__main__":
    main()
