"""Activations below the trained layers: computed once a text, kept on disk in half precision, mapped.

The lower layers are frozen, so what they make of a text never changes. A step then costs the trained layers
alone. Half precision is exact to a part in 2,000, far below what a step changes.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from embedtune.errors import DiskFull
from embedtune.weights.device import moved, ran_out
from embedtune.weights.texts import Rows
from embedtune.weights.tower import Tell

if TYPE_CHECKING:
    from embedtune.weights.transformer import TransformerTower

FILE = "prefix.f16"


class _Skipped(nn.Module):
    """Stands for a layer that is not run; what it is asked for besides comes from the layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.__dict__["layer"] = layer  # not a sub-module: its weights are not to be seen here
        self.value: torch.Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["layer"], name)

    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        out = hidden if self.__dict__["value"] is None else self.__dict__["value"]
        return (out,) if self.__dict__.get("tuple") else out

    def give(self, value: torch.Tensor | None, *, as_tuple: bool) -> None:
        """Set what it gives in place of the layer's output; None hands its input on."""
        self.__dict__["value"], self.__dict__["tuple"] = value, as_tuple


class Prefix:
    """What the layers below the trained ones make of each text.

    Parameters
    ----------
    tower : TransformerTower
        Whose texts; they must have been read.
    stack : torch.nn.ModuleList
        Its layers.
    below : int
        Layers that are not trained.
    folder : pathlib.Path
        Where the file goes.
    """

    def __init__(self, tower: TransformerTower, stack: nn.ModuleList, below: int, folder: Path) -> None:
        self.tower, self.stack, self.count = tower, stack, below
        self.path = folder / FILE
        self._skipped = [_Skipped(layer) for layer in stack]
        self._as_tuple = False
        self._rows: np.ndarray[Any, np.dtype[np.float16]] | None = None

    def compute(self, tell: Tell | None = None) -> None:
        """Run every text through the lower layers; where several processes train, each runs its share.

        Raises
        ------
        DiskFull
            When the activations do not fit on the disk.
        """
        team, tokens = self.tower.team, self.tower.tokens
        rank, size = (0, 1) if team is None else (team.rank, team.size)
        together: Any = contextlib.nullcontext if team is None else team.together
        with together():
            if rank == 0:
                self._make()
        with together():
            kept = np.memmap(self.path, np.float16, "r+", shape=self._shape)  # all on one machine
            batches = tokens.batches(np.arange(len(tokens.lengths)), self.tower.method.tokens)
            mine = batches[rank::size] or batches[:1]
            count, done = sum(len(rows) for rows in mine), 0
            with self._running() as found:
                for rows in mine:
                    if tell:
                        tell(done, count)
                    self._store(kept, rows, found)
                    done += len(rows)
            kept.flush()
        self._rows = kept

    @property
    def _shape(self) -> tuple[int, int]:
        width = int(self.tower.model[0].auto_model.config.hidden_size)
        return max(int(self.tower.tokens.starts[-1]), 1), width

    def _make(self) -> None:
        """Make the file, of zeros."""
        needed = 2 * self._shape[0] * self._shape[1]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.path.parent).free < 1.1 * needed:
            raise DiskFull(
                f"no room for {needed / 1e9:.1f} GB of activations in {self.path.parent}: "
                "free some, set EMBEDTUNE_CACHE_DIR, or take method full"
            )
        np.memmap(self.path, np.float16, "w+", shape=self._shape).flush()

    @contextlib.contextmanager
    def _running(self) -> Iterator[list[Any]]:
        """Run the lower layers alone; what the last of them gives is put into the list."""
        found: list[Any] = []
        hook = self.stack[self.count - 1].register_forward_hook(lambda _m, _i, out: found.append(out))
        above = {place: self._skipped[place] for place in range(self.count, len(self.stack))}
        for layer in self._skipped:
            layer.give(None, as_tuple=False)
        try:
            with torch.inference_mode(), self.tower.mixed(), swapped(self.stack, above):
                yield found
        finally:
            hook.remove()

    def _store(self, kept: Any, rows: Rows, found: list[Any]) -> None:
        """Run some texts, in halves where memory runs out, and keep what is found."""
        try:
            self._run(rows)
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error) or len(rows) == 1:
                raise
            found.clear()
            for half in np.array_split(rows, 2):
                self._store(kept, half, found)
            return
        out = found.pop()
        self._as_tuple = isinstance(out, tuple)
        hidden = out[0] if isinstance(out, tuple) else out
        tokens, values = self.tower.tokens, hidden.to("cpu", torch.float16).numpy()
        for place, row in enumerate(rows):
            start, end = tokens.starts[row], tokens.starts[row + 1]
            kept[start:end] = values[place, self.tower.place(int(end - start), values.shape[1])]

    def _run(self, rows: Rows) -> None:
        self.tower.model[0](self.tower.features(rows))

    @contextlib.contextmanager
    def below(self, rows: Rows) -> Iterator[None]:
        """Put the activations of some texts in the place of the lower layers."""
        tokens, stored = self.tower.tokens, self._rows
        if stored is None:
            raise ValueError("nothing has been computed")
        lengths = tokens.lengths[rows]
        width = max(int(lengths.max(initial=1)), 1)
        hidden = np.zeros((len(rows), width, stored.shape[1]), np.float16)
        for place, row in enumerate(rows):
            where = self.tower.place(int(lengths[place]), width)
            hidden[place, where] = stored[tokens.starts[row] : tokens.starts[row + 1]]
        for layer in self._skipped[: self.count]:
            layer.give(None, as_tuple=self._as_tuple)
        given = moved(torch.from_numpy(hidden), self.tower.device).float()
        self._skipped[self.count - 1].give(given, as_tuple=self._as_tuple)
        with swapped(self.stack, {place: self._skipped[place] for place in range(self.count)}):
            yield


@contextlib.contextmanager
def swapped(stack: nn.ModuleList, layers: Mapping[int, nn.Module]) -> Iterator[None]:
    """Put other modules into the places of some layers for a while."""
    own = {place: stack[place] for place in layers}
    try:
        for place, layer in layers.items():
            stack[place] = layer
        yield
    finally:
        for place, layer in own.items():
            stack[place] = layer
