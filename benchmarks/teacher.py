"""What a teacher brings: a tenth of the training labels, and the other training queries without any.

The student is a static model, the teacher a transformer that is better than it; test nDCG@10 with the tenth
alone, with the teacher's labels too, and with all true labels.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from results import OUT, markdown, number, show, write_json, write_section
from sets import BASE, DATA, read_set

from embedtune import fine_tune
from embedtune.data import Dataset
from embedtune.weights import RUNGS


def main() -> None:
    """Run the sets that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=["nl2bash"])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--base", default="wordllama-256")
    parser.add_argument("--teacher", default=BASE)
    parser.add_argument("--method", default="linear")
    parser.add_argument("--share", type=float, default=0.1, help="training queries that keep their labels")
    parser.add_argument("--weights", choices=list(RUNGS), help="instead: what weights follow of the scores")
    asked = parser.parse_args()
    if asked.weights:
        follow(asked)
        return
    header = ["set", "labels", "base", "tuned", "95 %", "method", "seconds"]
    rows = []
    for name in asked.sets:
        whole = read_set(name, asked.data)
        tenth = few(whole, asked.share)
        for words, data, teacher in (
            (f"{asked.share:.0%}", tenth, None),
            (f"{asked.share:.0%} and the teacher's", tenth, asked.teacher),
            ("all", few(whole, 1.0), None),
        ):
            rows.append([name, words, *tuned(asked.base, data, asked.method, teacher)])
    show("teacher", header, rows)
    write_json(OUT / "teacher.json", [dict(zip(header, row, strict=True)) for row in rows])
    words = (
        f"Student {asked.base}, teacher {asked.teacher}; test nDCG@10, interval of the gain over the base."
    )
    write_section("teacher", "A teacher", f"{words}\n\n{markdown(header, rows)}")


def follow(asked: argparse.Namespace) -> None:
    """Tune weights on the tenth and the teacher's labels, and follow nothing more, or some of its scores."""
    header = ["set", "followed", "base", "tuned", "95 %", "method", "seconds"]
    rows = []
    for name in asked.sets:
        data = few(read_set(name, asked.data), asked.share)
        for words, settings in (
            ("its labels alone", {}),
            ("and its probabilities", {"distil": 0.2, "distil_by": "softmax"}),
            ("and its margins", {"distil": 0.2}),
        ):
            method = RUNGS.load(asked.weights)(**settings)
            rows.append([name, words, *tuned(asked.base, data, method, asked.teacher)])
    show("teacher-weights", header, rows)
    write_json(OUT / "teacher-weights.json", [dict(zip(header, row, strict=True)) for row in rows])
    words = (
        f"Weights ({asked.weights}) of {asked.base} on {asked.share:.0%} of the labels and those of "
        f"{asked.teacher}; a fifth of the loss follows its scores where these are followed. Test nDCG@10."
    )
    write_section(
        "teacher-weights", "What weights follow of a teacher", f"{words}\n\n{markdown(header, rows)}"
    )


def tuned(base: str, data: Dataset, method: Any, teacher: str | None) -> list[str]:
    """Tune; give both scores, the interval of the gain, what was chosen, and the seconds."""
    started = time.perf_counter()
    verdict = fine_tune(base_model=base, data=data, method=method, teacher=teacher).verdict
    seconds = time.perf_counter() - started
    between = " to ".join(f"{end:+.3f}" for end in verdict.ci95)
    return [
        number(verdict.base.overall), number(verdict.tuned.overall), between, verdict.method, f"{seconds:.0f}"
    ]  # fmt: skip


def few(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """Keep the labels of some training queries and of the test split; the other queries have none."""
    split = np.array(dataset.qrels["split"].to_pylist())
    query = dataset.qrels["query"].to_numpy()
    train, test = (np.unique(query[split == name]) for name in ("train", "test"))
    kept = np.random.default_rng(seed).permutation(train)[: round(share * len(train))]
    rows = np.union1d(train, test)
    qrels = dataset.qrels.filter(pa.array((split == "test") | ((split == "train") & np.isin(query, kept))))
    moved = pa.array(np.searchsorted(rows, qrels["query"].to_numpy()), pa.int32())
    qrels = qrels.set_column(qrels.column_names.index("query"), qrels.schema.field("query"), moved)
    return replace(dataset, queries=dataset.queries.take(pa.array(rows)), qrels=qrels)


if __name__ == "__main__":
    main()
