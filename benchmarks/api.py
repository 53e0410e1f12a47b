"""API models: what killed runs pay for, how close the speed comes to the ideal, and what faults do.

A provider that speaks OpenAI's protocol runs in a process of its own (``tests/encoders/provider.py``),
answers after 50 ms, and keeps accounts. The ideal is requests x latency / concurrency. As the machine itself
takes part of the time, the same requests are also sent by a loop that does nothing else: no checks, no cache.
The process that is killed has its requests made by a courier, which is not: see ``encoders/api/courier.py``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from results import markdown, show, write_section

import embedtune
from embedtune.encoders import load_encoder
from embedtune.errors import TextsFailed

PROVIDER = Path(__file__).parents[1] / "tests/encoders/provider.py"
LATENCY, DIMENSION = 0.05, 256
FAULTS = ("429", "500", "timeout", "truncated", "count", "nan")

RUN = """
import sys
from embedtune.encoders import load_encoder
sys.path.insert(0, sys.argv[1])
from api import opened, texts
opened(sys.argv[2], *map(int, sys.argv[4:6])).encode(texts(int(sys.argv[3])))
"""


class Served:
    """A provider in a process of its own."""

    def __init__(self, *options: Any) -> None:
        command = [sys.executable, str(PROVIDER), "--dimension", DIMENSION, "--latency", LATENCY, *options]
        self.process = subprocess.Popen([str(one) for one in command], stdout=subprocess.PIPE, text=True)
        self.host = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.base = f"{self.host}/v1"

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.host}{path}", json.dumps(body or {}).encode()) as answer:
            return json.load(answer)


def texts(count: int) -> list[str]:
    """Give texts of about 90 characters, all different."""
    return [
        f"{n}: a text of the usual length for a passage, which says something about {n % 977}."
        for n in range(count)
    ]


def opened(base: str, concurrency: int, batch: int, **options: Any) -> Any:
    return load_encoder(
        "model", api_base=base, dimensions=DIMENSION, concurrency=concurrency, batch=batch, **options
    )


def fresh_cache() -> None:
    """Forget the last cache, and begin an empty one."""
    shutil.rmtree(os.environ.get("EMBEDTUNE_CACHE_DIR", ""), ignore_errors=True)
    os.environ["EMBEDTUNE_CACHE_DIR"] = tempfile.mkdtemp(prefix="embedtune-api-")


def timed(served: Served, count: int, concurrency: int, batch: int) -> tuple[float, float]:
    """Encode everything into an empty cache; give seconds, and those of the start before."""
    fresh_cache()
    encoder, asked = opened(served.base, concurrency, batch), texts(count)
    came = time.perf_counter()
    encoder.encode([f"a first text, which starts the courier and connects: {n}" for n in range(batch + 1)])
    began = time.perf_counter()
    encoder.encode(asked)
    return time.perf_counter() - began, began - came


def bare(served: Served, count: int, concurrency: int, batch: int) -> float:
    """Send the same requests from as many threads, and read the answers; give seconds."""
    asked = texts(count)
    bodies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    for start in range(0, count, batch):
        body = {"model": "model", "input": asked[start : start + batch], "encoding_format": "base64"}
        bodies.put(json.dumps({**body, "dimensions": DIMENSION}).encode())
    for _ in range(concurrency):
        bodies.put(None)

    def work(client: httpx.Client) -> None:
        while (content := bodies.get()) is not None:
            client.post(f"{served.base}/embeddings", content=content).read()

    with httpx.Client() as client:
        threads = [threading.Thread(target=work, args=(client,)) for _ in range(concurrency)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began


def killed(served: Served, count: int, concurrency: int, batch: int, kills: int) -> dict[str, Any]:
    """Kill a run at random moments, start it again each time; give the provider's accounts."""
    served.post("/forget")
    fresh_cache()
    environment = os.environ | {"PYTHONPATH": str(Path(embedtune.__file__).parents[1])}
    command = [sys.executable, "-c", RUN, str(Path(__file__).parent), served.base]
    command += [str(one) for one in (count, concurrency, batch)]
    rng = random.Random(0)
    moments = sorted(rng.randrange(count // 50, count) for _ in range(kills))
    for moment in moments:
        run = subprocess.Popen(command, env=environment)
        while served.post("/accounts")["texts"] < moment:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, LATENCY))  # not just when the provider has answered
        run.send_signal(signal.SIGKILL)
        run.wait()
    subprocess.run(command, env=environment, check=True)
    found = served.post("/accounts")
    vectors = opened(served.base, concurrency, batch).encode(texts(count))
    assert served.post("/accounts")["charged"] == found["charged"]  # all of it is kept
    fresh_cache()
    whole = opened(served.base, concurrency, batch).encode(texts(count))
    return {**found, "moments": moments, "same": vectors.tobytes() == whole.tobytes()}


def faulty(served: Served, count: int, concurrency: int, batch: int, share: float) -> dict[str, Any]:
    """Encode while things go wrong; give what came of it."""
    served.post("/forget")
    fresh_cache()
    encoder = opened(served.base, concurrency, batch, timeout=1.0)
    encoder.encode(texts(1))
    served.post("/faults", dict.fromkeys(FAULTS, share) | {"seed": 0})
    missing: list[int] = []
    try:
        encoder.encode(texts(count))
    except TextsFailed as error:
        missing = error.rows
    found = served.post("/accounts")
    served.post("/faults")
    right = encoder.encode(texts(count))
    fresh_cache()
    whole = opened(served.base, concurrency, batch).encode(texts(count))
    return {**found, "missing": len(missing), "same": np.array_equal(right, whole)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--faulty", type=int, default=20_000, help="texts of the run with faults")
    parser.add_argument("--share", type=float, default=0.02, help="of requests, for each kind of fault")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    given = parser.parse_args()
    os.environ["EMBEDTUNE_CACHE_DIR"] = ""
    size = (given.texts, given.concurrency, given.batch)
    served = Served("--hang", 3)
    try:
        times = [(*timed(served, *size), bare(served, *size)) for _ in range(given.repeats)]
        kills = killed(served, *size, given.kills)
        faults = faulty(served, given.faulty, given.concurrency, given.batch, given.share)
    finally:
        served.process.kill()
        shutil.rmtree(os.environ["EMBEDTUNE_CACHE_DIR"], ignore_errors=True)
    ideal = math.ceil(given.texts / given.batch) * LATENCY / given.concurrency
    rows = report(given, kills, faults, ideal, times)
    show("API models", ("what", "figure", "bar"), rows)
    if not given.no_write:
        write_section("api", "API models", markdown(("what", "figure", "bar"), rows) + f"\n\n{NOTE}")


NOTE = """The process is killed with SIGKILL while requests are under way; its courier, a process of its own,
keeps their answers, and the next run waits for it. The ideal is requests × 50 ms / concurrency; the bare loop
sends the same requests with the same client and does nothing with the answers, on the same machine and at
about the same time: the rest is what embedtune itself costs. The start of the courier is no cost of a text,
and has a row of its own: it is timed with the two requests that start it and connect it."""


def report(
    given: argparse.Namespace,
    kills: dict[str, Any],
    faults: dict[str, Any],
    ideal: float,
    times: list[tuple[float, float, float]],
) -> list[tuple[str, str, str]]:
    own, start, loop = (min(column) for column in zip(*times, strict=True))
    wrong = ", ".join(f"{number} × {name}" for name, number in faults["faults"].items() if name != "none")
    again = faults["charged"] / given.faulty
    return [
        (
            "texts, texts a request, requests at a time",
            f"{given.texts:,}, {given.batch}, {given.concurrency}",
            "",
        ),
        (
            f"processes that want the {os.cpu_count()} cores, mean of the last 5 minutes",
            f"{os.getloadavg()[1]:.1f}",
            "",
        ),
        ("ideal", f"{ideal:.2f} s", ""),
        ("encoded into an empty cache, best of all runs", f"{own:.2f} s", ""),
        ("ideal / encoded", f"{ideal / own:.2f}", "≥ 0.9"),
        ("a bare loop, best of all runs", f"{loop:.2f} s ({ideal / loop:.2f} of the ideal)", ""),
        (
            "bare loop / encoded, by run",
            ", ".join(f"{bare / own:.2f}" for own, _, bare in times),
            "",
        ),
        ("start of the courier, with two requests, best of all runs", f"{start:.2f} s", ""),
        (
            f"killed {given.kills} times, at the provider's text number",
            ", ".join(f"{one:,}" for one in kills["moments"]),
            "",
        ),
        ("texts charged for at least once", f"{kills['texts']:,}", "all"),
        ("texts charged for twice", f"{kills['charged_twice']:,}", "0"),
        ("the most that one text was charged for", f"{kills['charged_most']}", ""),
        ("the vectors are those of an unbroken run, byte for byte", "yes" if kills["same"] else "NO", "yes"),
        (f"faults among {faults['requests']:,} requests", wrong, ""),
        (f"of {given.faulty:,} texts, named as failed", f"{faults['missing']:,}", ""),
        ("charged for, with answers of no use, per text", f"{again:.3f}", ""),
        ("the vectors are right", "yes" if faults["same"] else "NO", "yes"),
    ]


if __name__ == "__main__":
    main()
