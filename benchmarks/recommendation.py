"""Recommendation: tuned item vectors beside popularity, the content centroid, EASE and ALS.

``python benchmarks/recommendation.py movielens-small``. Peers choose their settings on dev, fitted to
train, and are fitted again to train and dev; embedtune chooses out of fold within train and dev. The test
split is ranked once by each. See README.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers_recommendation import PEERS, Fit
from results import OUT, markdown, number, show, write_json, write_section
from scipy.sparse import csr_matrix
from sets import BASE, DATA

from embedtune.collect.recommendation import interactions
from embedtune.data import Dataset, read
from embedtune.encoders import load_encoder
from embedtune.judging.compare import randomisation_test
from embedtune.judging.metrics import evaluate_ranks
from embedtune.judging.problem import Round
from embedtune.judging.recommended import Recommended
from embedtune.transforms import Identity
from embedtune.tuners import auto
from embedtune.tuners.base import Budget
from embedtune.tuners.interactions import Interactions
from embedtune.tuners.ladder_recommendation import ladder
from embedtune.types import Transform

METRICS = ("recall@20", "ndcg@10")
STRATA = ("all", "warm", "cold", "light", "heavy")
OURS = "embedtune"

Scores = dict[str, NDArray[np.float64]]


def main() -> None:
    """Run every method on every set."""
    options = _options()
    done = [compare(name, options) for name in options.sets]
    write_json(OUT / "recommendation.json", done)
    write_section("recommendation", "Recommendation", "\n\n".join(_report(result) for result in done))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="folders of --data with items and interactions")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--vectors", type=Path, help="an .npz with 'ids' and 'items', instead of encoding")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fit and judge every method on one set."""
    dataset = read(options.data / name)
    items = _vectors(dataset, options)
    train = interactions(dataset, items, ["train"])
    both = interactions(dataset, items, ["train", "dev"])
    tuning = Recommended(train, interactions(dataset, items, ["dev"])).final()
    problem = Recommended(both, interactions(dataset, items, ["test"]))
    final = problem.final()
    scores: dict[str, Scores] = {}
    seconds: dict[str, float] = {}
    settings: dict[str, Any] = {}
    coverage: dict[str, float] = {}
    for peer, (fit, grid) in PEERS.items():
        best = grid[0]
        if len(grid) > 1:
            best = max(grid, key=lambda one: _dev(fit, train, items, one, tuning))
        start = time.process_time()
        found = fit(both.matrix(), items, **best)
        seconds[peer], settings[peer] = time.process_time() - start, best
        scores[peer], coverage[peer] = _ranked(found, final)
        print(f"{name}: {peer} {best} {_mean(scores[peer], final):.4f}", flush=True)
    start = time.process_time()
    chosen, tried = choose(problem, options.seed)
    for candidate, transform in tried.items():
        scores[candidate] = problem.evaluate(transform, final.held, final.train, METRICS)
        coverage[candidate] = problem.coverage(transform, final.train)
        print(f"{name}: {candidate} {_mean(scores[candidate], final):.4f}", flush=True)
    seconds[chosen] = time.process_time() - start
    return {
        "set": name,
        "chosen": chosen,
        "settings": settings,
        "n": {stratum: int(_rows(final, stratum).sum()) for stratum in STRATA},
        "methods": {
            method: {
                "seconds": seconds.get(method),
                "coverage": coverage[method],
                "ndcg@10": float(found["ndcg@10"][final.natural].mean()),
                **{s: float(found["recall@20"][_rows(final, s)].mean()) for s in STRATA},
            }
            for method, found in scores.items()
        },
        "tests": _tests(scores, chosen, final),
    }


def choose(problem: Recommended, seed: int) -> tuple[str, dict[str, Transform]]:
    """Let embedtune choose out of fold; give every candidate fitted to all that may be learned from."""
    found = auto.choose(problem, ladder=ladder, method="auto", metric="recall@20", seed=seed, budget=Budget())
    fitted = {
        f"{OURS}: {one.candidate.name}": one.candidate.final(problem.interactions, 1.0, seed, Budget())
        for one in found.tried
        if one.candidate
    }
    return f"{OURS}: {found.chosen.name}", {f"{OURS}: base": Identity(), **fitted}


def _vectors(dataset: Dataset, options: argparse.Namespace) -> NDArray[np.float32]:
    if options.vectors is None:
        return load_encoder(options.base).encode(dataset.document_texts, kind="document")
    found = np.load(options.vectors)
    row = {id: n for n, id in enumerate(found["ids"].tolist())}
    return np.asarray(found["items"][[row[id] for id in dataset.document_ids]], np.float32)


def _ranked(scores: NDArray[Any], final: Round) -> tuple[Scores, float]:
    """Metrics of each row of the round, and coverage of the first 20, from scores (users, N)."""
    scores = np.array(scores, np.float32)
    history = final.train.history
    scores[history.user, history.item] = -np.inf
    top = np.argpartition(-scores, 20, axis=1)[history.counts > 0, :20]
    targets = final.train.targets
    fresh = ~np.isneginf(scores[targets.user, targets.item])
    kind, user = np.divmod(final.held, history.users)
    out = {name: np.full(len(final.held), np.nan) for name in METRICS}
    warm = final.train.warm[targets.item]
    for part, mask in enumerate((fresh, fresh & warm, fresh & ~warm)):
        pairs = csr_matrix(
            (np.ones(mask.sum(), np.float32), (targets.user[mask], targets.item[mask])), scores.shape
        )
        pairs.sort_indices()
        rows = np.repeat(np.arange(len(scores)), np.diff(pairs.indptr))
        own = scores[rows, pairs.indices]
        ranks = np.array(
            [
                1 + np.count_nonzero(scores[r] > s) + np.count_nonzero(scores[r, :c] == s)
                for r, c, s in zip(rows, pairs.indices, own, strict=True)
            ]
        )
        found = evaluate_ranks(ranks, pairs, METRICS)
        these = kind == part
        for name in METRICS:
            out[name][these] = found[name][user[these]]
    return out, len(np.unique(top)) / scores.shape[1]


def _dev(
    fit: Fit, train: Interactions, items: NDArray[np.float32], setting: dict[str, Any], tuning: Round
) -> float:
    return _mean(_ranked(fit(train.matrix(), items, **setting), tuning)[0], tuning)


def _rows(final: Round, stratum: str) -> NDArray[np.bool_]:
    return final.natural if stratum == "all" else final.strata[stratum]


def _mean(scores: Scores, final: Round) -> float:
    return float(scores["recall@20"][final.natural].mean())


def _tests(scores: dict[str, Scores], chosen: str, final: Round) -> dict[str, Any]:
    """Paired tests of the choice: on warm items against the best peer, on cold ones against the centroid."""
    out = {}
    for stratum, rivals in (("all", [*PEERS]), ("warm", [*PEERS]), ("cold", ["content centroid"])):
        rows = _rows(final, stratum)
        best = max(rivals, key=lambda rival: scores[rival]["recall@20"][rows].mean())
        difference = scores[chosen]["recall@20"][rows] - scores[best]["recall@20"][rows]
        out[stratum] = {
            "rival": best,
            "gain": float(difference.mean()),
            "p_value": randomisation_test(difference),
        }
    return out


def _report(result: dict[str, Any]) -> str:
    header = ["method", *(f"{s} ({result['n'][s]})" for s in STRATA), "nDCG@10", "coverage", "CPU s"]
    rows = [
        [
            f"**{method}**" if method == result["chosen"] else method,
            *(number(found[s]) for s in STRATA),
            number(found["ndcg@10"]),
            number(found["coverage"]),
            "–" if found["seconds"] is None else f"{found['seconds']:.1f}",
        ]
        for method, found in result["methods"].items()
    ]
    show(result["set"], header, rows)
    tests = "; ".join(
        f"{stratum}: {found['gain']:+.3f} over {found['rival']}, p {found['p_value']:.3g}"
        for stratum, found in result["tests"].items()
    )
    return (
        f"### {result['set']}\n\nTest recall@20 by user; users in brackets. *warm* and *cold*: the part of"
        " a user's targets on items with and without training interactions, ranked among all items. In bold"
        " what embedtune chose out of fold. CPU seconds: the whole ladder with its rounds, a peer's last fit."
        f"\n\n{markdown(header, rows)}\n\nPaired randomisation tests: {tests}."
    )


if __name__ == "__main__":
    main()
