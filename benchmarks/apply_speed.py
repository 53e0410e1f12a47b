"""A map applied to a million rows in pgvector, beside a plain copy into a new column."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from apply_postgres import connected, fill_table, postgres, server_cpu
from apply_worker import make_model, start


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
