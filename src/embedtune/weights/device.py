"""What training does on its device: what fits on it, how numbers get there, what is compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from embedtune.weights.methods_base import Method

SHARE = 0.4
"""Share of a GPU's free memory that activations may take."""

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "defaultcpuallocator")
"""What torch says where memory has run out."""

GPU_TOKENS, LARGEST = 8192, 65_536
"""Tokens that go through the model at once on a GPU: at least, and in a step at most."""


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Give a tensor on the device; to a GPU it goes from pinned memory while the processor works on."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def free_memory(device: torch.device) -> float | None:
    """Bytes that are free on a GPU; None on anything else."""
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None


def for_device(method: Method, tower: Any) -> Method:
    """Give larger parts to a GPU, which has nothing to do with smaller ones; a step's are :func:`fitting`."""
    if getattr(getattr(tower, "device", None), "type", "cpu") == "cpu":
        return method
    larger = replace(method, tokens=max(method.tokens, GPU_TOKENS))
    tower.method = larger
    return larger


def fitting(tower: Any, tokens: int, whole: float) -> tuple[int, float]:
    """Give the tokens of a part and the bytes of a whole step: as set, or more on a GPU with room.

    Parameters
    ----------
    tower : Tower
        Its weights are on the device already.
    tokens, whole
        As in the settings.
    """
    free = free_memory(getattr(tower, "device", torch.device("cpu")))
    if free is None:
        return tokens, whole
    room = max(whole, SHARE * free)
    return max(tokens, min(int(room / tower.per_token / 2), LARGEST)), room


def ran_out(error: Exception) -> bool:
    """Whether an error says that memory has run out.

    Examples
    --------
    >>> ran_out(RuntimeError("CUDA out of memory"))
    True
    """
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in OUT_OF_MEMORY)


def wait(tower: Any) -> None:
    """Wait until a GPU has done what it was given, so that time can be taken."""
    if getattr(tower, "device", torch.device("cpu")).type == "cuda":
        torch.cuda.synchronize()


def worth_compiling(asked: bool | str, device: torch.device, steps: int, least: int) -> bool:
    """Whether compiling the layers is worth a trial: for ``"auto"``, in a long run on a GPU."""
    return asked == "auto" and device.type == "cuda" and steps >= least
