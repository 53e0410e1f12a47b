"""Peak memory of ``embedtune tune`` on a large collection, through the real command line.

Parts: ``folder`` (memory-mapped files), ``numpy`` and ``pgvector`` (the documents read from a store, with
``--memory``; Postgres is started here, in a temporary folder), ``recommendation`` (memory-mapped files, and
histories of 15 items for one user of every 20 rows; take ``--rows 100000``).

Makes unit vectors in random clusters as ``vectors:FOLDER`` reads them, and labels: queries are noisy
copies of documents through a random linear map, so that there is something to learn.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from apply import HEAD, TAIL, connected, postgres
from results import OUT, markdown, show, write_json, write_section

from embedtune.types import Vectors

BLOCK = 50_000
PER_USER = 15
"""Interactions of a user, of the part ``recommendation``."""
HEADER = [
    "vectors in",
    "--memory",
    "peak resident",
    "of that, not mapped files",
    "peak / vectors (bar: 1.3)",
    "minutes",
    "verdict",
]


class Run(NamedTuple):
    """What a finished process used."""

    code: int
    seconds: float
    peak: int
    """Largest resident set, bytes."""
    anonymous: int
    """Largest part of it seen that was not mapped files, bytes."""


def main() -> None:
    """Make the collection, tune on it from each place, report the peaks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--labels", type=int, default=10_000)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--memory", default="2GB", help="what the parts that read a store may take")
    parser.add_argument(
        "--folder", type=Path, help="where the temporary folder goes; needs 5 GB for a million"
    )
    options = parser.parse_args()
    done = OUT / "memory.json"
    found = json.loads(done.read_text("utf-8")) if done.exists() else {}
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        make(folder, options.rows, options.dimension, options.labels)
        size = (folder / "vectors" / "documents.npy").stat().st_size
        queries = (folder / "vectors" / "queries.npy").stat().st_size
        for part in options.parts or PARTS:
            with PARTS[part](folder) as extra:
                if extra:
                    extra = [*extra, "--memory", options.memory]
                run = _tune(folder, options.budget, part, extra)
            used = size if part == "recommendation" else size + queries
            found[part] = _row(options, part, run, used, folder / f"{part}.json")
            write_json(done, found)
            show("memory", HEADER, [found[part] for part in PARTS if part in found])
    rows = [found[part] for part in PARTS if part in found]
    write_section("memory", "Memory on a large collection", markdown(HEADER, rows))


def _row(options: argparse.Namespace, part: str, run: Run, size: int, written: Path) -> list[str]:
    """Give a line of the table."""
    verdict = json.loads(written.read_text("utf-8")) if written.exists() else {}
    labels = f"{options.labels:,} labels"
    if part == "recommendation":
        labels = f"{options.rows // 20:,} users of {PER_USER} interactions"
    return [
        f"{part}, {options.rows:,} x {options.dimension}, {labels}: {size / 1e6:,.0f} MB",
        "" if part in ("folder", "recommendation") else options.memory,
        f"{run.peak / 1e6:,.0f} MB",
        f"{run.anonymous / 1e6:,.0f} MB",
        f"{run.peak / size:.2f}",
        f"{run.seconds / 60:.1f}",
        str(verdict.get("verdict", f"ended with code {run.code}")),
    ]


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[list[str]]:
    """Read the vectors where the base has them."""
    yield []


@contextlib.contextmanager
def _numpy(folder: Path) -> Iterator[list[str]]:
    """Read them as a store of files."""
    yield ["--from-store", f"numpy://{folder / 'vectors'}"]


@contextlib.contextmanager
def _recommendation(folder: Path) -> Iterator[list[str]]:
    """Write histories over the documents: what a user chooses is near one of its three tastes."""
    data, documents = folder / "histories", np.load(folder / "vectors" / "documents.npy", mmap_mode="r")
    data.mkdir()
    rows, rng = len(documents), np.random.default_rng(1)
    shown = np.sort(rng.choice(rows, max(rows // 3, 100), replace=False))  # the others nobody chose
    vectors = np.asarray(documents[shown])
    lines = ["user-id\titem-id\ttime"]
    for user in range(max(rows // 20, 2)):
        far = vectors[rng.choice(len(shown), 3)] @ -vectors.T
        nearest = np.argpartition(far, 2 * PER_USER, axis=1)[:, : 2 * PER_USER]
        chosen = rng.choice(np.unique(nearest), PER_USER, replace=False)
        lines += [f"u{user}\td{shown[one]}\t{at}" for at, one in enumerate(chosen.tolist())]
    _write_lines(data / "train.tsv", lines)
    items = (f'{{"_id": "d{row}", "text": "document {row}"}}' for row in range(rows))
    _write_lines(data / "items.jsonl", items)
    yield []


@contextlib.contextmanager
def _pgvector(folder: Path) -> Iterator[list[str]]:
    """Read them from a table of Postgres."""
    vectors = np.load(folder / "vectors" / "documents.npy", mmap_mode="r")
    dimension, digits = vectors.shape[1], len(str(len(vectors))) + 1
    kind = [
        *(("n", ">i2"), ("l1", ">i4"), ("id", f"S{digits}"), ("l2", ">i4")),
        *(("d", ">i2"), ("zero", ">i2"), ("v", ">f4", (dimension,))),
    ]
    with postgres() as uri, connected(uri) as connection:
        connection.execute(f"create table docs (id char({digits}), embedding vector({dimension}))")
        with connection.cursor().copy("copy docs from stdin (format binary)") as copy:
            copy.write(HEAD)
            for start in range(0, len(vectors), BLOCK):
                part = vectors[start : start + BLOCK]
                block = np.zeros(len(part), kind)
                block["n"], block["l1"], block["l2"], block["d"] = 2, digits, 4 + 4 * dimension, dimension
                block["id"] = [f"d{row}".ljust(digits) for row in range(start, start + len(part))]
                block["v"] = part
                copy.write(block.tobytes())
            copy.write(TAIL)
        connection.execute("alter table docs alter id type text")
        connection.execute("alter table docs add primary key (id)")
        yield ["--from-store", f"{uri}&table=docs&column=embedding"]


PARTS: dict[str, Callable[[Path], AbstractContextManager[list[str]]]] = {
    "folder": _folder,
    "numpy": _numpy,
    "pgvector": _pgvector,
    "recommendation": _recommendation,
}


def make(folder: Path, rows: int, dimension: int, labels: int, seed: int = 0) -> None:
    """Write ``vectors/`` (documents, queries) and ``data/`` (a BEIR folder with a train split)."""
    rng = np.random.default_rng(seed)
    vectors, data = folder / "vectors", folder / "data"
    vectors.mkdir()
    (data / "qrels").mkdir(parents=True)
    centres = _unit(rng.standard_normal((max(1, rows // 500), dimension), np.float32))
    documents = np.lib.format.open_memmap(
        vectors / "documents.npy", mode="w+", dtype=np.float32, shape=(rows, dimension)
    )
    for start in range(0, rows, BLOCK):
        stop = min(start + BLOCK, rows)
        noise = rng.standard_normal((stop - start, dimension), np.float32) * (0.6 / dimension**0.5)
        documents[start:stop] = _unit(centres[rng.integers(0, len(centres), stop - start)] + noise)
    asked = np.sort(rng.choice(rows, min(labels, rows), replace=False))
    turn = rng.standard_normal((dimension, dimension), np.float32) / dimension**0.5
    noise = rng.standard_normal((len(asked), dimension), np.float32) * (0.6 / dimension**0.5)
    queries = _unit((documents[asked] + noise) @ (0.3 * np.eye(dimension, dtype=np.float32) + turn))
    np.save(vectors / "queries.npy", queries)
    documents.flush()
    _write_lines(vectors / "documents.ids.txt", (f"d{row}" for row in range(rows)))
    _write_lines(vectors / "queries.ids.txt", (f"q{row}" for row in range(len(asked))))
    texts = (f'{{"_id": "d{row}", "text": "document {row}"}}' for row in range(rows))
    _write_lines(data / "corpus.jsonl", texts)
    words = (f'{{"_id": "q{row}", "text": "query {row} {asked[row]}"}}' for row in range(len(asked)))
    _write_lines(data / "queries.jsonl", words)
    judged = (f"q{row}\td{asked[row]}\t1" for row in range(len(asked)))
    _write_lines(data / "qrels" / "train.tsv", ["query-id\tcorpus-id\tscore", *judged])


def _tune(folder: Path, budget: str, part: str, extra: list[str]) -> Run:
    command = [
        sys.executable,
        "-m",
        "embedtune",
        "tune",
        "histories" if part == "recommendation" else "data",
        "--base",
        "vectors:vectors",
        "--out",
        f"tuned-{part}",
    ]
    command += ["--budget", budget, "--json", f"{part}.json", *extra]
    start = time.monotonic()
    with subprocess.Popen(command, cwd=folder) as process:
        peak = anonymous = 0
        while process.poll() is None:
            status = _status(process.pid)
            peak = max(peak, status.get("VmHWM", 0))  # the kernel's own high-water mark
            anonymous = max(anonymous, status.get("RssAnon", 0))
            time.sleep(0.05)
    return Run(process.returncode, time.monotonic() - start, peak, anonymous)


def _status(pid: int) -> dict[str, int]:
    """Memory figures of a process, in bytes; empty when it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(value) * 1024 for name, value, _ in fields}


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _unit(x: Vectors) -> Vectors:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    main()
