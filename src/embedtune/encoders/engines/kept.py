"""Exports in the cache: one for each model, under the hash of its files, verified whenever it is opened."""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

from embedtune.cache_place import cache_folder, cache_size
from embedtune.encoders.engines.exported import Exported, read_export
from embedtune.errors import ArtifactError
from embedtune.folders import new_folder

logger = logging.getLogger(__name__)

VERSION = 1
"""Raised when a change of how models are exported changes the exports."""

DAY = 86_400.0
"""Seconds after which an export that is used has its time stamps renewed, so that it is not evicted."""


def kept_export(folder: Path, content: str, name: str) -> Exported:
    """Give the export of a model to ONNX: from the cache, or made now and put there.

    Where the cache keeps nothing (``EMBEDTUNE_CACHE_SIZE=0``), the export is made for this process alone.

    Parameters
    ----------
    folder : pathlib.Path
        The model's sentence-transformers folder.
    content : str
        What its ``content_hash`` gives.
    name : str
        What the model is called.

    Raises
    ------
    MissingExtra
        When it must be made, and torch, sentence-transformers or onnx is not installed.
    UserError
        When the model has no export that gives the vectors of torch.
    DiskFull
        When there is no room for it.
    """
    place = export_place(content)
    if place.exists():
        try:
            found = read_export(place)
        except ArtifactError as error:  # damaged, or a part of it was evicted
            logger.warning("a kept export is made again: %s", error)
            shutil.rmtree(place, ignore_errors=True)
        else:
            _renew(found)
            return found
    from embedtune.encoders.engines.from_torch import write_onnx

    if cache_size() == 0:
        temporary = tempfile.mkdtemp(prefix="embedtune-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        place = Path(temporary) / "export"
    with new_folder(place, replaces=lambda _: True) as out:  # another process may have been faster
        write_onnx(folder, out, content=content, name=name)
    return read_export(place)


def export_place(content: str) -> Path:
    """Give the folder in the cache where the export of a model belongs."""
    key = hashlib.sha256(f"{content}\nonnx {VERSION}".encode()).hexdigest()[:32]
    return cache_folder() / "exports" / key


def _renew(exported: Exported) -> None:
    for name in exported.files:
        file = exported.path / name
        try:
            if time.time() - file.stat().st_mtime > DAY:
                os.utime(file)
        except OSError as error:  # a cache that may only be read
            logger.debug("the time stamp of %s is not renewed: %s", file, error)
