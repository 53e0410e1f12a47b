"""Activations below the trained layers: computed once a text, kept on disk in half precision, mapped.

The lower layers are frozen, so what they make of a text never changes. A step then costs the trained layers
alone. Half precision is exact to a part in 2,000, far below what a step changes.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from embedtune.errors import DiskFull
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
        """Run every text through the lower layers.

        Raises
        ------
        DiskFull
            When the activations do not fit on the disk.
        """
        from embedtune.weights.transformer import swapped

        tokens = self.tower.tokens
        width = int(self.tower.model[0].auto_model.config.hidden_size)
        shape = (int(tokens.starts[-1]), width)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.path.parent).free < 2.2 * shape[0] * width:
            raise DiskFull(
                f"no room for {2 * shape[0] * width / 1e9:.1f} GB of activations in {self.path.parent}: "
                "free some, set EMBEDTUNE_CACHE_DIR, or take method full"
            )
        kept = np.memmap(self.path, np.float16, "w+", shape=(max(shape[0], 1), width))
        found: list[Any] = []
        hook = self.stack[self.count - 1].register_forward_hook(lambda _m, _i, out: found.append(out))
        above = {place: self._skipped[place] for place in range(self.count, len(self.stack))}
        for layer in self._skipped:
            layer.give(None, as_tuple=False)
        try:
            with torch.inference_mode(), self.tower.mixed(), swapped(self.stack, above):
                count, done = len(tokens.lengths), 0
                for rows in tokens.batches(np.arange(count), self.tower.method.tokens):
                    if tell:
                        tell(done, count)
                    self._run(rows)
                    out = found.pop()
                    self._as_tuple = isinstance(out, tuple)
                    self._store(kept, rows, out[0] if isinstance(out, tuple) else out)
                    done += len(rows)
        finally:
            hook.remove()
        kept.flush()
        self._rows = kept

    def _run(self, rows: Rows) -> None:
        self.tower.model[0](self.tower.features(rows))

    def _store(self, kept: Any, rows: Rows, hidden: torch.Tensor) -> None:
        tokens, values = self.tower.tokens, hidden.to("cpu", torch.float16).numpy()
        for place, row in enumerate(rows):
            start, end = tokens.starts[row], tokens.starts[row + 1]
            kept[start:end] = values[place, self.tower.place(int(end - start), values.shape[1])]

    @contextlib.contextmanager
    def below(self, rows: Rows) -> Iterator[None]:
        """Put the activations of some texts in the place of the lower layers."""
        from embedtune.weights.transformer import swapped

        tokens, stored = self.tower.tokens, self._rows
        if stored is None:
            raise ValueError("nothing has been computed")
        lengths = tokens.lengths[rows]
        width = max(int(lengths.max(initial=1)), 1)
        hidden = np.zeros((len(rows), width, stored.shape[1]), np.float32)
        for place, row in enumerate(rows):
            where = self.tower.place(int(lengths[place]), width)
            hidden[place, where] = stored[tokens.starts[row] : tokens.starts[row + 1]]
        for layer in self._skipped[: self.count]:
            layer.give(None, as_tuple=self._as_tuple)
        given = torch.from_numpy(hidden).to(self.tower.device)
        self._skipped[self.count - 1].give(given, as_tuple=self._as_tuple)
        with swapped(self.stack, {place: self._skipped[place] for place in range(self.count)}):
            yield
