"""Transforms on disk: one safetensors file each, and an entry for the manifest."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from embedtune.errors import ArtifactError, UserError
from embedtune.types import Transform

DTYPES = (np.float32, np.float16, np.int64, np.uint8)
"""What the tensors of transforms may be made of."""


def save_tensors(tensors: dict[str, NDArray[Any]], path: Path) -> None:
    """Write ``tensors`` as safetensors with mode 0644, the same bytes each time.

    Raises
    ------
    OSError
        When the disk is full (``ENOSPC``) or cannot be written.
    """
    try:
        whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        save_file(whole, path, metadata={"format": "pt"})
    except SafetensorError as error:
        full = "os error 28" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path)) from None
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
