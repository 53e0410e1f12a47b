"""Times, each beside what it is measured against, in interleaved repeats: minimum and median.

``python benchmarks/speed.py`` runs all parts; name some to run those: ``ladder scifact nudge search
import determinism``. Times are good as ratios on one machine only.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from results import OUT, markdown, show, write_json, write_section
from scipy.sparse import load_npz, save_npz
from sets import BASE, DATA, BenchmarkSet, load_set

Row = list[str]
HEADER = ["what", "min", "median", "against, min", "median", "ratio of minima", "bar"]


def main() -> None:
    """Run the parts that were asked for, and write their rows."""
    options = _options()
    if options.worker:
        WORKERS[options.worker](*options.parts)
        return
    rows: list[Row] = []
    for name in options.parts or PARTS:
        rows += PARTS[name](options)
        show("speed", HEADER, rows)
    write_json(OUT / "speed.json", rows)
    write_section("speed", "Speed and determinism", markdown(HEADER, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--base", default=BASE, help="'{set}' stands for the name of the set")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--worker", choices=[*WORKERS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.worker and (unknown := set(options.parts) - set(PARTS)):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


# --- the whole tuning ----------------------------------------------------------------


def ladder(options: argparse.Namespace) -> list[Row]:
    """``auto`` on the demo set against one LlamaIndex-style query adapter of 30 epochs, in one process."""
    from peers.llamaindex_adapter import AS_SHIPPED, Settings, fit

    data = load_set("demo", options.data, options.base)

    def adapter(settings: Settings) -> Callable[[], object]:
        return lambda: fit(data.queries, data.documents, data.train, data.dev, 0, settings)

    times = _interleaved(
        options.repeats,
        auto=lambda: _tune(data),
        ten=adapter(AS_SHIPPED),
        many=adapter(Settings()),
    )
    return [
        _row("auto, demo set; against the adapter, batches of 10", times["auto"], times["ten"], "≤ 5"),
        _row(
            "auto, demo set; against the adapter, batches of 128, best epoch on dev",
            times["auto"],
            times["many"],
            "",
        ),
    ]


def scifact(options: argparse.Namespace) -> list[Row]:
    """The whole ladder on scifact."""
    data = load_set("scifact", options.data, options.base)
    times = _interleaved(options.repeats, auto=lambda: _tune(data))
    return [_row("auto, scifact", times["auto"], None, "≤ 60 s")]


def _tune(data: BenchmarkSet) -> float:
    """Tune on cached vectors; give the seconds without reading and encoding."""
    from embedtune import fine_tune

    verdict = fine_tune(base_model=data.encoder, data=data.dataset).verdict.to_dict()
    return float(sum(verdict["seconds"].get(stage, 0.0) for stage in ("tune", "judge")))


# --- parts ---------------------------------------------------------------------------


def nudge(options: argparse.Namespace) -> list[Row]:
    """embedtune's NUDGE against the authors' package, a process each; time, and memory over the vectors."""
    data = load_set("demo", options.data, options.base)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "queries.npy", data.queries)
        np.save(folder / "documents.npy", data.documents)
        save_npz(folder / "train.npz", data.train)
        save_npz(folder / "dev.npz", data.dev)
        size = data.queries.nbytes + data.documents.nbytes
        for letter in ("m", "n"):
            found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
            for _ in range(options.repeats):
                for whose, runs in found.items():
                    runs.append(_worker("nudge", place, letter, whose, "time"))
            name = f"NUDGE-{letter.upper()}"
            ours, theirs = ([run["seconds"] for run in found[whose]] for whose in ("ours", "theirs"))
            rows.append(_row(f"{name}, demo set; against nudge-ft", ours, theirs, "≤ 0.2"))
            held = {whose: _worker("nudge", place, letter, whose, "memory") for whose in found}
            for what, key in (("resident growth", "grown"), ("tracemalloc peak", "traced")):
                a, b = held["ours"][key] / size, held["theirs"][key] / size
                theirs_shown = f"{b:.2f}" if key == "grown" else "–"  # torch's memory is not traced
                bar = "≤ 1.3 of the vectors"
                rows.append([f"{name}, {what} / vectors", f"{a:.2f}", "", theirs_shown, "", "", bar])
    return rows


def search(options: argparse.Namespace) -> list[Row]:
    """Exact top-k against the bare float32 matrix product of the same size."""
    from embedtune.search import top_k

    rng = np.random.default_rng(0)
    rows = []
    for n, count in ((1000, 20_000), (1000, 100_000)):
        queries, documents = (rng.standard_normal((size, 384), np.float32) for size in (n, count))
        for x in (queries, documents):
            x /= np.linalg.norm(x, axis=1, keepdims=True)
        times = _interleaved(
            max(options.repeats, 5),
            ours=partial(top_k, queries, documents, 10),
            product=partial(np.matmul, queries, documents.T),
        )
        name = f"top 10 of {count:,} for {n:,} queries; against the product"
        rows.append(_row(name, times["ours"], times["product"], "≤ 2"))
    return rows


def imports(options: argparse.Namespace) -> list[Row]:
    """``import embedtune`` against a Python that imports nothing; and that torch stays out."""
    ours, bare = "import embedtune", "pass"
    times = _interleaved(max(options.repeats, 7), ours=lambda: _python(ours), bare=lambda: _python(bare))
    loaded = _python("import sys, embedtune; print('torch' in sys.modules)")
    alone = [f(times["ours"]) - f(times["bare"]) for f in (min, median)]
    return [
        _row("import embedtune; against bare Python", times["ours"], times["bare"], ""),
        [f"the import alone; torch loaded: {loaded}", *map(_s, alone), "", "", "", "< 0.3 s"],
    ]


def determinism(options: argparse.Namespace) -> list[Row]:
    """Two processes, one seed: are the artifacts the same, byte for byte?"""
    with tempfile.TemporaryDirectory() as place:
        sums = []
        for name in ("first", "second"):
            folder = Path(place) / name
            arguments = (str(folder), str(options.data), options.base)
            sums.append(_worker("artifact", *arguments) and _checksums(folder))
    same = sums[0] == sums[1]
    differ = sorted(
        name for name in sums[0].keys() | sums[1].keys() if sums[0].get(name) != sums[1].get(name)
    )
    said = f"{len(sums[0])} files, " + (
        "all the same" if same else f"{len(differ)} differ: {', '.join(differ)}"
    )
    return [["two runs on scifact with one seed", said, "", "", "", "", "all the same"]]


PARTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "ladder": ladder,
    "scifact": scifact,
    "nudge": nudge,
    "search": search,
    "import": imports,
    "determinism": determinism,
}


# --- workers: parts that need a process of their own ---------------------------------


def nudge_worker(place: str, letter: str, whose: str, what: str) -> None:
    """Run one NUDGE; memory is what grows from before the vectors are loaded."""
    from peers import nudge_ft

    from embedtune.tuners import nudge as own

    if whose == "theirs":
        __import__("nudge")  # torch: its import is not counted
    folder = Path(place)
    train, dev = load_npz(folder / "train.npz").tocsr(), load_npz(folder / "dev.npz").tocsr()
    traced = 0
    if what == "memory":
        import tracemalloc

        Path("/proc/self/clear_refs").write_text("5")  # set the high-water mark back
        tracemalloc.start()
    before = _resident("VmRSS")
    queries, documents = np.load(folder / "queries.npy"), np.load(folder / "documents.npy")
    start = time.perf_counter()
    if whose == "ours":
        run = own.nudge_m if letter == "m" else own.nudge_n
        run(documents, queries, train, queries, dev)
    else:
        peer = nudge_ft.fit_m if letter == "m" else nudge_ft.fit_n
        peer(queries, documents, train, dev, 0)
    seconds = time.perf_counter() - start
    if what == "memory":
        traced = tracemalloc.get_traced_memory()[1]
    print(json.dumps({"seconds": seconds, "grown": _resident("VmHWM") - before, "traced": traced}))


def artifact_worker(out: str, data: str, base: str) -> None:
    """Tune on scifact with seed 0 and save."""
    from embedtune import fine_tune

    found = load_set("scifact", Path(data), base)
    fine_tune(base_model=found.encoder, data=found.dataset, seed=0).save(out)
    print("{}")


WORKERS: dict[str, Callable[..., None]] = {"nudge": nudge_worker, "artifact": artifact_worker}


def _worker(name: str, *arguments: str) -> Any:
    command = [sys.executable, __file__, "--worker", name, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1]) or True


def _python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def _resident(field: str) -> int:
    """Bytes of this process, from the kernel: ``VmRSS`` now, ``VmHWM`` at most."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"this system has no {field}")


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- times ---------------------------------------------------------------------------


def _interleaved(repeats: int, **calls: Callable[[], object]) -> dict[str, list[float]]:
    """Time the calls in turn, ``repeats`` times; one that gives a float has timed itself."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats):
        for name, call in calls.items():
            gc.collect()
            start = time.perf_counter()
            said = call()
            times[name].append(said if isinstance(said, float) else time.perf_counter() - start)
            print(f"{name} {number + 1}/{repeats}: {times[name][-1]:.3f} s", flush=True)
    return times


def _row(name: str, ours: list[float], theirs: list[float] | None, bar: str) -> Row:
    row = [name, _s(min(ours)), _s(median(ours))]
    if theirs is None:
        return [*row, "", "", "", bar]
    return [*row, _s(min(theirs)), _s(median(theirs)), f"{min(ours) / min(theirs):.2f}", bar]


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.3g} s"


if __name__ == "__main__":
    main()
