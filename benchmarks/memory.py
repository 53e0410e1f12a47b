"""Peak memory of ``embedtune tune`` on a large collection, through the real command line.

Parts: ``folder`` (memory-mapped files), ``numpy`` and ``pgvector`` (the documents read from a store, with
``--memory``; Postgres is started here, in a temporary folder); ``recommendation``, ``classification`` and
``similarity`` (memory-mapped files, of sizes of their own: see ``memory_tasks.py``).

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
from apply_postgres import HEAD, TAIL, connected, postgres
from memory_tasks import TASKS
from results import OUT, markdown, show, write_json, write_section

from embedtune.types import Vectors

BLOCK = 50_000
RATIO = "peak / vectors (bar: 1.3)"
HEADER = [
    "vectors in",
    "--memory",
    "peak resident",
    "of that, not mapped files",
    RATIO,
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
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join([*PARTS, *TASKS])}")
    parser.add_argument("--rows", type=int, help="a million, or those of the task, unless given")
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
    parts = options.parts or [*PARTS, *TASKS]
    if retrieval := [part for part in parts if part in PARTS]:
        _retrieval(options, retrieval, done, found)
    for part in parts:
        if part in TASKS:
            _task(options, part, done, found)
    write_section("memory", "Memory on a large collection", markdown(HEADER, _rows(found)))


def _retrieval(
    options: argparse.Namespace, parts: list[str], done: Path, found: dict[str, list[str]]
) -> None:
    """Measure a search, with the documents in each place."""
    rows = options.rows or 1_000_000
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        make(folder, rows, options.dimension, options.labels)
        size = (folder / "vectors" / "documents.npy").stat().st_size
        size += (folder / "vectors" / "queries.npy").stat().st_size
        for part in parts:
            with PARTS[part](folder) as extra:
                if extra:
                    extra = [*extra, "--memory", options.memory]
                run = _tune(folder, options.budget, part, extra)
            what = f"{part}, {rows:,} x {options.dimension}, {options.labels:,} labels"
            limit = "" if part == "folder" else options.memory
            found[part] = _row(what, limit, run, size, folder / f"{part}.json")
            write_json(done, found)
            show("memory", HEADER, _rows(found))


def _task(options: argparse.Namespace, part: str, done: Path, found: dict[str, list[str]]) -> None:
    """Measure another task; how much of the peak the program itself takes is told too."""
    usual, write = TASKS[part]
    rows = options.rows or usual
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        labels = write(folder, rows, options.dimension, np.random.default_rng(0))
        size = (folder / "vectors" / "documents.npy").stat().st_size
        run = _tune(folder, options.budget, part, [])
        row = _row(
            f"{part}, {rows:,} x {options.dimension}, {labels}", "", run, size, folder / f"{part}.json"
        )
    less = run.peak - _imports(part)
    row[HEADER.index(RATIO)] += f" (less imports: {less / size:.2f}; bar: 1.5)"
    known = json.loads(done.read_text("utf-8")) if done.exists() else {}  # others may run at the same time
    found |= known | {part if rows == usual else f"{part} {rows}": row}
    write_json(done, found)
    show("memory", HEADER, _rows(found))


def _rows(found: dict[str, list[str]]) -> list[list[str]]:
    """Give the rows of each part, the usual size first."""
    kinds = (*PARTS, *TASKS)
    return [found[key] for part in kinds for key in sorted(found) if key.split(" ")[0] == part]


def _imports(part: str) -> int:
    """Peak, in bytes, of a process that has loaded what tuning for the task loads, and no data."""
    program = (
        "import embedtune.cli, embedtune.api, embedtune.artifact.card, embedtune.data.readers\n"
        "import embedtune.evaluation\n"
        f"import embedtune.collect.{part}, embedtune.tuners.ladder_{part}, pyarrow.compute, scipy.linalg\n"
        + ("import sklearn.linear_model\n" if part == "classification" else "")
        + "pyarrow.compute.pa.array([0])\n"  # the first array loads pandas where that is installed
        + "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return int(done.stdout) * 1024


def _row(what: str, limit: str, run: Run, size: int, written: Path) -> list[str]:
    """Give a line of the table."""
    verdict = json.loads(written.read_text("utf-8")) if written.exists() else {}
    return [
        f"{what}: {size / 1e6:,.0f} MB",
        limit,
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
        "data",
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
