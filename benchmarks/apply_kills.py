"""SIGKILL at random moments of an apply, with a reader that never stops: pgvector, LanceDB, Chroma.

Two of three kills are aimed at the writing of rows, 0 to 3 ms after a random one of those that are left was
told; the others at a random moment of another stage, whose length an unbroken run has shown. What counts is
where they fell: after the last line that the run had written when it died.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

from apply_cases import CASES, WIDTH, Case, Look, packed, unpacked
from apply_worker import make_model, start

from embedtune import stores
from embedtune.artifact.tuned import Tuned
from embedtune.errors import StoreError
from embedtune.stores.mapping import DocumentMap

WRITING = 2 / 3
"""Share of the kills that are aimed at the writing of rows."""

AFTER = 0.003
"""Seconds, at most, from a told row to the kill."""

FULL = 0.9
"""Share of the rows from which on too few are left to aim at: the new version is taken away then."""

STAGES = ("start", "writing", "index", "catching up", "verify", "switch", "noting")
"""In their order."""


def kills(options: argparse.Namespace) -> list[list[str]]:
    """Kill runs at random moments, and compare what comes of them with an unbroken run."""
    rows = []
    for name in options.kill:
        with tempfile.TemporaryDirectory() as folder, CASES[name](options.kill_rows) as case:
            rows += killed(name, case, make_model(Path(folder), WIDTH), options.kills, options.kill_seed)
            print(rows[-2:], flush=True)
    return rows


@dataclass
class Told:
    """What a run has said, in stages."""

    stage: str = "start"
    done: int = 0
    """Rows of the stage."""

    def add(self, line: str) -> None:
        """Take a line of :mod:`apply_worker`."""
        word, *done = line.split()
        if word == "apply":
            word = "writing" if self.stage in ("start", "writing") else "catching up"
        elif word == "switched":
            word = "noting"
        self.stage, self.done = word, int(*done)


@dataclass
class Runs:
    """Runs of one map on one store, and how they are killed."""

    artifact: Path
    case: Case
    rng: random.Random
    lasts: dict[str, float] = field(default_factory=dict)
    """Seconds that each stage took in an unbroken run."""
    rows: int = 0
    left: list[str] = field(default_factory=list)
    """Stages that are still to be drawn, before all are again."""
    fell: Counter[str] = field(default_factory=Counter)
    partly: int = 0
    """Kills that left a new version with some of its rows."""

    def unbroken(self) -> None:
        """Run to the end, and see how long each stage takes."""
        told, began = Told(), {}
        with start(self.artifact, self.case.url, self.case.batch) as process:
            for line in process.stdout or ():
                if not line.startswith("{"):
                    told.add(line)
                began.setdefault("end" if line.startswith("{") else told.stage, time.monotonic())
                self.rows = max(self.rows, told.done)
        self.lasts = {name: end - begin for (name, begin), (_, end) in pairwise(began.items())}
        print({name: round(seconds, 3) for name, seconds in self.lasts.items()}, flush=True)

    def kill(self, writing: bool) -> None:
        """Start a run and kill it, where rows are written or anywhere else; again where it was faster."""
        while True:
            there = self._there()
            if writing and there > self.rows * FULL:
                self.back()
                there = 0
            stage = "writing" if writing else self._another()
            after = self.rng.randrange(there, self.rows) if writing else 0
            pause = self.rng.random() * (AFTER if writing else self.lasts[stage])
            told = Told()
            with start(self.artifact, self.case.url, self.case.batch) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith("{"):
                        break
                    told.add(line)
                    reached = told.stage == stage and (told.done > after or not writing)
                    if reached or STAGES.index(told.stage) > STAGES.index(stage):
                        break
                time.sleep(pause)
                process.kill()
                rest = [line for line in process.stdout if line.endswith("\n")]
            if any(line.startswith("{") for line in [line, *rest]):
                self.back()
                continue
            for line in rest:
                told.add(line)
            self.fell[told.stage] += 1
            self.partly += 0 < self._there() < self.rows
            return

    def _another(self) -> str:
        """Draw a stage in which no rows are written; each comes before one comes again."""
        if not self.left:
            self.left = [name for name in self.lasts if name != "writing"]
            self.rng.shuffle(self.left)
        return self.left.pop()

    def _there(self) -> int:
        """Count the rows of a version that is begun; all of them where it is live."""
        place = stores.open_store(self.case.url)
        try:
            layout = place.layout()
            if layout.base:
                return self.rows
            return place.count(layout.others[0]) if layout.others else 0
        finally:
            place.close()

    def resume(self) -> None:
        """Go on to the end; what a server still does for a run that was killed is waited for."""
        for left in reversed(range(10)):
            try:
                stores.apply(self.artifact, self.case.url, resume=True, probe=False, batch=self.case.batch)
                return
            except StoreError as error:
                if "in progress" not in str(error) or not left:
                    raise

    def back(self) -> None:
        """Go back to the old version, from wherever the store is, and remove the new one."""
        place = stores.open_store(self.case.url)
        switched = place.layout().base
        place.close()
        if switched:
            stores.rollback(self.case.url)
        stores.prune(self.case.url)


def killed(name: str, case: Case, artifact: Path, times: int, seed: int) -> list[list[str]]:
    """Kill ``times`` runs, one to three before the store is resumed, or taken back as it is."""
    old = case.look()
    model, (ids, vectors) = Tuned.load(artifact), unpacked(old)
    new = packed(ids, DocumentMap(model.transform, model.similarity)([str(i) for i in ids], vectors))
    runs = Runs(artifact, case, random.Random(seed))
    runs.unbroken()
    same = {"unbroken": case.look() == new}
    runs.back()
    same["back"] = case.look() == old
    aims = [number < round(times * WRITING) for number in range(times)]
    runs.rng.shuffle(aims)
    resumed = undone = 0
    with Reader(case.look, old, new) as reader:
        while aims:
            some = [aims.pop() for _ in range(min(runs.rng.randint(1, 3), len(aims)))]
            for writing in sorted(some, reverse=True):
                runs.kill(writing)
                same["killed"] = same.get("killed", True) and case.look() in (old, new)
            if runs.rng.random() < 2 / 3:
                runs.resume()
                same["resumed"] = same.get("resumed", True) and case.look() == new
                resumed += 1
            else:
                undone += 1
            runs.back()
            same["back"] = same["back"] and case.look() == old
            print(name, dict(runs.fell), same, flush=True)
    bits = all(same.values())
    figure = "to the bit" if bits else f"NOT THE SAME: {', '.join(k for k, v in same.items() if not v)}"
    looks = f"{len(reader.wrong)} of {reader.looks:,} looks failed or mixed"
    if reader.wrong:
        looks += f" ({reader.wrong[0]})"
    fell = ", ".join(f"{runs.fell[stage]} in {stage}" for stage in STAGES if runs.fell[stage])
    return [
        [
            f"{name}, {runs.rows:,} rows, {times} kills ({fell}; {runs.partly} left a part of the new rows): "
            f"all rows, resumed {resumed} times, or taken back without that {undone} times",
            figure,
            "to the bit",
        ],
        [f"{name}: a reader of all rows meanwhile", looks, "0"],
    ]


class Reader:
    """Looks at a store again and again, in a process of its own: rows are all the old ones, or all new."""

    def __init__(self, look: Look, old: bytes, new: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self._over, (self._answer, theirs) = context.Event(), context.Pipe(duplex=False)
        self._process = context.Process(target=read, args=(look, (old, new), self._over, theirs))
        self.looks = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Reader:
        self._process.start()
        assert self._answer.recv() == "ready"
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.looks, self.wrong = self._answer.recv()
        self._process.join()


def read(look: Look, right: Iterable[bytes], over: Event, answer: Connection) -> None:
    """Look until it is over; then send how often, and what was wrong."""
    looks, wrong = 0, []
    look()
    answer.send("ready")
    while not over.is_set():
        looks += 1
        try:
            found = look()
        except Exception as error:  # noqa: BLE001 - any failure counts
            wrong.append(repr(error)[:200])
            continue
        if found not in right:
            wrong.append("neither the old version nor the new one")
    answer.send((looks, wrong))
