"""A tuned map applied where the vectors lie: a new version is made beside the old, verified, and switched to.

The order of the work, each step of which may be killed and begun again::

    lock ─> fill the new version ─> index it ─> catch up ─> verify ─> switch (catching up once more)

What is to do is seen from the store itself: there is no list of what was done that could be wrong.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from embedtune.artifact import Tuned
from embedtune.data import read
from embedtune.data.dataset import Dataset
from embedtune.errors import DiskFull, StoreError, UserError
from embedtune.stores.base import BASE, LIVE, Batch, Id, Nulls, Store
from embedtune.stores.mapping import DocumentMap, moves_documents, version_of
from embedtune.stores.opening import Applicable, open_map
from embedtune.stores.probing import check_base
from embedtune.stores.report import Applied
from embedtune.stores.table import open_store
from embedtune.stores.url import masked
from embedtune.stores.verify import Asked, Verified, agree, verify
from embedtune.types import Vectors

Progress = Callable[[str, int, int], None]

BATCH = 8192
"""Rows that are read, mapped and written at a time."""

PASSES = 50
"""Passes over a store that others keep writing to, before it is left to the switch."""


def apply(
    tuned: Tuned | str | Path,
    store: Store | str,
    *,
    data: Any = None,
    new: Tuned | str | Path | None = None,
    dry_run: bool = False,
    resume: bool = False,
    probe: bool = True,
    batch: int = BATCH,
    seed: int = 0,
    progress: Progress | None = None,
) -> Applied:
    """Apply a tuned map, or a bridge to another model, to the vectors in a store.

    Readers see the old version until the switch, and the new one from then on.

    Parameters
    ----------
    tuned : Tuned, str or pathlib.Path
        The model, or its folder; or the folder of a bridge, as :func:`embedtune.migration.save_bridge`
        writes it.
    store : Store or str
        Where the vectors of its base lie; a URL is opened with :func:`embedtune.stores.open_store`.
    data : path, Dataset or what else :func:`embedtune.data.read` reads, optional
        Labelled queries, to judge the ranked results inside the store; its texts serve as probes too. With
        a bridge the old model encodes them before, where it can, and the new one after.
    new : Tuned, str or pathlib.Path, optional
        For a bridge: the model that it leads to, where that is a tuned one or not found by its name.
    dry_run : bool
        Write nothing: give rows, bytes and minutes.
    resume : bool
        Go on with the same model's version that was begun, or that was rolled back.
    probe : bool
        Whether to encode a few texts again, to see whether the stored vectors are the base's.
    batch : int
        Rows handled at a time: what memory is bounded by.
    seed : int
        Of the sample that is compared.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    Applied
        What was done, or would be.

    Raises
    ------
    StoreError
        When the store cannot be reached, holds another base's vectors, another apply is in progress, or the
        new version does not pass; what is live stays as it was.
    DiskFull
        When the store has no room; the new version is removed.
    """
    applied = open_map(tuned, new)
    if not moves_documents(applied.model.transform):
        return Applied(masked(store if isinstance(store, str) else store.url), "", "nothing to write")
    dataset = None if data is None else read(data)
    with _opened(store) as place:
        work = _Apply(applied, place, dataset, batch, seed, progress)
        return work.plan(probe) if dry_run else work.run(resume, probe)


def rollback(store: Store | str) -> str:
    """Make the version that was live before the switch live again, in one step; give the name of the other.

    Raises
    ------
    StoreError
        When there is none.
    """
    with _opened(store) as place, place.lock():
        layout, note = place.layout(), place.read_note()
        if not layout.base:
            raise StoreError("there is no version to go back to", where=place.url, fix="nothing was done")
        version = str(note.get("live") or note.get("begun") or "unknown")
        place.write_note({**note, "live": None, "begun": version})  # serving still, should we be killed here
        place.rollback(version)
        place.write_note({**place.read_note(), "live": None, "begun": None})
        return version


def prune(store: Store | str) -> list[str]:
    """Remove every version that is not live: the one before the switch, unfinished and rolled back ones.

    Returns
    -------
    list of str
        The names of what was removed.
    """
    with _opened(store) as place, place.lock():
        layout = place.layout()
        gone = [*([BASE] if layout.base else []), *layout.others]
        for version in gone:
            place.discard(version)
        place.write_note({**place.read_note(), "begun": None})
        return gone


@contextmanager
def _opened(store: Store | str) -> Iterator[Store]:
    if not isinstance(store, str):
        yield store
        return
    opened = open_store(store)
    try:
        yield opened
    finally:
        opened.close()


class _Apply:
    """One run."""

    def __init__(
        self,
        applied: Applicable,
        store: Store,
        dataset: Dataset | None,
        batch: int,
        seed: int,
        progress: Progress | None,
    ) -> None:
        if batch < 1:
            raise UserError(f"batch is {batch}", fix="give at least 1")
        model = applied.model
        self.applied, self.model, self.store, self.dataset = applied, model, store, dataset
        self.batch, self.seed, self.progress = batch, seed, progress
        self.version = version_of(model.transform, model.similarity)
        self.mapped = DocumentMap(model.transform, model.similarity)
        self.written = 0
        self.done = 0
        """Rows that an earlier run has written, where the store tells what is left."""

    def plan(self, probe: bool) -> Applied:
        """Say what would be done, from the time that a few batches take to be read and mapped."""
        self._refuse_switched()
        likeness, rows, nulls = self._checked(probe)
        began, seen = time.monotonic(), 0
        for found in self.store.scan(self.batch):
            dimension = self.mapped(found.ids, found.vectors).shape[1]
            seen += len(found.ids)
            if time.monotonic() - began > 1:
                break
        rate = seen / max(time.monotonic() - began, 1e-6)
        write = getattr(self.store, "rows_a_second", 5000.0)
        minutes = (rows / rate + rows / write) / 60
        return Applied(
            self.store.url, self.version, "dry run", rows, rows * dimension * 4, minutes, dimension,
            nulls=nulls, probes=likeness, remark=getattr(self.store, "remark", ""),
        )  # fmt: skip

    def run(self, resume: bool, probe: bool) -> Applied:
        """Do it."""
        began = time.monotonic()
        with self.store.lock():
            if self._switched_already():
                return self._done(began, None, Nulls(), None, "")
            self._refuse_unfinished(resume)
            likeness, rows, nulls = self._checked(probe)
            asked = self._asked()
            try:
                index, verified = self._make(rows, asked)
            except DiskFull:
                self._undo()
                raise
            return self._done(began, likeness, nulls, verified, index)

    def _make(self, rows: int, asked: Asked | None) -> tuple[str, Verified]:
        self.store.write_note({**self.store.read_note(), "begun": self.version, "model": self._described()})
        dimension = self.mapped([], self._nothing()).shape[1]
        begun = self.version in self.store.layout().others
        self.store.prepare(self.version, dimension)
        if begun and self.store.tracks:
            self.done = self.store.count(self.version)
        self._pass(rows)
        self._tell("index", 0, 1)
        index = self.store.index(self.version, self.applied.searched)
        self._tell("index", 1, 1)
        if self._fill(rows):  # rows that came or went while it was filled
            index = self.store.index(self.version, self.model.similarity) or index
        try:
            verified = verify(
                self.store,
                self.version,
                self.mapped,
                asked=asked,
                indexed=bool(index),
                similarity=self.applied.searched,
                batch=self.batch,
                seed=self.seed,
                catch_up=self._pass,
                tell=lambda done: self._tell("verify", min(done, rows), rows),
            )
        except StoreError:
            self._undo()
            raise
        self.store.switch(self.version, self._pass)
        self.store.write_note({**self.store.read_note(), "live": self.version, "begun": None})
        return index, verified

    # --- filling ---------------------------------------------------------------------

    def _fill(self, rows: int) -> int:
        """Make passes until one finds nothing to do, or others write as fast; give how much was written."""
        before, total = None, 0
        for _ in range(PASSES):
            wrote = self._pass(rows)
            total += wrote
            if not wrote or (before is not None and wrote >= before):
                break
            before = wrote
        return total

    def _pass(self, rows: int | None = None) -> int:
        """Write what the new version lacks; give the number of rows that differed."""
        done, wrote = self.done, 0
        empty = not self.store.tracks and not self.store.count(self.version)
        with _Writers(self.store, self.version) as writers:
            for found in self.store.pending(self.version, self.batch):
                made = self.mapped(found.ids, found.vectors)
                left = range(len(made)) if self.store.tracks or empty else self._different(found, made)
                if len(left) == len(made):
                    writers.write(found.ids, made, found.marks)
                elif len(left):
                    writers.write([found.ids[i] for i in left], made[list(left)])
                wrote += len(left)
                done += len(made)
                if rows:
                    self._tell("apply", min(done, rows), rows)
        self.written += writers.wrote
        return wrote + self.store.forget(self.version, self.batch)

    def _different(self, found: Batch, made: Any) -> list[int]:
        """Give the rows that the new version does not have, or has otherwise."""
        if found.there is not None:
            return [int(i) for i in np.flatnonzero(~agree(self.store, made, found.there))]
        there = self.store.fetch(found.ids, self.version)
        row = {name: i for i, name in enumerate(there.ids)}
        known = [i for i, name in enumerate(found.ids) if name in row]
        if not known:
            return list(range(len(made)))
        same = agree(self.store, made[known], there.vectors[[row[found.ids[i]] for i in known]])
        kept = {i for i, right in zip(known, same, strict=True) if right}
        return [i for i in range(len(made)) if i not in kept]

    # --- what is refused -------------------------------------------------------------

    def _checked(self, probe: bool) -> tuple[float | None, int, Nulls]:
        likeness = check_base(self.store, self.model.encoder, self.dataset, probe=probe)
        rows = self.store.count(LIVE)
        if not rows:
            raise StoreError("there are no vectors in it", where=self.store.url, fix="fill it first")
        return likeness, rows, self.store.nulls()

    def _switched_already(self) -> bool:
        """Say whether this version is live; one whose run was killed right after its switch is noted now."""
        layout, note = self.store.layout(), self.store.read_note()
        if note.get("live") == self.version and self.version not in layout.others:
            return True
        if layout.base and note.get("begun") == self.version and self.version not in layout.others:
            self.store.write_note({**note, "live": self.version, "begun": None})
            return True
        self._refuse_switched()
        return False

    def _refuse_switched(self) -> None:
        layout, live = self.store.layout(), self.store.read_note().get("live")
        if layout.base or (live and live not in layout.others):
            raise StoreError(
                f"it serves version {live or 'unknown'} already, which is not the base's",
                where=self.store.url,
                fix="go back with --rollback first"
                if layout.base
                else "fill it with the base's vectors first",
            )

    def _refuse_unfinished(self, resume: bool) -> None:
        others = self.store.layout().others
        strange = [name for name in others if name != self.version]
        if strange:
            raise StoreError(
                f"there is a version {strange[0]} of another model, unfinished or rolled back",
                where=self.store.url,
                fix="finish it with that model, or remove it with --prune",
            )
        if others and not resume:
            raise StoreError(
                f"version {self.version} was begun or rolled back before",
                where=self.store.url,
                fix="go on with --resume, or remove it with --prune",
            )

    def _undo(self) -> None:
        """Take away what was begun."""
        self.store.discard(self.version)
        self.store.write_note({**self.store.read_note(), "begun": None})

    # --- small things ----------------------------------------------------------------

    def _asked(self) -> Asked | None:
        if self.dataset is None:
            return None
        if self.dataset.task != "retrieval":
            raise UserError(
                f"labelled queries are judged inside a store, and this data is {self.dataset.task}",
                where=self.dataset.source,
                fix="leave --data out, or give queries with their documents",
            )
        return Asked.labelled(self.dataset, self.applied, self.seed)

    def _described(self) -> dict[str, Any]:
        encoder = self.model.encoder
        return {"base": encoder.name, "fingerprint": encoder.fingerprint, "version": self.version}

    def _nothing(self) -> Any:
        return np.zeros((0, self.store.dimension), np.float32)

    def _done(
        self,
        began: float,
        likeness: float | None,
        nulls: Nulls,
        verified: Verified | None,
        index: str,
    ) -> Applied:
        rows = verified.rows if verified else self.store.count(LIVE)
        dimension = self.mapped([], self._nothing()).shape[1] if verified else self.store.dimension
        return Applied(
            self.store.url, self.version, "switched", rows, rows * dimension * 4,
            (time.monotonic() - began) / 60, dimension, self.written, nulls, likeness, index, verified,
            getattr(self.store, "remark", "") if verified else "",
        )  # fmt: skip

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(stage, done, total)


class _Writers:
    """Writes batches in as many threads as a store allows, with few of them waiting."""

    def __init__(self, store: Store, version: str) -> None:
        self._store, self._version, self.wrote = store, version, 0
        self._pool = ThreadPoolExecutor(store.writers) if store.writers > 1 else None
        self._waiting: deque[Future[int]] = deque()

    def write(self, ids: Sequence[Id], vectors: Vectors, marks: Any = None) -> None:
        """Write a batch, or hand it to a thread; raises what an earlier one raised there."""
        if self._pool is None:
            self.wrote += self._store.write(self._version, ids, vectors, marks)
            return
        if len(self._waiting) > self._store.writers:
            self.wrote += self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._store.write, self._version, ids, vectors, marks))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is None:
            return
        self._pool.shutdown(cancel_futures=error[0] is not None)
        if error[0] is None:
            self.wrote += sum(one.result() for one in self._waiting)
