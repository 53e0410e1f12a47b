"""Moving between two models: the share of quality that is reported, beside the truth of full re-embedding.

python benchmarks/migration.py
"""

from __future__ import annotations

import argparse
import time

from results import OUT, markdown, show, write_json, write_section
from sets import METRIC, load_set

from embedtune.judging.metrics import evaluate_ranks
from embedtune.migration import migrate
from embedtune.search import positive_ranks

SETS = ("scifact", "nl2bash", "cosqa", "medquad", "cranfield")
MODELS = ("all-MiniLM-L6-v2", "wordllama-256")
SHORT = dict(zip(MODELS, ("MiniLM", "wordllama"), strict=True))
POINTS = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    done = []
    for name in options.sets:
        for old, new in (MODELS, MODELS[::-1]):
            done.append(compare(name, old, new, options.seed))
            show("migration", HEAD, [_row(done[-1])])
            write_json(OUT / "migration.json", done)
    close = sum(abs(one["reported"] - one["truth"]) <= POINTS for one in done)
    inside = sum(one["low"] <= one["truth"] <= one["high"] for one in done)
    right = sum(one["advice"] == one["right"] for one in done)
    body = (
        f"{METRIC} of labelled queries of all splits. *Reported*: the share of full re-embedding's that the "
        "bridge keeps, as `embedtune migrate` says it after encoding a part; *truth*: all documents encoded "
        "anew, all queries. *Advice that is right*: the same rule on the true figures.\n\n"
        + markdown(HEAD, [_row(one) for one in done])
        + f"\n\nWithin 2 points of the truth: {close} of {len(done)}; truth inside the interval: {inside} of "
        f"{len(done)}; advice right: {right} of {len(done)}."
    )
    write_section("migration", "Moving to another model", body)


HEAD = [
    "set",
    "from, to",
    "documents",
    "sampled, + to judge",
    "map",
    "today",
    "bridge",
    "re-embedded",
    "reported, 95 % interval",
    "truth",
    "neighbours",
    "advice",
    "right",
    "CPU s",
]


def compare(name: str, old: str, new: str, seed: int) -> dict[str, object]:
    before, after = load_set(name, base=old), load_set(name, base=new)
    start = time.process_time()
    found = migrate(old=before.encoder, new=after.encoder, data=before.dataset, seed=seed)
    seconds = time.process_time() - start
    assert found.quality is not None
    assert found.kept is not None
    rows = before.dataset.query_rows(before.dataset.splits)
    relevance = before.dataset.relevance(before.dataset.splits)[rows]

    def score(of, documents) -> float:
        ranks = positive_ranks(of.queries[rows], documents, relevance)
        return float(evaluate_ranks(ranks, relevance, [METRIC])[METRIC].mean())

    bridged = score(after, found.bridge.documents(before.documents))
    full, today = score(after, after.documents), score(before, before.documents)
    right = (
        "re-embed"
        if bridged < today
        else "bridge"
        if bridged / full >= 0.97
        else "bridge now, re-embed in this order"
    )
    return {
        "set": name,
        "pair": f"{SHORT[old]} → {SHORT[new]}",
        "documents": found.documents,
        "sampled": found.sampled,
        "judged": found.quality.encoded,
        "method": found.method,
        "today": today,
        "bridged": bridged,
        "full": full,
        "reported": found.kept.share,
        "low": found.kept.ci95[0],
        "high": found.kept.ci95[1],
        "truth": bridged / full,
        "neighbours": found.neighbours.share,
        "advice": found.advised.advice,
        "right": right,
        "seconds": seconds,
    }


def _row(one: dict) -> list[str]:
    return [
        one["set"],
        one["pair"],
        f"{one['documents']:,}",
        f"{one['sampled']:,} + {one['judged']:,}",
        one["method"],
        *(f"{one[key]:.3f}".lstrip("0") for key in ("today", "bridged", "full")),
        f"{one['reported']:.1%} ({one['low']:.1%} to {one['high']:.1%})",
        f"{one['truth']:.1%}",
        f"{one['neighbours']:.0%}",
        one["advice"],
        "yes" if one["advice"] == one["right"] else "no",
        f"{one['seconds']:.0f}",
    ]


if __name__ == "__main__":
    main()
