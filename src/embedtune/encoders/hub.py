"""Models from the Hugging Face hub: what was downloaded before, else one quick try to reach it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from embedtune.errors import DiskFull, ModelNotFound
from embedtune.extras import need
from embedtune.files import FULL

TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer."""

WANTED = ["*.json", "*.txt", "*.model", "*.safetensors", "*.jinja"]
"""Files that are downloaded; weights in pickle files only where there are no others."""

EXPORTS = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"]


def hub_folder(name: str, *, hint: str) -> Path:
    """Give the local snapshot of a model on the hub; download it if it is not there yet.

    Parameters
    ----------
    name : str
        ``owner/model``, or a plain name, which belongs to ``sentence-transformers``.
    hint : str
        The remedy to show when there is no such model.

    Raises
    ------
    ModelNotFound
        When it was never downloaded, and the hub cannot be reached or has no such model.
    MissingExtra
        When huggingface_hub is not installed.
    DiskFull
        When there is no room for what is downloaded.
    """
    hub: Any = need("huggingface_hub", extra="local", who=f"model {name!r}")
    repository = name if "/" in name else f"sentence-transformers/{name}"
    looked = "looked for a folder, an installed package"
    downloaded = _snapshot(hub, repository)
    if downloaded is not None:
        return downloaded
    if _offline(hub):
        raise ModelNotFound(
            f"there is no model {name!r} on this machine ({looked} and a downloaded copy; the hub is "
            "switched off by HF_HUB_OFFLINE)",
            fix=hint,
        )
    try:
        files = [
            file.rfilename for file in hub.HfApi().model_info(repository, timeout=TIMEOUT).siblings or ()
        ]
        weights = [] if any(file.endswith(".safetensors") for file in files) else ["*pytorch_model.bin"]
        return Path(
            hub.snapshot_download(repository, allow_patterns=WANTED + weights, ignore_patterns=EXPORTS)
        )
    except hub.errors.GatedRepoError:
        raise ModelNotFound(
            f"{repository} is open only to those who accepted its terms",
            fix="accept them on the hub, then log in",
        ) from None
    except (hub.errors.RepositoryNotFoundError, hub.errors.HFValidationError):
        raise ModelNotFound(
            f"there is no model {name!r} ({looked} and {repository} on the hub)", fix=hint
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever the network library of the day raises
        if isinstance(error, OSError) and error.errno in FULL:
            raise DiskFull(f"no room left on the disk for model {name!r}: free some") from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelNotFound(
            f"there is no model {name!r} on this machine ({looked} and a downloaded copy), and the hub "
            f"cannot be reached: {reason}",
            fix=f"{hint}, or try again with a connection",
        ) from None


def _snapshot(hub: Any, repository: str) -> Path | None:
    """Give the folder of a model that was downloaded whole before."""
    try:
        folder = Path(hub.snapshot_download(repository, local_files_only=True))
    except (OSError, ValueError):
        return None
    described = (folder / "modules.json").is_file() or (folder / "config.json").is_file()
    weights = any(path.suffix in (".safetensors", ".bin") for path in folder.rglob("*") if path.is_file())
    return folder if described and weights else None


def _offline(hub: Any) -> bool:
    said = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return said or bool(getattr(hub.constants, "HF_HUB_OFFLINE", False))
