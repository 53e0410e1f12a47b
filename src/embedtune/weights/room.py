"""Whether training fits into memory, told from the model's files before they are loaded."""

from __future__ import annotations

import contextlib
import math
import os
import re
from pathlib import Path

from embedtune.encoders.model_folder import tensor_shapes
from embedtune.errors import UserError
from embedtune.types import Encoder
from embedtune.weights.methods_base import Method

LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")
"""Where the names of tensors have the number of their layer."""

COPIES = 5
"""What a trained weight takes beside itself: gradient, two moments, the base's value and the best."""

LORA = 0.05
"""Share of a model's weights that its low-rank changes have, about."""


def needed(folder: Path, method: Method) -> float | None:
    """Bytes that training will take, about; None where the files do not say (weights that are pickled)."""
    sizes = {
        name: math.prod(shape)
        for path in folder.rglob("*.safetensors")
        for name, shape in tensor_shapes(path).items()
    }
    if not sizes:
        return None
    whole = sum(sizes.values())
    trained = float(whole)
    if method.layers:
        number = {name: int(found[1]) for name in sizes if (found := LAYER.search(f".{name}"))}
        lowest = max(number.values(), default=-1) - method.layers + 1
        trained = float(sum(sizes[name] for name, layer in number.items() if layer >= lowest))
    elif method.name == "lora":
        trained = LORA * whole
    return 4.0 * (whole + COPIES * trained) + method.memory


def available() -> float:
    """Bytes of memory that are free where training runs; infinite where the system does not say."""
    from embedtune.encoders.device import device_of
    from embedtune.weights.device import free_memory

    on_gpu = free_memory(device_of())
    if on_gpu is not None:
        return on_gpu
    with contextlib.suppress(OSError):
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        if found:
            return 1024.0 * int(found[1])
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return math.inf


def refuse_too_large(method: Method, encoder: Encoder) -> None:
    """Refuse a model whose training would not fit into memory.

    Raises
    ------
    UserError
        With what it would take, and what there is.
    """
    folder: Path | None = getattr(encoder, "folder", None)
    wanted = None if folder is None else needed(folder, method)
    free = available()
    if wanted is not None and wanted > free:
        other = "layers with --layers 1, or lora" if method.name == "full" else "a smaller model"
        raise UserError(
            f"tuning {encoder.name} by {method.name!r} would take about {wanted / 1e9:.1f} GB of memory, "
            f"and {free / 1e9:.1f} GB are free",
            fix=f"take {other}, or an adapter (method linear)",
        )
