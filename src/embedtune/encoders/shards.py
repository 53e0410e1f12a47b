"""The files of one encoder's cached vectors, and an index of their keys."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from embedtune.cache_place import remove, remove_stale
from embedtune.files import TEMPORARY, atomic_write
from embedtune.types import Vectors

logger = logging.getLogger(__name__)

SMALL = 256
"""A shard with fewer rows than this is merged with others of its kind once there are many."""

MANY_SMALL = 32
"""So many small shards are merged into one."""

LOOKS = 3
"""How often a shard is looked for that another process merges at this moment."""


class Shards:
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
            remove(self.folder / name)
        self._small = 0
        remove_stale(self.folder)

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
            remove(path)
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
                    remove(path)
                    return None
                with contextlib.suppress(OSError):  # a cache that may only be read
                    os.utime(path)
                self._trusted.add(name)
        except OSError:  # evicted by another process
            return None
        tensors: dict[str, NDArray[np.generic]] = load(blob)
        return tensors


def _words(keys: NDArray[np.generic]) -> NDArray[np.uint64]:
    """Give the first eight bytes of each key."""
    words: NDArray[np.uint64] = np.ascontiguousarray(keys).view(np.uint64)[:, 0].copy()
    return words
