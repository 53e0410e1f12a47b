"""Recommendation: tuned item vectors beside popularity, the content centroid, EASE and ALS.

``python benchmarks/recommendation.py movielens-small``. Peers choose their settings on dev, fitted to
train, and are fitted again to train and dev; embedtune chooses out of fold within train and dev. The test
split is ranked once by each. See README.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers_recommendation import PEERS, Fit
from results import OUT, kept, markdown, number, show, slug, write_section
from scipy.sparse import csr_matrix
from sets import BASE, DATA
from verdicts import MEANING, agrees, short, verdict_of

from embedtune.collect.recommendation import interactions
from embedtune.data import Dataset, read
from embedtune.encoders import load_encoder
from embedtune.judging.compare import randomisation_test
from embedtune.judging.metrics import evaluate_ranks
from embedtune.judging.problem import Round
from embedtune.judging.recommended import Recommended
from embedtune.training.budget import Budget
from embedtune.training.interactions import Interactions
from embedtune.transforms import Identity
from embedtune.tuners import auto
from embedtune.tuners.ladder_recommendation import ladder
from embedtune.types import Transform

METRICS = ("recall@20", "ndcg@10")
STRATA = ("all", "warm", "cold", "light", "heavy")
OURS = "embedtune"
TITLE = "Recommendation"
CENTROID = "content centroid"

Scores = dict[str, NDArray[np.float64]]


def main() -> None:
    """Run every method on every set."""
    options = _options()
    done = [compare(name, options) for name in options.sets]
    write_section("recommendation", TITLE, report(done))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="folders of --data with items and interactions")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--vectors", type=Path, help="an .npz with 'ids' and 'items', instead of encoding")
    parser.add_argument("--peers", nargs="*", choices=[*PEERS], default=[*PEERS], metavar="PEER")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--reuse", action="store_true", help="keep rows that are in out/recommendation already"
    )
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
    folder = OUT / "recommendation" / name

    def row(method: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        found = kept(folder / f"{slug(method)}.json", make, reuse=options.reuse)
        print(f"{name}: {method} done", flush=True)
        return found

    def peer(method: str) -> dict[str, Any]:
        fit, grid = PEERS[method]
        best = grid[0]
        if len(grid) > 1:
            best = max(grid, key=lambda one: _dev(fit, train, items, one, tuning))
        start = time.process_time()
        found = fit(both.matrix(), items, **best)
        seconds = time.process_time() - start
        return _kept_row(*_ranked(found, final), seconds) | {"setting": best}

    rows = {method: row(method, lambda method=method: peer(method)) for method in options.peers}  # type: ignore[misc]
    ours = row(OURS, lambda: _ours(dataset, problem, final, options.seed))
    rows |= ours["rows"]
    scores = {
        method: {m: np.array(v, np.float64) for m, v in one["scores"].items()} for method, one in rows.items()
    }
    return {
        "set": name,
        "chosen": ours["chosen"],
        "n": {stratum: int(_rows(final, stratum).sum()) for stratum in STRATA},
        "methods": {
            method: {
                "seconds": rows[method]["seconds"],
                "coverage": rows[method]["coverage"],
                "ndcg@10": float(found["ndcg@10"][final.natural].mean()),
                **{s: float(found["recall@20"][_rows(final, s)].mean()) for s in STRATA},
            }
            for method, found in scores.items()
        },
        "tests": _tests(scores, ours["chosen"], final, options.peers),
        "verdict": _verdict(ours, scores, final),
    }


def _ours(dataset: Dataset, problem: Recommended, final: Round, seed: int) -> dict[str, Any]:
    """Choose out of fold, judge without the test split, and rank the test targets by every candidate."""
    start = time.process_time()
    found = auto.choose(problem, ladder=ladder, method="auto", metric="recall@20", seed=seed, budget=Budget())
    shown = found.fit(seed, Budget())
    verdict = verdict_of(dataset, problem, found, shown, "recall@20", seed)
    seconds = time.process_time() - start
    fitted: dict[str, Transform] = {f"{OURS}: base": Identity()} | {
        f"{OURS}: {one.candidate.name}": one.candidate.final(problem.interactions, 1.0, seed, Budget())
        for one in found.tried
        if one.candidate
    }
    chosen = f"{OURS}: {'base' if found.chosen.candidate is None else found.chosen.name}"
    rows = {
        name: _kept_row(
            problem.evaluate(transform, final.held, final.train, METRICS),
            problem.coverage(transform, final.train),
            seconds if name == chosen else None,
        )
        for name, transform in fitted.items()
    }
    about = f"{OURS}: {found.shown.name}" if found.shown.candidate else chosen
    return {"chosen": chosen, "about": about, "decision": verdict.decision, "rows": rows}


def _kept_row(scores: Scores, coverage: float, seconds: float | None) -> dict[str, Any]:
    values = {name: np.round(found, 6).tolist() for name, found in scores.items()}
    return {"scores": values, "coverage": coverage, "seconds": seconds}


def _verdict(ours: dict[str, Any], scores: dict[str, Scores], final: Round) -> dict[str, Any]:
    """The verdict beside the test gain of the map that it is about, over natural rows."""
    before, after = (scores[name]["recall@20"][final.natural] for name in (f"{OURS}: base", ours["about"]))
    gain = after - before
    p_value = randomisation_test(gain) if gain.any() else 1.0
    agreed = agrees(ours["decision"], float(gain.mean()), p_value)
    return {"decision": ours["decision"], "gain": float(gain.mean()), "p_value": p_value, "agrees": agreed}


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


def _tests(scores: dict[str, Scores], chosen: str, final: Round, peers: Sequence[str]) -> dict[str, Any]:
    """Paired tests of the choice: on warm items against the best peer, on cold ones against the centroid."""
    out = {}
    for stratum, rivals in (("all", peers), ("warm", peers), ("cold", [CENTROID])):
        rows = _rows(final, stratum)
        rivals = [rival for rival in rivals if rival in scores]
        if not rivals:
            continue
        best = max(rivals, key=lambda rival: scores[rival]["recall@20"][rows].mean())
        difference = scores[chosen]["recall@20"][rows] - scores[best]["recall@20"][rows]
        out[stratum] = {
            "rival": best,
            "gain": float(difference.mean()),
            "p_value": randomisation_test(difference),
        }
    return out


def report(done: Sequence[dict[str, Any]]) -> str:
    """A table a set, and the verdicts."""
    header = ["set", "verdict", "gain over the base on test", "p", "agrees"]
    rows = [
        [result["set"], short(v["decision"]), f"{v['gain']:+.3f}", f"{v['p_value']:.2g}", v["agrees"]]
        for result in done
        for v in [result["verdict"]]
    ]
    return "\n\n".join([*map(_report, done), "### Verdicts", MEANING, markdown(header, rows)])


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
