"""The command ``embedtune``, also as ``python -m embedtune``: Ctrl-C ends it with 130 from the start on."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn


class Interrupted(KeyboardInterrupt):
    """Ctrl-C.

    A class of its own: where a plain KeyboardInterrupt has passed through code given to ``exec`` as text, as
    the import of scipy does, ``python -m`` ends by the signal, whatever the exit code that was asked for.
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
