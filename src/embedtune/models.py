"""A model as it is given: a tuned one, by itself or in its folder, or a base one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedtune import manifest as manifests
from embedtune.artifact.tuned import Tuned
from embedtune.encoders import load_encoder
from embedtune.encoders.api.providers import provider_of
from embedtune.encoders.load import API_OPTIONS, PACKAGED
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


def open_models(
    model: str | Path, against: str | Path | None, options: Mapping[str, Any]
) -> tuple[Tuned, Tuned | None]:
    """Open a model and the one that it is compared with; ``options`` of APIs are for those that have one."""
    plain = {name: value for name, value in options.items() if name not in API_OPTIONS}
    base = options.get("api_base")
    if against is None:
        return open_model(model, **options), None
    reached = [is_reached(one, base) for one in (model, against)]
    first, second = (dict(options if one or not any(reached) else plain) for one in reached)
    return open_model(model, **first), open_model(against, **second)


def is_reached(model: str | Path, api_base: str | None) -> bool:
    """Say whether a model, or the base of a tuned one, is reached through an API."""
    folder = Path(model).expanduser()
    if folder.exists():
        return is_tuned(folder) and bool(manifests.read_manifest(folder)["base"].get("api"))
    return str(model) not in PACKAGED and provider_of(str(model), api_base) is not None


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
