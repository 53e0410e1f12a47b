"""A model as it is given: a tuned one, by itself or in its folder, or a base one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from embedtune import manifest as manifests
from embedtune.artifact import Tuned
from embedtune.encoders import load_encoder
from embedtune.types import Encoder


def open_model(model: Tuned | str | Path | Encoder, **options: Any) -> Tuned:
    """Give a tuned model as it is or from its folder, and a base model with no map.

    Parameters
    ----------
    model : Tuned, str, pathlib.Path or Encoder
        A folder with an artifact is loaded as one; anything else is what
        :func:`embedtune.encoders.load_encoder` takes.
    **options
        For :func:`embedtune.encoders.load_encoder`, which opens the base.

    Raises
    ------
    ArtifactError
        When the folder is an artifact, and damaged.
    ModelNotFound
        When it is no artifact, and no base model either.
    """
    if isinstance(model, Tuned):
        return model
    if isinstance(model, str | Path) and is_tuned(Path(model).expanduser()):
        return Tuned.load(model, options=options)
    return Tuned(load_encoder(model, **options))


def is_tuned(folder: Path) -> bool:
    """Say whether a folder is an artifact; one whose manifest cannot be read counts, to be told so."""
    manifest = folder / manifests.NAME
    if not manifest.is_file():
        return False
    try:
        read = json.loads(manifest.read_bytes())
    except ValueError:
        return True
    return isinstance(read, dict) and read.get("format") == manifests.FORMAT
