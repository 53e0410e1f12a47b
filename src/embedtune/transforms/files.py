"""Transforms on disk: one safetensors file each, and an entry for the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from embedtune.errors import ArtifactError, UserError
from embedtune.mapped import release
from embedtune.types import Transform

DTYPES = (np.float32, np.float16, np.int64, np.uint8)
"""What the tensors of transforms may be made of."""

NAMES = {np.int64: "I64", np.float64: "F64", np.float32: "F32", np.float16: "F16", np.uint8: "U8"}
"""What safetensors calls a type; in its files tensors come in this order, then by name."""

ROWS = 4096
"""Rows written at a time."""


def save_tensors(tensors: dict[str, NDArray[Any]], path: Path) -> None:
    """Write ``tensors`` as safetensors with mode 0644, the same bytes each time: those of its library.

    Row by row: the library has all of a mapped tensor in memory.

    Raises
    ------
    OSError
        When the disk is full (``ENOSPC``) or cannot be written.
    """
    kinds = list(NAMES)
    order = sorted(tensors, key=lambda name: (kinds.index(tensors[name].dtype.type), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        kind = NAMES[tensor.dtype.type]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            for at in range(0, len(tensors[name]), ROWS):
                file.write(np.ascontiguousarray(tensors[name][at : at + ROWS]).data)
                release(tensors[name])
    path.chmod(0o644)


def load_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read what :func:`save_tensors` wrote.

    Raises
    ------
    ArtifactError
        When the file is missing, cut short or not safetensors.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ArtifactError(
            "the file is missing",
            where=str(path),
            fix="save or copy the artifact again",
        ) from None
    except SafetensorError as error:
        raise ArtifactError(
            f"the file is damaged ({error})",
            where=str(path),
            fix="save or copy the artifact again",
        ) from None


def save_transform(transform: Transform, folder: Path, stem: str) -> dict[str, Any]:
    """Write ``folder/stem.safetensors`` and give its entry: ``{"kind", "settings", "file"}``."""
    tensors, settings = transform.state()
    name = f"{stem}.safetensors"
    save_tensors(tensors, folder / name)
    return {"kind": transform.kind, "settings": settings, "file": name}


def load_transform(entry: dict[str, Any], folder: Path) -> Transform:
    """Rebuild the transform that :func:`save_transform` wrote into ``folder``.

    Raises
    ------
    ArtifactError
        When its kind is unknown, or its tensors are damaged or not what the kind needs.
    """
    from embedtune.transforms import TRANSFORMS

    path = folder / entry["file"]
    if entry["kind"] not in TRANSFORMS:
        raise ArtifactError(
            f"there is no transform called {entry['kind']!r}",
            where=str(path),
            fix="upgrade embedtune, or install the package that brings it",
        )
    tensors = load_tensors(path)
    wrong = sorted(name for name, t in tensors.items() if t.dtype not in DTYPES)
    if wrong:
        raise ArtifactError(f"tensors of an unexpected dtype: {', '.join(wrong)}", where=str(path))
    try:
        transform: Transform = TRANSFORMS.load(entry["kind"]).from_state(tensors, entry["settings"])
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise ArtifactError(
            f"the tensors do not make a transform of kind {entry['kind']!r} ({error})",
            where=str(path),
        ) from None
    return transform
