"""A device that does not exist: its tensors hold their numbers, and refuse to meet those of the processor.

On a GPU the commonest mistake is a tensor that was left behind. Here it raises as it would there, on a
machine that has none; and as the processor does the sums, the results can be compared with its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
"""What the tensors say that they are on: a name that torch knows, and that nothing else here uses."""

MOVES = ("aten._to_copy.default", "aten.to.device", "aten.copy_.default")
"""What brings numbers from one device to another."""

INDEXES = ("aten.index.Tensor", "aten.index_put_.default", "aten._index_put_impl_.default")
"""Where numbers of rows may come from the processor, as on a GPU."""


class Away(torch.Tensor):
    """A tensor on :data:`DEVICE`."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Away:
        """Wrap a tensor of the processor."""
        made: Away = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do what is asked."""
        return done(function, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """While it is entered, what is brought to :data:`DEVICE` becomes :class:`Away`."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do what is asked."""
        return done(function, args, kwargs or {})


def done(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """Do it on the processor, if all tensors are on one device; give the result where it belongs."""
    given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    away = [one for one in given if isinstance(one, Away)]
    others = [one for one in given if not isinstance(one, Away) and one.dim()]  # a single number may stay
    name = str(function)
    if away and others and name not in MOVES + INDEXES:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    args, kwargs = tree_map(lambda one: one.inner if isinstance(one, Away) else one, (args, kwargs))
    there = bool(away)
    if isinstance(kwargs.get("device"), torch.device):
        there = kwargs["device"].type == DEVICE.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif name == "aten.to.device":
        there = args[1].type == DEVICE.type
        args = (args[0], torch.device("cpu"), *args[2:])
    found = function(*args, **kwargs)
    if name == "aten.copy_.default":
        return given[0]
    own = {id(one.inner): one for one in away}  # what was changed in place is given back itself

    def placed(one: Any) -> Any:
        if not isinstance(one, torch.Tensor) or isinstance(one, Away):
            return one
        return own[id(one)] if id(one) in own else Away(one)

    return tree_map(placed, found) if there else found
