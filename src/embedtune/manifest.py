"""``manifest.json``: what an artifact is made of, with a checksum for every file.

Nothing in it depends on when, where or how fast it was made, so that the same inputs give the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from embedtune.errors import ArtifactError
from embedtune.files import sha256_file

NAME = "manifest.json"
FORMAT = "embedtune"
FORMAT_VERSION = 1
AGAIN = "save or copy the artifact again"

_KEYS = {
    "base": dict,
    "similarity": str,
    "transforms": list,
    "probes": str,
    "files": dict,
}
_DURATIONS = {"seconds", "elapsed", "timestamp"}


def is_artifact(folder: Path) -> bool:
    """Say whether ``folder`` is an artifact, of whatever version, or empty: one that may be overwritten."""
    if not folder.is_dir():
        return False
    try:
        return not any(folder.iterdir()) or json.loads((folder / NAME).read_bytes())["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return False


def plain(value: Any) -> Any:
    """Give ``value`` as JSON knows it: numpy and dataclasses unpacked, NaN as None, durations left out."""
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.name not in _DURATIONS
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if key not in _DURATIONS}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def write_json(value: Any, path: Path) -> None:
    """Write ``value`` as indented UTF-8 JSON with sorted keys."""
    text = json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_bytes(text.encode() + b"\n")


def checksums(folder: Path) -> dict[str, str]:
    """Give the sha256 of every file under ``folder`` but the manifest, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256_file(path) for name, path in names.items() if name != NAME}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of the artifact in ``folder``.

    Raises
    ------
    ArtifactError
        When the folder or its manifest is missing, is not embedtune's, or is of a newer format.
    """
    path = folder / NAME
    if not folder.exists():
        raise ArtifactError("there is no such folder", where=str(folder), fix="check the path")
    try:
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"this is not an embedtune artifact: it has no {NAME}",
            where=str(folder),
            fix="check the path",
        ) from None
    except ValueError as error:
        raise ArtifactError(f"the manifest is not JSON ({error})", where=str(path), fix=AGAIN) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtifactError("the manifest is not embedtune's", where=str(path), fix="check the path")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ArtifactError(
            f"the artifact has format version {version}, this embedtune reads up to {FORMAT_VERSION}",
            where=str(path),
            fix="upgrade embedtune",
        )
    wrong = [key for key, kind in _KEYS.items() if not isinstance(manifest.get(key), kind)]
    if wrong:
        raise ArtifactError(f"the manifest lacks {', '.join(wrong)}", where=str(path), fix=AGAIN)
    _check_paths(manifest, path)
    return manifest


def _check_paths(manifest: dict[str, Any], where: Path) -> None:
    """Make sure that every file which is used has a checksum, and that none lies outside the folder."""
    try:
        base = dict(manifest["base"].get("files") or {})
        used = {
            manifest["probes"],
            *base.values(),
            *(entry["file"] for entry in manifest["transforms"]),
            *(manifest[part]["file"] for part in ("head", "reference") if manifest.get(part)),
        }
    except (KeyError, TypeError, ValueError):
        raise ArtifactError("the manifest is incomplete", where=str(where), fix=AGAIN) from None
    for name in sorted({*manifest["files"], *base}):
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise ArtifactError(
                f"the manifest lists a file outside the folder: {name}",
                where=str(where),
            )
    unlisted = sorted(used - set(manifest["files"]))
    if unlisted:
        raise ArtifactError(
            f"the manifest has no checksum for {unlisted[0]}",
            where=str(where),
            fix=AGAIN,
        )


def check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Compare every file that the manifest lists with its checksum.

    Raises
    ------
    ArtifactError
        When a file is missing or has other content.
    """
    for name, expected in sorted(manifest["files"].items()):
        path = folder / name
        if not path.is_file():
            raise ArtifactError("the file is missing", where=str(path), fix=AGAIN)
        if sha256_file(path) != expected:
            raise ArtifactError("the file is damaged: its checksum is wrong", where=str(path), fix=AGAIN)
