"""Can the verdict be trusted? Hundreds of simulated cases, each judged on test labels the tuner never saw.

A case is a set, a number of labelled queries and a condition:

- ``clean``: labels as they are;
- ``shuffled``: the positives are dealt out anew among the labelled queries, so nothing can be learned;
- ``half wrong``: the same for a random half of them;
- ``good base``: the documents' vectors are mixed with those of their queries, until the base is at .93.

The data passed to ``fine_tune`` holds the labelled queries, drawn from the set's train and dev splits,
and no test split: the verdict, the gain and the interval come from the corrected out-of-fold estimate.
The true gain is that of the map that was judged, over the base, on the set's test split; where the
verdict is not *tune* the map is refused and the base is shipped, but the interval must hold all the same.
All figures are on the test labels as they are, without errors, also where the training labels have some.

Finished cases are kept in ``out/trust.jsonl`` and are not run again until embedtune's code or the
options change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import HERE, OUT, markdown, show, write_section
from scipy.sparse import csr_matrix, diags
from scipy.stats import binomtest
from sets import BASE, DATA, METRIC, SETS, chosen, load_set, read_set

from embedtune.collect.titles import MOST
from embedtune.data.dataset import Dataset, items, judgements
from embedtune.data.titles import titles
from embedtune.encoders import load_encoder
from embedtune.judging.compare import bootstrap_interval
from embedtune.judging.metrics import evaluate_ranks
from embedtune.judging.retention import probe_texts
from embedtune.search import positive_ranks
from embedtune.types import Kind, Vectors

CONDITIONS = ("clean", "shuffled", "half wrong", "good base")
COUNTS = (10, 25, 50, 100, 250, 500, 1000, 2500, 10**9)
"""Labelled queries; the last stands for all. Counts above what a set has are left out."""

GOOD = 0.93
"""nDCG@10 of the base on test in the condition ``good base``."""

LOG = OUT / "trust.jsonl"
VECTORS = OUT / "vectors"


@dataclass(frozen=True)
class Case:
    """One simulation; everything in it follows from these fields."""

    set: str
    condition: str
    labels: int
    repeat: int

    @property
    def seed(self) -> int:
        """A number that differs from case to case and is the same on every machine."""
        text = f"{self.set}/{self.condition}/{self.labels}/{self.repeat}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def main() -> None:
    """Run the cases that are missing, then report all that were asked for."""
    options = _options()
    pools = {name: _prepare(name, options) for name in chosen(options.sets)}
    cases = _cases(pools, options.cases)
    stamp = _stamp(options)
    done = _finished(stamp)
    missing = sorted((case for case in cases if case not in done), key=lambda case: case.set)
    print(f"{len(cases)} cases, {len(cases) - len(missing)} of them finished before", flush=True)
    if missing:
        done |= _run(missing, options, stamp)
    records = [done[case] for case in cases if case in done]
    header, rows = _summary(records)
    show("trust", header, rows)
    write_section("trust", "Can the verdict be trusted?", _report(records))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", default=["all"], help=f"any of {', '.join(SETS)}, all")
    parser.add_argument("--cases", type=int, default=240)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes, of one thread each")
    parser.add_argument("--base", default=BASE, help="'{set}' stands for the name of the set")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--budget", default="5m", help="embedtune's time budget a case")
    return parser.parse_args()


def _prepare(name: str, options: argparse.Namespace) -> int:
    """Put a set's vectors where the workers map them; give the number of its labelled queries."""
    folder = VECTORS / name
    data = load_set(name, options.data, options.base)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "queries.npy", data.queries)
    np.save(folder / "documents.npy", data.documents)
    encoder = load_encoder(options.base.format(set=name))
    np.save(folder / "titles.npy", encoder.encode(titles(data.dataset, MOST)[0], kind="query"))
    windows, rows = encoder.later_windows(data.dataset.document_texts)
    np.save(folder / "windows.npy", encoder.encode(windows))
    (folder / "windows.json").write_text(json.dumps({"texts": windows, "rows": rows.tolist()}), "utf-8")
    np.save(folder / "probes.npy", encoder.encode(probe_texts()))
    return len(data.dataset.query_rows(["train", "dev"]))


def _cases(pools: dict[str, int], wanted: int) -> list[Case]:
    """The first ``wanted`` cases: the whole grid in random order, then the grid again with other draws."""
    cases: list[Case] = []
    repeat = 0
    while len(cases) < wanted:
        grid = [
            Case(name, condition, labels, repeat)
            for name, pool in pools.items()
            for condition in CONDITIONS
            for labels in sorted(
                {min(count, pool) for count in COUNTS if count <= pool or count == COUNTS[-1]}
            )
        ]
        random.Random(repeat).shuffle(grid)
        cases += grid
        repeat += 1
    return cases[:wanted]


def _stamp(options: argparse.Namespace) -> str:
    """Changes when results would: with embedtune's code, this file, the base or the budget."""
    digest = hashlib.sha256(f"{options.base} {options.budget}".encode())
    for path in [Path(__file__), *sorted((HERE.parent / "src").rglob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _finished(stamp: str) -> dict[Case, dict[str, Any]]:
    if not LOG.exists():
        return {}
    found = {}
    for line in LOG.read_text("utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the line that was being written when a run was killed
            continue
        if record["stamp"] == stamp:
            found[Case(**record["case"])] = record
    return found


def _run(missing: list[Case], options: argparse.Namespace, stamp: str) -> dict[Case, dict[str, Any]]:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # for the workers, which start afresh
    done: dict[Case, dict[str, Any]] = {}
    start = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(options.jobs, mp_context=context) as pool,
        LOG.open("a", encoding="utf-8") as log,
    ):
        waiting = {pool.submit(run_case, case, options.data, options.budget): case for case in missing}
        for future in as_completed(waiting):
            case = waiting[future]
            record = future.result() | {"stamp": stamp, "case": asdict(case)}
            log.write(json.dumps(record) + "\n")
            log.flush()
            done[case] = record
            left = (time.monotonic() - start) / len(done) * (len(missing) - len(done))
            print(
                f"{len(done)}/{len(missing)} {case.set}, {case.condition}, {case.labels} labels: "
                f"{record['verdict']} (true gain {record['true_gain']:+.3f}), {record['seconds']:.0f} s; "
                f"about {left / 60:.0f} min left",
                flush=True,
            )
    return done


# --- one case ------------------------------------------------------------------------


def run_case(case: Case, folder: Path, budget: str) -> dict[str, Any]:
    """Tune on a case's data, then judge what would be shipped on the untouched test split."""
    from embedtune import fine_tune

    whole, queries, documents = _loaded(case.set, folder, case.condition == "good base")
    data, ids = _labelled(whole, case), whole.document_ids
    encoder = Remembering(whole, queries, documents, case.set)
    start = time.perf_counter()
    # forced, so that a map that was refused can be judged too
    tuned = fine_tune(base_model=encoder, data=data, budget=budget, seed=case.seed, force=True)
    seconds = time.perf_counter() - start
    verdict = tuned.verdict.to_dict()
    asked = whole.query_rows(["test"])
    test = whole.relevance(["test"])[asked]
    base = _scores(queries[asked], documents, test)
    mapped = _scores(tuned.transform.queries(queries[asked]), tuned.transform.documents(documents, ids), test)
    guess = verdict.get("out_of_fold") or verdict
    return {
        "verdict": verdict["verdict"],
        "method": verdict["method"],
        "p_value": verdict["p_value"],
        "gain": guess["gain"],
        "ci95": guess["ci95"],
        "true_gain": float((mapped - base).mean()),
        "true_ci95": list(bootstrap_interval(mapped - base, seed=case.seed)),
        "base": float(base.mean()),
        "test_queries": len(asked),
        "seconds": seconds,
    }


@lru_cache(maxsize=2)
def _loaded(name: str, folder: Path, good: bool) -> tuple[Dataset, Vectors, Vectors]:
    data = read_set(name, folder)
    queries = np.load(VECTORS / name / "queries.npy", mmap_mode=None if good else "r")
    documents = np.load(VECTORS / name / "documents.npy", mmap_mode=None if good else "r")
    return data, queries, _improved(data, queries, documents) if good else documents


def _improved(data: Dataset, queries: Vectors, documents: Vectors) -> Vectors:
    """Mix each document with the mean of its queries, of all splits, until the base is good on test."""
    asked = data.query_rows(["test"])
    test, every = data.relevance(["test"])[asked], (data.relevance() != 0).astype(np.float32).T.tocsr()
    counts = np.asarray(every.sum(axis=1)).ravel()
    toward = np.asarray(diags(1 / np.maximum(counts, 1)) @ (every @ queries), np.float32)
    low, high, best = 0.0, 1.0, documents
    if _scores(queries[asked], documents, test).mean() >= GOOD:
        return documents
    for _ in range(7):
        share = (low + high) / 2
        mixed = documents + (share * (counts > 0))[:, None] * (toward - documents)
        best = np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32)
        enough = _scores(queries[asked], best, test).mean() >= GOOD
        low, high = (low, share) if enough else (share, high)
    return best


class Remembering:
    """An encoder that knows the vectors of a set's texts and their windows, and reads nothing else."""

    name, similarity, content, max_tokens, progress = "remembering", "cosine", "text", None, None

    def __init__(self, whole: Dataset, queries: Vectors, documents: Vectors, name: str) -> None:
        self.dimension = queries.shape[1]
        self.fingerprint = hashlib.sha256(np.ascontiguousarray(documents).tobytes()).hexdigest()
        kept = VECTORS / name
        probes, called, later = (np.load(kept / f"{kind}.npy") for kind in ("probes", "titles", "windows"))
        windows = json.loads((kept / "windows.json").read_text("utf-8"))
        self._windows: dict[str, list[str]] = {}
        for window, row in zip(windows["texts"], windows["rows"], strict=True):
            self._windows.setdefault(whole.document_texts[row], []).append(window)
        self._vectors: dict[Kind, Vectors] = {
            "document": np.concatenate([documents, probes, later]),
            "query": np.concatenate([queries, called]),
        }
        texts: dict[Kind, list[str]] = {
            "document": [*whole.document_texts, *probe_texts(), *windows["texts"]],
            "query": whole.query_texts + titles(whole, MOST)[0],
        }
        self._rows = {kind: {text: row for row, text in enumerate(known)} for kind, known in texts.items()}

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Look up the vectors, (n, d), of unit length."""
        return np.asarray(self._vectors[kind][[self._rows[kind][item] for item in items]], np.float32)

    def count_tokens(self, texts: Sequence[str]) -> None:
        """Nothing is known of tokens."""

    def later_windows(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
        """Give the windows of some of the set's documents, and the row of each among these."""
        found = [(window, row) for row, text in enumerate(texts) for window in self._windows.get(text, ())]
        return [window for window, _ in found], np.array([row for _, row in found], np.int64)


def _labelled(whole: Dataset, case: Case) -> Dataset:
    """Give the data that the tuner sees, all of it training data."""
    rng = np.random.default_rng(case.seed)
    pool = whole.query_rows(["train", "dev"])
    rows = np.sort(rng.permutation(pool)[: case.labels])
    positives = whole.relevance(["train", "dev"])[rows]
    if case.condition in ("shuffled", "half wrong"):
        share = 1.0 if case.condition == "shuffled" else 0.5
        positives = _shuffled(positives, rng, share)
    pairs = positives.tocoo()
    texts, ids = whole.query_texts, whole.query_ids
    return Dataset(
        "retrieval",
        whole.documents,
        items([(ids[row], texts[row], case.set, number) for number, row in enumerate(rows, 1)]),
        judgements(
            [
                (int(query), int(document), float(grade), "train", case.set, number)
                for number, (query, document, grade) in enumerate(
                    zip(pairs.row, pairs.col, pairs.data, strict=True), 1
                )
            ]
        ),
        source=case.set,
    )


def _shuffled(positives: csr_matrix, rng: np.random.Generator, share: float) -> csr_matrix:
    """Deal the positives of a share of the queries out anew among them."""
    order = np.arange(positives.shape[0])
    wrong = rng.permutation(len(order))[: round(share * len(order))]
    order[wrong] = np.roll(wrong, 1)  # a random cycle: no query keeps its own
    return positives[order]


def _scores(queries: Vectors, documents: Vectors, test: csr_matrix) -> np.ndarray[Any, np.dtype[np.float64]]:
    return evaluate_ranks(positive_ranks(queries, documents, test), test, [METRIC])[METRIC]


# --- report --------------------------------------------------------------------------


def _summary(records: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    shuffled = [record for record in records if record["case"]["condition"] == "shuffled"]
    tuned = [record for record in records if record["verdict"] == "tune"]
    judged = [record for record in records if record["ci95"] is not None]
    refused = [record for record in judged if record["verdict"] != "tune"]
    rows = [
        ["false 'tune' on shuffled labels", *_share([r["verdict"] == "tune" for r in shuffled]), "≤ 2 %"],
        ["95 % interval holds the test gain", *_share([_covers(r) for r in judged]), "≥ 93 %"],
        ["the same, after 'tune'", *_share([_covers(r) for r in tuned]), ""],
        ["the same, after a refusal", *_share([_covers(r) for r in refused]), ""],
        ["the same, without shuffled labels", *_share([_covers(r) for r in judged if r not in shuffled]), ""],
        ["with the test split's own sampling error", *_share([_agrees(r) for r in judged]), ""],
        ["test gain > 0, after 'tune'", *_share([r["true_gain"] > 0 for r in tuned]), "≥ 98 %"],
        ["test gain significantly < 0, after 'tune'", *_share([r["true_ci95"][1] < 0 for r in tuned]), ""],
    ]
    return ["what", "cases", "share", "95 % (Clopper-Pearson)", "bar"], rows


def _share(hits: list[bool]) -> list[str]:
    if not hits:
        return ["0", "–", "–"]
    found = binomtest(sum(hits), len(hits)).proportion_ci(0.95)
    return [
        str(len(hits)),
        f"{100 * np.mean(hits):.1f} %",
        f"{100 * found.low:.1f} to {100 * found.high:.1f} %",
    ]


def _covers(record: dict[str, Any]) -> bool:
    low, high = record["ci95"]
    return bool(low <= record["true_gain"] <= high)


def _agrees(record: dict[str, Any]) -> bool:
    """Whether estimate and test gain differ by less than the root of their squared half widths."""
    halves = [(high - low) / 2 for low, high in (record["ci95"], record["true_ci95"])]
    return bool(abs(record["gain"] - record["true_gain"]) <= np.hypot(*halves))


def _report(records: list[dict[str, Any]]) -> str:
    sets = ", ".join(sorted({record["case"]["set"] for record in records}))
    hours = sum(record["seconds"] for record in records) / 3600
    lines = [
        f"{len(records)} cases on {sets}; {hours:.1f} hours of one core.\n",
        markdown(*_summary(records)),
        "\nVerdicts by condition and number of labelled queries: *tune* / cases; of those that were tuned,"
        " how many gained on test and by how much on average; of all, how many intervals hold the gain.\n",
        markdown(*_by_condition(records)),
    ]
    return "\n".join(lines)


def _by_condition(records: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    bins = (*COUNTS[:-1], 10**9)
    rows = []
    for condition in CONDITIONS:
        below = 0
        for top in bins:
            group = [
                record
                for record in records
                if record["case"]["condition"] == condition and below < record["case"]["labels"] <= top
            ]
            name = f"{condition}, {'more' if top == bins[-1] else f'to {top}'}"
            below = top
            if not group:
                continue
            tuned = [record for record in group if record["verdict"] == "tune"]
            gained = sum(r["true_gain"] > 0 for r in tuned)
            judged = [r for r in group if r["ci95"] is not None]
            held = f"{sum(map(_covers, judged))} / {len(judged)}"
            mean = f"{np.mean([r['true_gain'] for r in tuned]):+.3f}" if tuned else "–"
            rows.append([name, f"{len(tuned)} / {len(group)}", str(gained), mean, held])
    return ["condition, labels", "tune / cases", "gained", "mean test gain", "interval holds"], rows


if __name__ == "__main__":
    main()
