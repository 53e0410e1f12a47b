"""Which device a model runs on: the one asked for, that of an environment variable, or what there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from embedtune.errors import UserError

if TYPE_CHECKING:
    import torch

VARIABLE = "EMBEDTUNE_DEVICE"
"""Environment variable that names the device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""


def named_device(asked: str | None = None) -> torch.device | None:
    """Give the device asked for, or that of ``EMBEDTUNE_DEVICE``; None where neither names one.

    Where several processes were started on a machine with GPUs, each takes its own.

    Raises
    ------
    UserError
        When there is no such device; names the variable where the name came from there.
    """
    given = asked or os.environ.get(VARIABLE, "").strip() or None
    return None if given is None else _checked(given, None if asked else VARIABLE)


def device_of(asked: str | None = None) -> torch.device:
    """Give the device that is named, see :func:`named_device`; else a GPU, or the processor.

    Raises
    ------
    UserError
        As :func:`named_device`.
    """
    import torch

    return named_device(asked) or _checked("cuda" if torch.cuda.is_available() else "cpu", None)


def _checked(given: str, where: str | None) -> torch.device:
    import torch

    try:
        device = torch.device(given)
    except RuntimeError:
        raise UserError(
            f"there is no device called {given!r}", where=where, fix="choose cpu or cuda"
        ) from None
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise UserError("torch finds no GPU", where=where, fix="choose cpu, or install torch with CUDA")
    count = torch.cuda.device_count()
    index: int | None = device.index
    if index is None:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % count)
    if index >= count:
        raise UserError(f"there is no {given}: torch finds {count}", where=where, fix="choose another")
    return device
