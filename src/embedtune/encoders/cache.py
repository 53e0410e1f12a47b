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

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from embedtune.cache_place import cache_folder, cache_size, make_room
from embedtune.encoders.shards import Shards
from embedtune.errors import DiskFull, UserError
from embedtune.types import Vectors

logger = logging.getLogger(__name__)


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
        self._spaces: dict[str, Shards] = {}

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

    def _space(self, space: str, paid: bool) -> Shards:
        room = "paid" if paid else "vectors"
        if f"{room}/{space}" not in self._spaces:
            name = hashlib.sha256(space.encode()).hexdigest()[:32]
            self._spaces[f"{room}/{space}"] = Shards(self.folder / room / name)
        return self._spaces[f"{room}/{space}"]


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
