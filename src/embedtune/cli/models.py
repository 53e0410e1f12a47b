"""A model given on the command line: a tuned one from its folder, or a base one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedtune.artifact import Tuned
    from embedtune.encoders import Progress


def open_model(name: str) -> Tuned:
    """Load the artifact in the folder ``name``, or the base model called ``name`` with no map.

    Raises
    ------
    ArtifactError
        When the folder is an artifact, and damaged.
    ModelNotFound
        When it is no artifact, and no base model either.
    """
    from embedtune.artifact import Tuned, load
    from embedtune.encoders import load_encoder

    return load(name) if is_tuned(Path(name).expanduser()) else Tuned(load_encoder(name))


def is_tuned(folder: Path) -> bool:
    """Say whether a folder is an artifact; one whose manifest cannot be read counts, to be told so."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return False
    try:
        read = json.loads(manifest.read_bytes())
    except ValueError:
        return True
    return isinstance(read, dict) and read.get("format") == "embedtune"


def watch(model: Tuned, progress: Progress) -> None:
    """Have ``progress`` called while a model encodes texts; vectors that exist already take no time."""
    from embedtune.deferred import DeferredEncoder
    from embedtune.encoders import CachedEncoder

    if isinstance(model.encoder, CachedEncoder | DeferredEncoder):
        model.encoder.progress = progress
