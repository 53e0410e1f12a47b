"""What ``embedtune doctor`` looks at: versions, extras, processor, models, cache, torch."""

from __future__ import annotations

import importlib.metadata as metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedtune.errors import UserError

EXTRAS = {
    "local": "transformer models on this machine",
    "static": "static models, without torch",
    "fast": "encoding without torch: ONNX Runtime, OpenVINO",
    "int8": "exports in 8-bit integers",
    "demo": "embedtune demo: its base model and its data",
    "dev": "the tools to develop embedtune",
}
"""What each extra gives."""

LITTLE = 1_000_000_000
"""Bytes of free disk below which a cache is likely to run out of room."""

_REQUIREMENT = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?$")


def diagnose() -> dict[str, Any]:
    """Give what is there, and under ``problems`` one line for each, with its remedy."""
    problems: list[str] = []
    found = {
        "versions": _versions(),
        "extras": extras(),
        "processor": _processor(),
        "torch": _torch(problems),
        "models": models(),
        "cache": _cache(problems),
    }
    return {**found, "problems": problems}


def _versions() -> dict[str, str]:
    core = [name for name, extra in _requirements() if extra is None]
    return {
        "embedtune": metadata.version("embedtune"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) or "missing" for name in core},
    }


def extras() -> dict[str, dict[str, Any]]:
    """Give for each extra what it is for, whether it is installed, and how to install it."""
    members: dict[str, list[str]] = {}
    for name, extra in _requirements():
        if extra is not None:
            members.setdefault(extra, []).append(name)
    found: dict[str, dict[str, Any]] = {}
    for extra, names in members.items():
        missing = [name for name in names if _version(name) is None]
        found[extra] = {"gives": EXTRAS.get(extra, ""), "installed": not missing}
        if missing:
            found[extra] |= {"missing": missing, "remedy": f"pip install 'embedtune[{extra}]'"}
    return found


def _requirements() -> Iterator[tuple[str, str | None]]:
    """Give each required package and the extra it belongs to, as the installed metadata say."""
    for line in metadata.requires("embedtune") or ():
        parsed = _REQUIREMENT.match(line)
        if parsed is not None:
            extra = re.search(r"extra == ['\"]([\w-]+)['\"]", parsed[3] or "")
            yield parsed[1], extra[1] if extra else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> dict[str, Any]:
    import numpy as np  # noqa: F401 - loads the BLAS that is looked for
    from threadpoolctl import threadpool_info

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {
        "cores": cores,
        "blas": [
            f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads" for pool in pools
        ],
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
    }


def _torch(problems: list[str]) -> dict[str, Any]:
    """Import torch in a process of its own, so that a broken one takes nothing down."""
    version = _version("torch")
    if version is None:
        return {"installed": False, "remedy": "pip install 'embedtune[local]'"}
    code = "import torch; print(torch.cuda.is_available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        problems.append(
            f"torch {version} does not import ({why}): reinstall it, pip install --force-reinstall torch"
        )
    return {
        "installed": True,
        "version": version,
        "imports": done.returncode == 0,
        "gpu": done.stdout.strip() == "True",
    }


def models() -> dict[str, str]:
    """Give the models that can be used without a network, and where they come from."""
    from embedtune.encoders.load import PACKAGED

    found = {
        name: f"package {model.package}"
        for name, model in PACKAGED.items()
        if importlib.util.find_spec(model.module) is not None
    }
    return found | dict.fromkeys(_downloaded(), "downloaded before")


def _downloaded() -> list[str]:
    """Give the models in the hub's cache, by the names of its folders."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return []
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = Path(HF_HUB_CACHE).glob("models--*")
    return sorted(folder.name.removeprefix("models--").replace("--", "/") for folder in folders)


def _cache(problems: list[str]) -> dict[str, Any]:
    from embedtune.cache_place import cache_folder, cache_size

    folder = cache_folder()
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    limit: int | None = None
    try:
        limit = cache_size()
    except UserError as error:
        problems.append(str(error))
    if not writable:
        problems.append(f"the cache {folder} cannot be written: set EMBEDTUNE_CACHE_DIR to a folder of yours")
    if free < LITTLE:
        problems.append(
            f"only {free / 1e6:,.0f} MB of disk are free at {existing}: free some, or set EMBEDTUNE_CACHE_DIR"
        )
    return {
        "folder": str(folder),
        "bytes": used,
        "limit_bytes": limit,
        "free_bytes": free,
        "writable": writable,
    }
