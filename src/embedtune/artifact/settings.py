"""What a result was made from: enough to know, without tuning again, that it would come out the same."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedtune.data.dataset import Dataset
    from embedtune.types import Encoder


@cache
def code_hash() -> str:
    """Give the sha256 over the package's own source: a version in development changes without its number."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def settings_of(
    *,
    method: str,
    metric: str,
    test: str,
    force: bool,
    **more: Any,
) -> dict[str, Any]:
    """Give the settings that a result depends on beside data, base and seed, for the manifest.

    A time budget is not among them: unless it ended the work, it changed nothing. What else is given counts
    unless it is None or empty, so that a setting which is not used tells nothing apart.
    """
    given = {name: value for name, value in more.items() if value is not None and value != []}
    return {"method": method, "metric": metric, "test": test, "force": force, **given, "code": code_hash()}


def same_inputs(
    manifest: Mapping[str, Any],
    dataset: Dataset,
    encoder: Encoder,
    *,
    seed: int,
    settings: Mapping[str, Any],
) -> bool:
    """Say whether tuning would give what is saved already.

    Parameters
    ----------
    manifest : dict
        Of the saved artifact.
    dataset, encoder, seed, settings
        What would be tuned now; the settings as :func:`settings_of` gives them.

    Returns
    -------
    bool
        False also where a time budget ended the saved work, as that depends on the machine.
    """
    verdict = manifest.get("verdict")
    return (
        isinstance(verdict, Mapping)
        and verdict.get("stopped") is False
        and manifest.get("embedtune") == importlib.metadata.version("embedtune")
        and manifest.get("settings") == settings
        and manifest.get("seed") == seed
        and (manifest.get("data") or {}).get("fingerprint") == dataset.fingerprint
        and (manifest["base"].get("tuned_from") or manifest["base"]).get("fingerprint") == encoder.fingerprint
    )
