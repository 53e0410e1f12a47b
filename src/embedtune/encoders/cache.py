"""Vectors kept on disk under the hash of what made them, so that nothing is encoded twice.

Layout::

    <cache>/vectors/<encoder>/<sha256 of the file>.safetensors    keys (n, 32) uint8, vectors (n, d) float32
    <cache>/paid/<encoder>/<sha256 of the file>.safetensors       the same, of vectors that cost money
    <cache>/converted/<...>.npy                                   see embedtune.encoders.vector_files
    <cache>/hashes/<...>.json                                     see embedtune.encoders.hashes
    <cache>/exports/<model>/...                                   see embedtune.encoders.engines.kept
    <cache>/engines/<model and machine>.json                      see embedtune.encoders.engines.choose

A shard holds one chunk of texts and is named after its own content: it appears whole by a rename, two
processes can only ever write the same bytes under the same name, and damage shows as a name that does
not fit. A damaged shard is dropped and its texts are encoded again. Reading a shard renews its time
stamp; the least recently used files go first when the cache grows over its bound. What was paid for does not
count towards the bound and never goes by itself.
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

LOOKS = 3
"""How often a shard is looked for that another process merges at this moment."""

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

    def read(
        self, space: str, keys: NDArray[np.uint8], out: Vectors, *, paid: bool = False
    ) -> NDArray[np.bool_]:
        """Copy the vectors that are there into ``out``.

        Parameters
        ----------
        space : str
            The encoder's fingerprint.
        keys : uint8 array of shape (n, 32)
            What :func:`content_keys` gives.
        out : float32 array of shape (n, d)
            Row i is filled where key i is found, and left alone otherwise.
        paid : bool
            Whether they cost money.

        Returns
        -------
        bool array of shape (n,)
            Which rows were filled.
        """
        return self._space(space, paid).read(keys, out)

    def write(self, space: str, keys: NDArray[np.uint8], vectors: Vectors, *, paid: bool = False) -> None:
        """Keep ``vectors`` (n, d) under ``keys`` (n, 32); older ones make room for those that are not paid.

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
        if not paid and not make_room(self.folder, len(blob), self.size, used_since=self._opened):
            logger.warning("the vector cache is full (%d bytes): some vectors are not kept", self.size)
            return
        shelf = self._space(space, paid)
        try:
            shelf.add(keys, blob)
            shelf.merge_small()
        except DiskFull:
            raise
        except OSError as error:
            raise UserError(
                f"the vector cache cannot be written ({error.strerror or error})",
                where=str(error.filename or self.folder),
                fix="set EMBEDTUNE_CACHE_DIR to a folder that can, or EMBEDTUNE_CACHE_SIZE=0 to keep nothing",
            ) from None

    def _space(self, space: str, paid: bool) -> _Space:
        room = "paid" if paid else "vectors"
        if f"{room}/{space}" not in self._spaces:
            name = hashlib.sha256(space.encode()).hexdigest()[:32]
            self._spaces[f"{room}/{space}"] = _Space(self.folder / room / name)
        return self._spaces[f"{room}/{space}"]


class _Space:
    """The shards of one encoder, and an index of their keys in memory (24 bytes a key)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: dict[str, NDArray[np.uint64]] = {}  # name -> the first eight bytes of each key
        self._indexed = True
        self._names: list[str] = []
        self._words = np.empty(0, np.uint64)  # those of all shards, ascending
        self._places = np.empty((0, 2), np.int32)  # (shard, row) of each
        self._trusted: set[str] = set()
        self._small = MANY_SMALL  # small shards written since it was looked whether there are many

    def read(self, keys: NDArray[np.uint8], out: Vectors) -> NDArray[np.bool_]:
        """Fill the rows of ``out`` that are in a sound shard; say which."""
        found = np.zeros(len(keys), bool)
        for _ in range(LOOKS):
            if not self._read(keys, out, found):
                break
        return found

    def _read(self, keys: NDArray[np.uint8], out: Vectors, found: NDArray[np.bool_]) -> bool:
        """Fill what is not found yet; say whether a shard went away meanwhile, perhaps into a merged one."""
        self._scan()
        self._index()
        asked_for = np.flatnonzero(~found)
        if not len(self._words) or not len(asked_for):
            return False
        words = np.ascontiguousarray(keys[asked_for]).view(np.uint64)[:, 0]
        at = np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)
        hits = np.flatnonzero(self._words[at] == words)
        candidates, places, gone = asked_for[hits], self._places[at[hits]], False
        for shard in np.unique(places[:, 0]):
            mine = places[:, 0] == shard
            asked, rows = candidates[mine], places[mine, 1]
            tensors = self._load(self._names[shard])
            if tensors is None:
                gone = True
                continue
            if tensors["vectors"].shape[1] != out.shape[1]:
                continue
            same = (tensors["keys"][rows] == keys[asked]).all(axis=1)
            out[asked[same]] = tensors["vectors"][rows[same]]
            found[asked[same]] = True
        return gone

    def add(self, keys: NDArray[np.uint8], blob: bytes) -> str:
        """Write one shard; its name is the hash of its bytes."""
        name = f"{hashlib.sha256(blob).hexdigest()}.safetensors"
        with atomic_write(self.folder / name) as file:
            file.write(blob)
        self._shards[name], self._indexed = _words(keys), False
        self._trusted.add(name)
        self._small += len(keys) < SMALL
        return name

    def merge_small(self) -> None:
        """Make one shard of the small ones when they are many, so that files stay few."""
        if self._small < MANY_SMALL:
            return
        self._scan()
        small = sorted(name for name, words in self._shards.items() if len(words) < SMALL)
        self._small = len(small)
        if len(small) < MANY_SMALL:
            return
        parts = [tensors for name in small if (tensors := self._load(name)) is not None]
        if not parts:
            return
        keys = np.concatenate([part["keys"] for part in parts])
        vectors = np.concatenate([part["vectors"] for part in parts])
        _, first = np.unique(np.ascontiguousarray(keys).view("S32")[:, 0], return_index=True)
        merged = self.add(keys[first], save({"keys": keys[first], "vectors": vectors[first]}))
        for name in set(small) - {merged}:
            _remove(self.folder / name)
        self._small = 0
        _remove_stale(self.folder)

    def _scan(self) -> None:
        """Take notice of the shards that have come and gone."""
        try:
            present = {entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".safetensors")}
        except OSError:  # not there yet; if it cannot be read, writing will say so
            present = set()
        present = {name for name in present if not name.startswith(TEMPORARY)}
        for name in self._shards.keys() - present:
            del self._shards[name]
            self._indexed = False
        for name in sorted(present - self._shards.keys()):
            keys = self._keys(name)
            if keys is not None:
                self._shards[name], self._indexed = _words(keys), False

    def _index(self) -> None:
        """Bring the index up to date."""
        if self._indexed:
            return
        self._names, self._indexed = sorted(self._shards), True
        if not self._names:
            self._words, self._places = np.empty(0, np.uint64), np.empty((0, 2), np.int32)
            return
        words = np.concatenate([self._shards[name] for name in self._names])
        sizes = np.array([len(self._shards[name]) for name in self._names])
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


def _words(keys: NDArray[np.generic]) -> NDArray[np.uint64]:
    """Give the first eight bytes of each key."""
    words: NDArray[np.uint64] = np.ascontiguousarray(keys).view(np.uint64)[:, 0].copy()
    return words


def _remove_stale(folder: Path) -> None:
    """Remove unfinished files of processes that died."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE:
                _remove(path)


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
