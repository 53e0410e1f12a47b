"""A process of its own that applies a map to a store, and says how far it is."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from embedtune import stores
from embedtune.artifact.tuned import Tuned
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.stores.base import CatchUp
from embedtune.stores.table import opened
from embedtune.transforms import Linear


def worker(artifact: str, url: str, batch: str) -> None:
    """Apply, and say how long filling took, and what memory."""
    began, before = time.perf_counter(), time.process_time()
    filled = used = 0.0

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal filled, used
        print(stage, done, flush=True)
        if stage == "index" and not filled:
            filled, used = time.perf_counter() - began, time.process_time() - before

    with opened(url) as store:
        own = store.switch

        def switch(version: str, catch_up: CatchUp) -> None:
            print("switch", flush=True)
            own(version, catch_up)
            print("switched", flush=True)

        store.switch = switch  # type: ignore[method-assign]
        result = stores.apply(artifact, store, resume=True, probe=False, batch=int(batch), progress=tell)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    whole = time.perf_counter() - began
    told = {"fill": filled, "client": used, "whole": whole, "peak": peak, "rows": result.rows}
    print(json.dumps(told), flush=True)


def start(artifact: Path, url: str, batch: int) -> subprocess.Popen[str]:
    """Start a worker."""
    return subprocess.Popen(
        [sys.executable, __file__, str(artifact), url, str(batch)],
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


if __name__ == "__main__":
    worker(*sys.argv[1:])
