"""A tuned map applied where the vectors lie: a new version is made beside the old, verified, and switched to.

The order of the work, each step of which may be killed and begun again::

    lock ─> fill the new version ─> index it ─> catch up ─> verify ─> switch (catching up once more)

What is to do is seen from the store itself: there is no list of what was done that could be wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.artifact.tuned import Tuned
from embedtune.data import read
from embedtune.data.dataset import Dataset
from embedtune.errors import DiskFull, StoreError, UserError
from embedtune.stores.base import LIVE, Nulls, Store
from embedtune.stores.filling import Filling
from embedtune.stores.mapping import DocumentMap, moves_documents, version_of
from embedtune.stores.opening import Applicable, open_map
from embedtune.stores.probing import Likeness, check_base
from embedtune.stores.report import Applied
from embedtune.stores.table import opened
from embedtune.stores.url import masked
from embedtune.stores.verify import Asked, Verified, verify

Progress = Callable[[str, int, int], None]

BATCH = 8192
"""Rows that are read, mapped and written at a time."""


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
        Whether to encode a few texts again, to see whether the stored vectors are the base's. Without that
        only dimensions are compared, and the base with the one that an earlier run has proved.
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
        When the store has no room; the new version is removed, if there is room for that.
    """
    applied = open_map(tuned, new)
    if not moves_documents(applied.model.transform):
        return Applied(masked(store if isinstance(store, str) else store.url), "", "nothing to write")
    dataset = None if data is None else read(data)
    with opened(store) as place:
        work = _Apply(applied, place, dataset, batch, seed, progress)
        return work.plan(probe) if dry_run else work.run(resume, probe)


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
        self.filling = Filling(
            store, self.version, self.mapped, batch, lambda done, total: self._tell("apply", done, total)
        )

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
            nulls=nulls, probes=likeness.cosine, compared=likeness.compared, probe=probe,
            remark=getattr(self.store, "remark", ""),
        )  # fmt: skip

    def run(self, resume: bool, probe: bool) -> Applied:
        """Do it."""
        began = time.monotonic()
        with self.store.lock():
            if self._switched_already():
                return self._done(began, Likeness(""), probe, Nulls(), None, "")
            self._refuse_unfinished(resume)
            likeness, rows, nulls = self._checked(probe)
            asked = self._asked()
            try:
                index, verified = self._make(rows, asked, proved=likeness.compared == "texts")
            except DiskFull as full:
                self._undo_without_room(full)
                raise
            return self._done(began, likeness, probe, nulls, verified, index)

    def _make(self, rows: int, asked: Asked | None, *, proved: bool) -> tuple[str, Verified]:
        note, model = self.store.read_note(), self._described()
        if proved:
            note["proved"] = {"base": model["base"], "fingerprint": model["fingerprint"]}
        self.store.write_note({**note, "begun": self.version, "model": model})
        dimension = self.mapped([], self._nothing()).shape[1]
        begun = self.version in self.store.layout().others
        self.store.prepare(self.version, dimension)
        if begun and self.store.tracks:
            self.filling.done = self.store.count(self.version)
        self.filling.once(rows)
        self._tell("index", 0, 1)
        index = self.store.index(self.version, self.applied.searched)
        self._tell("index", 1, 1)
        if self.filling(rows):  # rows that came or went while it was filled
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
                catch_up=self.filling.once,
                tell=lambda done: self._tell("verify", min(done, rows), rows),
            )
        except StoreError:
            self._undo()
            raise
        self.store.switch(self.version, self.filling.once)
        self.store.write_note({**self.store.read_note(), "live": self.version, "begun": None})
        return index, verified

    # --- what is refused -------------------------------------------------------------

    def _checked(self, probe: bool) -> tuple[Likeness, int, Nulls]:
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

    def _undo_without_room(self, full: DiskFull) -> None:
        """Take away what was begun; where even that finds no room, say how to go on."""
        try:
            self._undo()
        except (DiskFull, StoreError):
            raise DiskFull(
                f"{full}, then go on with --resume, or remove what was begun with --prune; "
                "the old version serves"
            ) from None

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
        likeness: Likeness,
        probe: bool,
        nulls: Nulls,
        verified: Verified | None,
        index: str,
    ) -> Applied:
        rows = verified.rows if verified else self.store.count(LIVE)
        dimension = self.mapped([], self._nothing()).shape[1] if verified else self.store.dimension
        return Applied(
            self.store.url, self.version, "switched", rows, rows * dimension * 4,
            (time.monotonic() - began) / 60, dimension, self.filling.written, nulls, likeness.cosine,
            likeness.compared, probe, index, verified, getattr(self.store, "remark", "") if verified else "",
        )  # fmt: skip

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(stage, done, total)
