"""Whether several processes were started to train together; told from the environment, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What ``torchrun`` and ``accelerate launch`` tell the processes that they start."""


def several(environment: Mapping[str, str] | None = None) -> bool:
    """Say whether this process is one of several that train together.

    Examples
    --------
    >>> several({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"})
    True
    >>> several({"WORLD_SIZE": "1"})
    False
    """
    given = os.environ if environment is None else environment
    return all(given.get(name) for name in NAMES) and given["WORLD_SIZE"] not in ("0", "1")


def join() -> None:
    """Go together with the other processes, where there are any; call it before any work.

    The first process returns. The others compute their share of its training, write and say nothing, and
    exit when it ends.
    """
    if not several():
        return
    from embedtune.weights.spread import join_team

    team = join_team()
    if team.rank:
        from embedtune.weights.spread_parts import serve

        serve(team)
        raise SystemExit(0)
