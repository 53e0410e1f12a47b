"""What an engine that rounds costs in search: the base's ranking with its vectors beside torch's in float32.

``python benchmarks/engine_quality.py cosqa nl2bash`` ranks all labelled queries of all splits: nothing is
tuned, so none of them is spent. The vectors of the engine are encoded anew, those of torch cached.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from results import OUT, markdown, number, show, write_json, write_section
from sets import BASE, DATA, METRIC, SETS, read_set

from embedtune.encoders import load_encoder
from embedtune.encoders.engines.choose import cosines
from embedtune.judging.compare import bootstrap_interval
from embedtune.judging.metrics import evaluate_ranks
from embedtune.search import positive_ranks

TITLE = "What rounding costs in search"
HEADER = ["set", "queries", "torch", "engine", "difference, 95 % interval", "cosine, least", "mean"]


def main() -> None:
    """Rank every set twice."""
    options = _options()
    found, rows = [], []
    for name in options.sets:
        found.append(compare(name, options))
        rows.append(_row(found[-1]))
        show(TITLE, HEADER, rows)
    write_json(OUT / "engine-quality.json", found)
    about = (
        f"{METRIC} of {BASE}, `{options.engine}` beside torch in float32; paired bootstrap over queries.\n\n"
    )
    write_section("engine-quality", TITLE, about + markdown(HEADER, rows))


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Give both scores of a set, the interval of their difference, and the cosines of its documents."""
    dataset = read_set(name, options.data)
    relevance = dataset.relevance()
    labelled = np.flatnonzero(np.diff(relevance.indptr))
    scores, documents = [], []
    for encoder in (load_encoder(BASE), load_encoder(BASE, engine=options.engine, cache=False)):
        vectors = encoder.encode(dataset.document_texts, kind="document")
        queries = encoder.encode([dataset.query_texts[row] for row in labelled], kind="query")
        ranks = positive_ranks(queries, vectors, relevance[labelled])
        scores.append(evaluate_ranks(ranks, relevance[labelled], (METRIC,))[METRIC])
        documents.append(vectors)
    interval = bootstrap_interval(scores[1] - scores[0], seed=0)
    cosine = cosines(documents[1], documents[0])
    return {
        "set": name,
        "queries": len(labelled),
        "torch": float(scores[0].mean()),
        "engine": float(scores[1].mean()),
        "ci95": [interval.low, interval.high],
        "cosine": [float(cosine.min()), float(cosine.mean())],
    }


def _row(found: dict[str, Any]) -> list[str]:
    low, high = found["ci95"]
    least, mean = found["cosine"]
    gain = found["engine"] - found["torch"]
    return [
        str(found["set"]),
        str(found["queries"]),
        number(found["torch"]),
        number(found["engine"]),
        f"{gain:+.4f} ({low:+.4f} to {high:+.4f})",
        f"{least:.4f}",
        f"{mean:.4f}",
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--engine", default="openvino-int8")
    parser.add_argument("--data", type=Path, default=DATA)
    return parser.parse_args()


if __name__ == "__main__":
    main()
