"""Vectors kept on disk under the hash of what made them, so that nothing is encoded twice.

Layout::

    <cache>/vectors/<encoder>/<sha256 of the file>.safetensors    keys (n, 32) uint8, vectors (n, d) float32
    <cache>/converted/<...>.npy                                   see embedtune.encoders.vector_files
    <cache>/hashes/<...>.json                                     see embedtune.encoders.hashes
    <cache>/exports/<model>/...                                   see embedtune.encoders.engines.kept
    <cache>/engines/<model and machine>.json                      see embedtune.encoders.engines.choose

A shard holds one chunk of texts and is named after its own content: it appears whole by a rename, two
processes can only ever write the same bytes under the same name, and damage shows as a name that does
not fit. A damaged shard is dropped and its texts are encoded again. Reading a shard renews its time
stamp; the least recently used files go first when the cache grows over its bound.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from embedtune.errors import DiskFull, UserError
from embedtune.files import TEMPORARY, atomic_write
from embedtune.types import Vectors

logger = logging.getLogger(__name__)

DEFAULT_SIZE = 4 * 1000**3
"""Bytes that the cache may take on disk."""

SMALL = 256
"""A shard with fewer rows than this is merged with others of its kind once there are many."""

MANY_SMALL = 32
"""So many small shards are merged into one."""

STALE = 3600.0
"""Seconds after which an unfinished file was left behind by a process that died."""

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


def cache_folder() -> Path:
    """Give the folder of the cache: ``EMBEDTUNE_CACHE_DIR``, or the user's cache folder."""
    return Path(
        os.environ.get("EMBEDTUNE_CACHE_DIR") or platformdirs.user_cache_dir("embedtune")
    ).expanduser()


def cache_size() -> int:
    """Give the bound of the cache in bytes: ``EMBEDTUNE_CACHE_SIZE`` (``500M``, ``4G``, ``0``), or 4 GB.

    Raises
    ------
    UserError
        When the variable is not a size.
    """
    given = os.environ.get("EMBEDTUNE_CACHE_SIZE", "")
    if not given:
        return DEFAULT_SIZE
    number = given.strip().upper().removesuffix("B")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        size = int(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, OverflowError):
        size = -1
    if size < 0:
        raise UserError(
            f"{given!r} is not a size",
            where="EMBEDTUNE_CACHE_SIZE",
            fix="give bytes, or a number with K, M, G or T",
        )
    return size


class VectorCache:
    """A bounded, content-addressed store of vectors on disk; safe for several processes at once.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Where it lives; :func:`cache_folder` unless given.
    size : int, optional
        Bytes that all of it may take; :func:`cache_size` unless given. 0 keeps nothing.
    """

    def __init__(self, folder: Path | None = None, *, size: int | None = None) -> None:
        self.folder = cache_folder() if folder is None else folder
        self.size = cache_size() if size is None else size
        self._opened = time.time()
        self._spaces: dict[str, _Space] = {}

    def read(self, space: str, keys: NDArray[np.uint8], out: Vectors) -> NDArray[np.bool_]:
        """Copy the vectors that are there into ``out``.

        Parameters
        ----------
        space : str
            The encoder's fingerprint.
        keys : uint8 array of shape (n, 32)
            What :func:`content_keys` gives.
        out : float32 array of shape (n, d)
            Row i is filled where key i is found, and left alone otherwise.

        Returns
        -------
        bool array of shape (n,)
            Which rows were filled.
        """
        return self._space(space).read(keys, out)

    def write(self, space: str, keys: NDArray[np.uint8], vectors: Vectors) -> None:
        """Keep ``vectors`` (n, d) under ``keys`` (n, 32); older ones make room for them.

        Raises
        ------
        DiskFull
            When the disk has no room; nothing half-written is left.
        UserError
            When the folder cannot be written.
        """
        blob = save(
            {"keys": np.ascontiguousarray(keys), "vectors": np.ascontiguousarray(vectors, np.float32)}
        )
        if not make_room(self.folder, len(blob), self.size, used_since=self._opened):
            logger.warning("the vector cache is full (%d bytes): some vectors are not kept", self.size)
            return
        shelf = self._space(space)
        try:
            shelf.add(blob)
            shelf.merge_small()
        except DiskFull:
            raise
        except OSError as error:
            raise UserError(
                f"the vector cache cannot be written ({error.strerror or error})",
                where=str(error.filename or self.folder),
                fix="set EMBEDTUNE_CACHE_DIR to a folder that can, or EMBEDTUNE_CACHE_SIZE=0 to keep nothing",
            ) from None

    def _space(self, space: str) -> _Space:
        if space not in self._spaces:
            name = hashlib.sha256(space.encode()).hexdigest()[:32]
            self._spaces[space] = _Space(self.folder / "vectors" / name)
        return self._spaces[space]


class _Space:
    """The shards of one encoder, and an index of their keys in memory (16 bytes a key)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: dict[str, int] = {}  # name -> rows
        self._names: list[str] = []
        self._words = np.empty(0, np.uint64)  # the first eight bytes of each key, ascending
        self._places = np.empty((0, 2), np.int32)  # (shard, row) of each
        self._trusted: set[str] = set()

    def read(self, keys: NDArray[np.uint8], out: Vectors) -> NDArray[np.bool_]:
        """Fill the rows of ``out`` that are in a sound shard; say which."""
        self._refresh()
        found = np.zeros(len(keys), bool)
        if not len(self._words) or not len(keys):
            return found
        words = np.ascontiguousarray(keys).view(np.uint64)[:, 0]
        at = np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)
        candidates = np.flatnonzero(self._words[at] == words)
        places = self._places[at[candidates]]
        for shard in np.unique(places[:, 0]):
            mine = places[:, 0] == shard
            asked, rows = candidates[mine], places[mine, 1]
            tensors = self._load(self._names[shard])
            if tensors is None or tensors["vectors"].shape[1] != out.shape[1]:
                continue
            same = (tensors["keys"][rows] == keys[asked]).all(axis=1)
            out[asked[same]] = tensors["vectors"][rows[same]]
            found[asked[same]] = True
        return found

    def add(self, blob: bytes) -> Path:
        """Write one shard; its name is the hash of its bytes."""
        path = self.folder / f"{hashlib.sha256(blob).hexdigest()}.safetensors"
        with atomic_write(path) as file:
            file.write(blob)
        return path

    def merge_small(self) -> None:
        """Make one shard of the small ones when they are many, so that files stay few."""
        self._refresh()
        small = sorted(name for name, rows in self._shards.items() if rows < SMALL)
        if len(small) < MANY_SMALL:
            return
        parts = [tensors for name in small if (tensors := self._load(name)) is not None]
        if not parts:
            return
        keys = np.concatenate([part["keys"] for part in parts])
        vectors = np.concatenate([part["vectors"] for part in parts])
        _, first = np.unique(keys, axis=0, return_index=True)
        merged = self.add(save({"keys": keys[first], "vectors": vectors[first]}))
        for name in set(small) - {merged.name}:
            _remove(self.folder / name)

    def _refresh(self) -> None:
        """Bring the index up to date with the shards that are there now."""
        try:
            present = {entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".safetensors")}
        except OSError:  # not there yet; if it cannot be read, writing will say so
            present = set()
        present = {name for name in present if not name.startswith(TEMPORARY)}
        if present == set(self._shards):
            return
        kept = {name: keys for name in sorted(present) if (keys := self._keys(name)) is not None}
        self._names = list(kept)
        self._shards = {name: len(keys) for name, keys in kept.items()}
        if not kept:
            self._words, self._places = np.empty(0, np.uint64), np.empty((0, 2), np.int32)
            return
        words = np.concatenate([np.ascontiguousarray(keys).view(np.uint64)[:, 0] for keys in kept.values()])
        sizes = np.array([len(keys) for keys in kept.values()])
        shard = np.repeat(np.arange(len(sizes)), sizes)
        row = np.arange(len(words)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        order = np.argsort(words, kind="stable")
        self._words = words[order]
        self._places = np.stack([shard, row], axis=1)[order].astype(np.int32)

    def _keys(self, name: str) -> NDArray[np.uint8] | None:
        """Read the keys of a shard without its vectors; if that is impossible, remove it and give None."""
        path = self.folder / name
        try:
            with safe_open(path, framework="numpy") as file:
                keys: NDArray[np.uint8] = file.get_tensor("keys")
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError) as error:
            logger.warning("dropped a damaged shard of the vector cache, %s: %s", path, error)
            _remove(path)
            return None
        return keys if keys.ndim == 2 and keys.shape[1] == 32 else None

    def _load(self, name: str) -> dict[str, NDArray[np.generic]] | None:
        """Read a whole shard if its bytes are what its name says; else remove it and give None."""
        path = self.folder / name
        try:
            blob = path.read_bytes()
            if name not in self._trusted:
                if hashlib.sha256(blob).hexdigest() != path.stem:
                    logger.warning("dropped a damaged shard of the vector cache, %s", path)
                    _remove(path)
                    return None
                with contextlib.suppress(OSError):  # a cache that may only be read
                    os.utime(path)
                self._trusted.add(name)
        except OSError:  # evicted by another process
            return None
        tensors: dict[str, NDArray[np.generic]] = load(blob)
        return tensors


def content_keys(prompt: str, texts: Sequence[str]) -> NDArray[np.uint8]:
    """Give the keys of texts, uint8 (n, 32): sha256 of the prompt's and the text's UTF-8 bytes.

    The encoder's fingerprint is the folder that the keys are looked up in.
    """
    start = hashlib.sha256(prompt.encode("utf-8", "surrogatepass") + b"\0")
    digests = bytearray()
    for text in texts:
        digest = start.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        digests += digest.digest()
    return np.frombuffer(bytes(digests), np.uint8).reshape(-1, 32)


def make_room(folder: Path, needed: int, size: int, *, used_since: float) -> bool:
    """Remove the least recently used files of the cache until ``needed`` more bytes fit into ``size``.

    Files used at or after ``used_since`` (seconds since the epoch) stay: a run that is larger than the
    whole cache must not push out its own beginning.

    Returns
    -------
    bool
        Whether there is room now.
    """
    files, total = [], 0
    for path in [*folder.glob("vectors/*/*"), *folder.glob("converted/*"), *folder.glob("exports/*/*")]:
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.name.startswith(TEMPORARY) and time.time() - stat.st_mtime > STALE:
            _remove(path)
            continue
        total += stat.st_size
        files.append((stat.st_mtime, stat.st_size, path))
    for used, length, path in sorted(files):
        if total + needed <= size or used >= used_since:
            break
        if not path.name.startswith(TEMPORARY):
            _remove(path)
            total -= length
    return total + needed <= size


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # open in another process on a system that forbids it
        logger.debug("could not remove %s: %s", path, error)
