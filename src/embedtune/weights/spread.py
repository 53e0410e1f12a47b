"""Several processes, one training: what they say to each other.

The first process reads, decides, judges and writes, as it does alone. The others hold the same model, and
compute their share of each step (:mod:`embedtune.weights.spread_parts`).

The trainers of torch, transformers and accelerate give each process a batch and a loss of its own, and take
the mean of the gradients: a query then meets only the negatives of its own process. Here the vectors of all
processes meet in one loss, and the gradients that come of it add up: they are those of one process.

Messages are JSON; numbers travel as tensors. Nothing is pickled.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from embedtune.encoders.device import device_of
from embedtune.errors import UserError
from embedtune.weights.device import ran_out

PATIENCE = timedelta(days=30)
"""How long the others wait for a message: the first may have hours of other work to do."""

WELL, OUT_OF_MEMORY, FAILED = range(3)


class OtherFailed(UserError):
    """A process could not do its part, and all of them know."""


@dataclass
class Team:
    """The processes that train together.

    Parameters
    ----------
    rank : int
        Number of this process; 0 is the first.
    size : int
        How many there are.
    messages : torch.distributed.ProcessGroup
        Carries what is on the processor, whatever carries the rest.
    """

    rank: int
    size: int
    messages: Any
    broken: bool = False
    """Whether the connection is lost."""
    underway: bool = False
    """In the first process: whether the others are in the middle of something."""
    _own: bool = False

    def say(self, said: dict[str, Any]) -> None:
        """Send a message from the first process to all others."""
        content = torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)
        self._broadcast(torch.tensor([len(content)]), self.messages)
        self._broadcast(content, self.messages)

    def hear(self) -> dict[str, Any]:
        """Wait for the next message of the first process."""
        length = torch.zeros(1, dtype=torch.int64)
        self._broadcast(length, self.messages)
        content = torch.empty(int(length), dtype=torch.uint8)
        self._broadcast(content, self.messages)
        heard: dict[str, Any] = json.loads(bytes(content.tolist()))
        return heard

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Let all processes know, after what each does, whether one of them has failed.

        Raises
        ------
        MemoryError
            When memory ran out in one of them.
        OtherFailed
            When one failed otherwise; in the first process its own error, where it has one.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below, once the others know
            failure = error
        code = WELL if failure is None else OUT_OF_MEMORY if ran_out(failure) else FAILED
        worst = torch.tensor([code])
        with self._linked():
            dist.all_reduce(worst, dist.ReduceOp.MAX, group=self.messages)
        if int(worst) == WELL:
            return
        self.underway = False  # the others know, and wait for what comes next
        if failure is not None and self.rank == 0:
            raise failure
        if code == FAILED:
            sys.stderr.write(f"process {self.rank} of {self.size}: {failure}\n")
        if int(worst) == OUT_OF_MEMORY:
            raise MemoryError("memory ran out in one of the processes") from failure
        raise OtherFailed("another process failed", fix="see what it says") from failure

    def from_first(self, tensor: torch.Tensor) -> None:
        """Fill a tensor with that of the first process."""
        self._broadcast(tensor, None)

    def to_first(self, tensor: torch.Tensor) -> None:
        """Add all processes' tensors up in the first process's; the others' are undefined after it."""
        with self._linked():
            dist.reduce(tensor, 0)

    def anywhere(self, flags: list[bool]) -> list[bool]:
        """Say of each flag whether it is set in any process."""
        joined = torch.tensor(flags, dtype=torch.uint8)
        with self._linked():
            dist.all_reduce(joined, dist.ReduceOp.MAX, group=self.messages)
        return [bool(flag) for flag in joined.tolist()]

    def release(self) -> None:
        """Let the others end."""
        global _team
        if _team is not self:
            return
        _team = None
        if self.broken or self.underway:
            return  # the others notice that the connection is gone
        with contextlib.suppress(Exception):
            if self.rank == 0:
                self.say({"do": "end"})
        if self._own:
            with contextlib.suppress(Exception):
                dist.destroy_process_group()

    def _broadcast(self, tensor: torch.Tensor, group: Any) -> None:
        with self._linked():
            dist.broadcast(tensor, 0, group=group)

    @contextlib.contextmanager
    def _linked(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.broken = True
            raise UserError(
                f"the processes that train together have lost each other ({str(error).splitlines()[0]})",
                fix="see what the one that ended says, and go on with --resume",
            ) from None


_team: Team | None = None


def team() -> Team | None:
    """Give the processes that train together; None where this one is alone."""
    return _team


def join_team() -> Team:
    """Go together with the processes that the environment names; the second time, give what there is.

    Raises
    ------
    UserError
        When they do not find each other.
    """
    global _team
    if _team is not None:
        return _team
    own = not dist.is_initialized()
    device = device_of()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if own:
        try:
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        except (RuntimeError, ValueError) as error:
            where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            raise UserError(
                f"the processes do not find each other ({str(error).splitlines()[0]})",
                where=where,
                fix="start them with torchrun, or one alone without its variables (RANK, WORLD_SIZE)",
            ) from None
    if dist.get_rank():  # before the next line, as the first process goes on only once all have come to it
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for that one
    messages: Any = dist.new_group(backend="gloo", timeout=PATIENCE)
    _team = Team(dist.get_rank(), dist.get_world_size(), messages, _own=own)
    atexit.register(_team.release)
    return _team
