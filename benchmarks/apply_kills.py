"""SIGKILL at random moments of an apply, with a reader that never stops: pgvector, LanceDB, Chroma."""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from apply_postgres import connected, fill_table, postgres
from apply_worker import make_model, start, unit

from embedtune import stores
from embedtune.artifact import Tuned
from embedtune.stores.mapping import DocumentMap

Look = Callable[[], dict[str, bytes]]


def kills(options: argparse.Namespace) -> list[list[str]]:
    """Kill runs at random moments, and compare what the last one makes with an unbroken run."""
    rows = []
    cases = {"pgvector": pg_case, "LanceDB": lance_case, "Chroma": chroma_case}
    for name in options.kill:
        make = cases[name]
        with tempfile.TemporaryDirectory() as folder, make(options) as (url, look):
            artifact = make_model(Path(folder), 32)
            rows.append(killed(name, url, look, artifact, options.kills))
            print(rows[-1], flush=True)
    return rows


@dataclass
class Reader:
    """Looks at a store again and again: all rows are the old version's, or all the new one's."""

    look: Look
    old: dict[str, bytes]
    new: dict[str, bytes]
    looks: int = 0
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        while not self.over.is_set():
            try:
                found = self.look()
            except Exception as error:  # noqa: BLE001 - any failure counts
                self.wrong.append(repr(error)[:200])
                continue
            self.looks += 1
            if found not in (self.old, self.new):
                self.wrong.append("neither the old version nor the new one")


@dataclass
class Runs:
    """Runs of one map on one store that are killed; the moment is drawn from an unbroken run's stages."""

    artifact: Path
    url: str
    counts: dict[str, int] = field(default_factory=dict)
    """How often an unbroken run tells that it is in a stage, in their order."""
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def unbroken(self) -> None:
        with start(self.artifact, self.url, 200) as process:
            stages = [line.split()[0] for line in process.stdout or () if not line.startswith("{")]
        self.counts = {stage: stages.count(stage) for stage in dict.fromkeys(stages)}

    def killed(self) -> str | None:
        """Start a run and kill it; give the stage, or None where it was faster."""
        order = list(self.counts)
        asked = self.rng.choice(order)
        moment, seen, stage = self.rng.randrange(self.counts[asked]), 0, asked
        with start(self.artifact, self.url, 200) as process:
            for line in process.stdout or ():
                if line.startswith("{"):
                    continue
                stage = line.split()[0]
                seen += stage == asked
                if seen > moment or order.index(stage) > order.index(asked):
                    time.sleep(self.rng.random() * 0.1)
                    process.kill()
                    return stage
        return None

    def back(self) -> None:
        stores.rollback(self.url)
        stores.prune(self.url)


def killed(name: str, url: str, look: Look, artifact: Path, times: int) -> list[str]:
    """Kill ``times`` runs in all, one to three before each that is let go to its end."""
    old = look()
    model = Tuned.load(artifact)
    own = DocumentMap(model.transform, model.similarity)
    vectors = np.stack([np.frombuffer(row, np.float32) for row in old.values()])
    new = {i: row.tobytes() for i, row in zip(old, own(list(old), vectors), strict=True)}
    runs, reader, at = Runs(artifact, url), Reader(look, old, new), []
    runs.unbroken()
    same = look() == new
    runs.back()
    thread = threading.Thread(target=reader)
    thread.start()
    while len(at) < times:
        for _ in range(min(runs.rng.randint(1, 3), times - len(at))):
            stage = runs.killed()
            if stage is None:
                break
            at.append(stage)
        stores.apply(artifact, url, resume=True, probe=False)
        same = same and look() == new
        runs.back()
        same = same and look() == old
    reader.over.set()
    thread.join()
    told = ", ".join(f"{at.count(stage)} in {stage}" for stage in runs.counts if stage in at)
    found = f"{len(reader.wrong)} of {reader.looks:,} looks failed or mixed"
    figure = f"{'to the bit' if same else 'NOT THE SAME'}; {found}"
    if reader.wrong:
        figure += f" ({reader.wrong[0]})"
    return [
        f"{name}, {times} kills (last stage told before: {told}): resumed, and rolled back",
        figure,
        "to the bit; 0",
    ]


def numbers(count: int) -> Any:
    return unit(np.random.default_rng(1).standard_normal((count, 32)))


@contextlib.contextmanager
def pg_case(options: argparse.Namespace) -> Iterator[tuple[str, Look]]:
    with postgres() as uri, connected(uri) as connection:
        fill_table(connection, options.kill_rows, 32, seed=1)

        def look() -> dict[str, bytes]:
            rows = connection.execute("select id, embedding::text from docs where id % 10 = 0").fetchall()
            return {str(i): np.array(text[1:-1].split(","), float).astype("f4").tobytes() for i, text in rows}

        yield f"{uri}&table=docs&column=embedding", look


@contextlib.contextmanager
def lance_case(options: argparse.Namespace) -> Iterator[tuple[str, Look]]:
    import lancedb
    import pyarrow as pa

    with tempfile.TemporaryDirectory() as folder:
        rows = numbers(options.kill_rows)
        column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 32)
        database = lancedb.connect(folder)
        database.create_table("docs", pa.table({"id": pa.array(range(len(rows))), "vector": column}))

        def look() -> dict[str, bytes]:
            table = database.open_table("docs").search().select(["id", "vector"]).limit(None).to_arrow()
            found = zip(table["id"].to_pylist(), table["vector"].to_pylist(), strict=True)
            return {str(i): np.array(row, "f4").tobytes() for i, row in found if i % 10 == 0}

        yield f"lancedb://{folder}#docs", look


@contextlib.contextmanager
def chroma_case(options: argparse.Namespace) -> Iterator[tuple[str, Look]]:
    """Serve Chroma; the reader follows the pointer to the live collection each time."""
    import chromadb
    from chromadb.config import Settings

    from embedtune.stores.chroma_pointer import follow

    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        program = [str(Path(sys.executable).parent / "chroma"), "run", "--path", folder]
        server = subprocess.Popen(
            [*program, "--host", "127.0.0.1", "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while _closed(port):
            time.sleep(0.05)
        client = chromadb.HttpClient(
            host="127.0.0.1", port=port, settings=Settings(anonymized_telemetry=False)
        )
        rows = numbers(options.kill_rows)
        made = client.create_collection(
            "docs", configuration={"hnsw": {"space": "ip"}}, embedding_function=None
        )
        names = [str(i) for i in range(len(rows))]
        for first in range(0, len(rows), 1000):
            made.add(ids=names[first : first + 1000], embeddings=rows[first : first + 1000])

        def look() -> dict[str, bytes]:
            found = follow(client, "docs").get(ids=names[::10], include=["embeddings"])
            return {i: row.astype("f4").tobytes() for i, row in zip(*_sorted(found), strict=True)}

        yield f"chroma+pointer://127.0.0.1:{port}/docs", look
        server.terminate()
        server.wait()


def _closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _sorted(found: Any) -> tuple[list[str], Any]:
    order = sorted(range(len(found["ids"])), key=lambda i: int(found["ids"][i]))
    return [found["ids"][i] for i in order], found["embeddings"][order]
