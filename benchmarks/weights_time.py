"""sentence-transformers with its documented defaults beside embedtune: CPU seconds until both have a result.

Both start from texts and nothing else: no vectors, no exported models. embedtune is ``auto`` without weights,
with its fastest engine; its time is that of the whole of ``fine_tune``: encoding, choosing, judging, curve.
With ``--budget`` it has no more than that, encoding included, and climbs as far as it comes.
The other's is training and encoding the collection and the test queries anew. Neither's has the seconds in
which torch and sentence-transformers are imported. Seconds are of one thread of the process, as the machine
may have other work.

A run of sentence-transformers takes half an hour and more. It is kept every fifty steps and goes on from
there when it is started again; ``--stop-after`` ends it early: its time is then extrapolated, in
the table with a tilde, and there is no score.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from peers.sentence_transformers_tuning import TimedRun, fit_retrieval
from results import OUT, kept, markdown, number
from sets import BASE, BenchmarkSet, load_set, read_set

from embedtune import fine_tune
from embedtune.artifact.probes import uncached
from embedtune.encoders import load_encoder
from embedtune.steps.asked import seconds

PLACE = OUT / "weights-time"
BAR = 5.0
SAMPLE = 256
"""Texts that stand for the collection where training was stopped early."""


def compare(name: str, options: Any) -> None:
    """Run both on a set, or take what is kept."""
    own = f"{name}-embedtune.json" if options.budget is None else f"{name}-{options.budget}-embedtune.json"
    ours = kept(PLACE / own, lambda: _ours(name, options), reuse=not options.again)
    print(name, "embedtune", ours, flush=True)
    path = PLACE / f"{name}-peer.json"
    done = path.exists() and json.loads(path.read_text("utf-8"))["score"] is not None
    theirs = kept(path, lambda: _theirs(name, options), reuse=done and not options.again)
    print(name, "sentence-transformers", theirs, flush=True)


def _ours(name: str, options: Any) -> dict[str, Any]:
    dataset = read_set(name, options.data)
    importlib.import_module("sentence_transformers")  # the other's clock starts after it, too
    with _empty_cache():
        began, clock = time.process_time(), time.monotonic()
        encoder = load_encoder(BASE, engine=options.engine, texts=dataset.document_texts)
        encoder.encode(dataset.document_texts, kind="document")
        encoder.encode(dataset.query_texts, kind="query")
        encoded, waited = time.process_time(), time.monotonic() - clock
        left = None if options.budget is None else seconds(options.budget) - waited
        tuned = fine_tune(base_model=encoder, data=dataset, budget=left)
        ended = time.process_time()
    verdict = tuned.verdict
    if verdict is None:
        raise ValueError("there is no verdict")
    return {
        "set": name,
        "budget": options.budget,
        "engine": getattr(uncached(encoder), "engine", "torch"),
        "encode": encoded - began,
        "tune": ended - encoded,
        "base": verdict.base.overall,
        "score": verdict.tuned.overall,
        "decision": verdict.decision,
    }


def _theirs(name: str, options: Any) -> dict[str, Any]:
    benchmark: BenchmarkSet = load_set(
        name, options.data
    )  # the cache's vectors, for the base's folder and rows
    dataset = benchmark.dataset
    run = TimedRun(PLACE / f"{name}-peer", options.stop_after)
    if options.again:
        shutil.rmtree(run.folder, ignore_errors=True)
    base: Any = uncached(benchmark.encoder)
    encode = fit_retrieval(
        str(base.folder), dataset.query_texts, dataset.document_texts, benchmark.train, 0, run
    )
    figures = run.figures
    whole = figures["step"] >= figures["total"]
    asked = [dataset.query_texts[row] for row in benchmark.test_rows]
    texts = [*dataset.document_texts, *asked]
    if not whole:
        some = np.random.default_rng(0).choice(len(texts), min(SAMPLE, len(texts)), replace=False)
        began = time.process_time()
        encode([texts[row] for row in some])
        spent = (time.process_time() - began) * len(texts) / len(some)
        return {**figures, "encode": spent, "score": None}
    began = time.process_time()
    documents, queries = encode(dataset.document_texts), encode(asked)
    spent = time.process_time() - began
    benchmark.queries[benchmark.test_rows], vectors = queries, documents
    scores = benchmark.scores(lambda x: x, lambda _: vectors)
    return {**figures, "encode": spent, "score": float(scores.mean())}


@contextmanager
def _empty_cache() -> Iterator[None]:
    before = os.environ.get("EMBEDTUNE_CACHE_DIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EMBEDTUNE_CACHE_DIR"] = folder
        try:
            yield
        finally:
            os.environ.pop("EMBEDTUNE_CACHE_DIR")
            if before is not None:
                os.environ["EMBEDTUNE_CACHE_DIR"] = before


def time_table() -> str:
    """Give the table of what is kept."""
    header = [
        "set",
        "sentence-transformers: train",
        "encode",
        "its score",
        "embedtune: encode (engine)",
        "tune and judge",
        "its score",
        f"times faster (bar {BAR:g})",
    ]
    rows = []
    for path in sorted(PLACE.glob("*-embedtune.json")):
        ours = _read(path)
        name, budget = ours["set"], ours["budget"]
        other = path.with_name(f"{name}-peer.json")
        cells = ["–", "–", "–"]
        times = "–"
        if other.exists():
            theirs = _read(other)
            train, mark = theirs["cpu"], ""
            if theirs["score"] is None:
                train, mark = train * theirs["total"] / theirs["step"], "~ "
                steps = f", from {theirs['step']} of {theirs['total']} steps"
            else:
                steps = ""
            cells = [
                f"{mark}{train:.0f} s{steps}",
                f"{mark}{theirs['encode']:.0f} s",
                number(theirs["score"]),
            ]
            times = f"{mark}{(train + theirs['encode']) / (ours['encode'] + ours['tune']):.1f}"
        own = [f"{ours['encode']:.0f} s ({ours['engine']})", f"{ours['tune']:.0f} s", number(ours["score"])]
        rows.append([name if budget is None else f"{name}, --budget {budget}", *cells, *own, times])
    return markdown(header, rows) if rows else ""


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))
