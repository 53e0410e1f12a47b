"""Vectors in files: a new version is made beside them, and two names are exchanged in one step.

While a version is filled its vectors lie in a scratch file, a row each; ``index`` makes the real file of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from embedtune.encoders.vector_files import write_npy
from embedtune.errors import StoreError
from embedtune.mapped import release
from embedtune.stores.base import BASE, LIVE, Batch, CatchUp, Id, Layout, Nulls
from embedtune.stores.best import Best
from embedtune.stores.notes import file_lock, read_json, write_json
from embedtune.stores.url import StoreURL
from embedtune.types import Similarity, Vectors

EXCHANGE = 2
"""``RENAME_EXCHANGE`` of Linux: two names change places, and nobody ever sees one of them missing."""


class FileStore:
    """What stores of files share. A subclass reads a file, and makes one from another and new vectors.

    Parameters
    ----------
    url : StoreURL
        The path is absolute after three slashes, ``parquet:///data/vectors``.
    """

    tolerance = 0.0
    readable = searchable = True
    tracks = False
    writers = 1
    rows_a_second = 200_000.0
    dimension: int

    def __init__(self, url: StoreURL) -> None:
        self._given, self.url = url, str(url)
        self._path = self._find(Path(url.local_path).expanduser())
        with contextlib.suppress(StoreError), self.lock():
            self._recover()

    # --- what a subclass does --------------------------------------------------------

    def _find(self, path: Path) -> Path:
        """Give the file or folder that is exchanged."""
        raise NotImplementedError

    def _ids(self, path: Path) -> list[Id]:
        raise NotImplementedError

    def _blocks(self, path: Path, batch: int) -> Iterator[Vectors]:
        """Give the vectors in the order of the ids; NaN for rows that have none."""
        raise NotImplementedError

    def _make(self, path: Path, vectors: Vectors, target: Path, batch: int) -> None:
        """Write to ``target``, whole or not at all, what ``path`` is with other vectors."""
        raise NotImplementedError

    def _state(self, path: Path) -> tuple[Any, ...]:
        """Give what changes when somebody writes to the files."""
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        return tuple((one.name, one.stat().st_mtime_ns, one.stat().st_size) for one in files)

    # --- reading ---------------------------------------------------------------------

    def _of(self, version: str) -> Path:
        if version == LIVE:
            return self._path
        return self._path.with_name(f".{self._path.stem}__et_{version}{self._path.suffix}")

    def _scratch(self, version: str) -> Path:
        return self._path.with_name(f".{self._path.stem}__et_{version}.filling.npy")

    def _filled(self, version: str) -> Any:
        return np.load(self._scratch(version), mmap_mode="r+", allow_pickle=False)

    def layout(self) -> Layout:
        """Say which versions are beside the live one."""
        head = f".{self._path.stem}__et_"
        names = {
            one.name.removeprefix(head).split(".")[0]
            for one in self._path.parent.glob(f"{head}*")
            if ".lock" not in one.name and ".json" not in one.name
        }
        return Layout(BASE in names, tuple(sorted(names - {BASE})))

    def count(self, version: str = LIVE) -> int:
        """Count the rows with a vector."""
        if version == LIVE:
            return len(self._ids(self._path)) - self.nulls().count
        return sum(len(rows.ids) for rows in self.scan(65536, version))

    def nulls(self) -> Nulls:
        """Find the rows whose vector is missing or not finite."""
        count = 0
        first: list[Id] = []
        ids = self._ids(self._path)
        start = 0
        for block in self._blocks(self._path, 65536):
            wrong = np.flatnonzero(~np.isfinite(block).all(axis=1))
            count += len(wrong)
            first += [ids[start + i] for i in wrong[: 10 - len(first)]]
            start += len(block)
        return Nulls(count, tuple(first))

    def scan(self, batch: int, version: str = LIVE) -> Generator[Batch]:
        """Go through the rows in their order."""
        ids = self._ids(self._path)
        start = 0
        for block in self._rows(version, batch):
            names = ids[start : start + len(block)]
            start += len(block)
            right = np.flatnonzero(np.isfinite(block).all(axis=1))
            if len(right) == len(block):
                yield Batch(names, block)
            elif len(right):
                yield Batch([names[i] for i in right], block[right])

    def _rows(self, version: str, batch: int) -> Iterator[Vectors]:
        if version == LIVE or not self._scratch(version).exists():
            yield from self._blocks(self._of(version), batch)
            return
        filled = self._filled(version)
        for start in range(0, len(filled), batch):
            yield np.array(filled[start : start + batch])
            release(filled)

    def fetch(self, ids: Sequence[Id], version: str = LIVE) -> Batch:
        """Give rows by id, in one pass over the file."""
        wanted, names, parts = set(map(str, ids)), [], []
        for rows in self.scan(65536, version):
            here = [i for i, name in enumerate(rows.ids) if str(name) in wanted]
            if here:
                names += [rows.ids[i] for i in here]
                parts.append(rows.vectors[here])
        return Batch(names, np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32))

    def texts(self, ids: Sequence[Id]) -> dict[Id, str]:
        """Files of vectors have no texts."""
        return {}

    # --- a new version ---------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold a file beside the vectors."""
        with file_lock(self._path.with_name(f".{self._path.stem}__et_.lock"), self.url):
            yield

    def prepare(self, version: str, dimension: int) -> None:
        """Make the scratch file: NaN where nothing was written yet."""
        shape = (len(self._ids(self._path)), dimension)
        scratch = self._scratch(version)
        if scratch.exists() and self._filled(version).shape == shape:
            return
        if not scratch.exists() and self._of(version).exists() and self._same_ids(version):
            return  # made before, and rolled back
        nothing = np.full((4096, dimension), np.nan, np.float32)
        blocks = (nothing[: shape[0] - start] for start in range(0, shape[0], 4096))
        write_npy(scratch, blocks, shape)  # written, not mapped: a full disk is told, and does not kill

    def _same_ids(self, version: str) -> bool:
        return self._ids(self._of(version)) == self._ids(self._path)

    def pending(self, version: str, batch: int) -> Generator[Batch]:
        """Go through all rows, with what the version has for them; their places are the marks."""
        self.prepare(version, self._width(version))
        if not self._scratch(version).exists():
            self._unpack(version)
        ids, start, filled = self._ids(self._path), 0, self._filled(version)
        for live in self._blocks(self._path, batch):
            right = np.flatnonzero(np.isfinite(live).all(axis=1))
            there = np.array(filled[start : start + len(live)])[right]
            release(filled)
            if len(right):
                yield Batch([ids[start + i] for i in right], live[right], start + right, there)
            start += len(live)

    def _width(self, version: str) -> int:
        if self._scratch(version).exists():
            return int(self._filled(version).shape[1])
        return int(next(iter(self._blocks(self._of(version), 1))).shape[1])

    def write(self, version: str, ids: Sequence[Id], vectors: Vectors, marks: Any = None) -> int:
        """Write rows into the scratch file; a finished version is taken apart for it."""
        if not self._scratch(version).exists():
            self._unpack(version)
        filled = self._filled(version)
        filled[self._places(ids) if marks is None else marks] = vectors
        filled.flush()
        release(filled)
        return len(ids)

    def _unpack(self, version: str) -> None:
        shape = (len(self._ids(self._of(version))), self._width(version))
        write_npy(self._scratch(version), self._blocks(self._of(version), 4096), shape)

    def _places(self, ids: Sequence[Id]) -> NDArray[np.int64]:
        place = {str(name): i for i, name in enumerate(self._ids(self._path))}
        return np.array([place[str(name)] for name in ids], np.int64)

    def forget(self, version: str, batch: int) -> int:
        """Nothing: the version has the rows of the live one."""
        return 0

    def index(self, version: str, similarity: Similarity) -> str:
        """Make the version's file of what was filled; later, where rows have come or gone since."""
        scratch = self._scratch(version)
        if not scratch.exists() or len(self._filled(version)) == len(self._ids(self._path)):
            self._finish(version)
        return ""

    def _finish(self, version: str) -> None:
        scratch, target = self._scratch(version), self._of(version)
        if not scratch.exists():
            return
        if target.exists():
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        self._make(self._path, self._filled(version), target, 16384)
        scratch.unlink()

    def search(
        self, queries: Vectors, k: int, similarity: Similarity, version: str = LIVE, effort: int | None = None
    ) -> list[list[Id]]:
        """Search exactly: files have no index."""
        best = Best(queries, k)
        for rows in self.scan(16384, version):
            best.add(rows.ids, rows.vectors)
        return best.names

    # --- switching -------------------------------------------------------------------

    def switch(self, version: str, catch_up: CatchUp) -> None:
        """Exchange the names, when the files have not changed since the last pass over them."""
        for _ in range(20):
            before = self._state(self._path)
            changed = catch_up()
            if not changed and self._state(self._path) == before:
                break
        else:
            self._refuse("others keep writing", "pause them for a moment, then go on with --resume")
        self._finish(version)
        self._exchange(version, BASE)

    def rollback(self, version: str) -> None:
        """Exchange the names again."""
        self._exchange(BASE, version)

    def _exchange(self, rises: str, falls: str) -> None:
        """Make ``rises`` live and call what was live ``falls``: the exchange is the step that readers see."""
        up = self._of(rises)
        told = {"rises": rises, "falls": falls, "number": up.stat().st_ino}
        self.write_note({**self.read_note(), "exchange": told})
        exchange(up, self._path)
        self._recover()

    def _recover(self) -> None:
        """End an exchange that was begun: whether it took place is told by the number of the live file."""
        note = self.read_note()
        told = note.pop("exchange", None)
        if told is None:
            return
        up = self._of(told["rises"])
        if self._path.stat().st_ino == told["number"] and up.exists():
            up.rename(self._of(told["falls"]))
        self.write_note(note)

    def discard(self, version: str) -> None:
        """Remove the version's files."""
        for path in (self._of(version), self._scratch(version)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def read_note(self) -> dict[str, Any]:
        """Give the note that lies beside the vectors."""
        return read_json(self._path.with_name(f".{self._path.stem}__et_.json"))

    def write_note(self, note: dict[str, Any]) -> None:
        """Keep the note beside the vectors."""
        write_json(self._path.with_name(f".{self._path.stem}__et_.json"), note)

    def close(self) -> None:
        """Nothing is held open."""

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise StoreError(self._given.hide(what), where=self.url, fix=fix) from None


def exchange(a: Path, b: Path) -> None:
    """Have two names of one folder change places, in one step where the system can.

    Where it cannot, a file is replaced in one step and a folder in two.
    """
    if _exchanged(a, b):
        return
    spare = b.with_name(f"{a.name}.old")
    if b.is_dir():
        b.rename(spare)
    else:
        os.link(b, spare)
    a.replace(b)
    spare.rename(a)


def _exchanged(a: Path, b: Path) -> bool:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    here = -100  # AT_FDCWD
    return bool(call(here, os.fsencode(a), here, os.fsencode(b), EXCHANGE) == 0)
