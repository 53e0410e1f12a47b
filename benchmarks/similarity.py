"""Scored pairs: Spearman of the cosine on test, embedtune's ladder beside adapters trained the usual way.

The ladder is chosen out of fold on train and dev together; peers train on train and choose their pass
on dev. Test is used once, by what was chosen.

    python benchmarks/similarity.py stsb sick
    python benchmarks/similarity.py stsb sick --labels 100 500    # and with fewer pairs to learn from
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import pair_adapter
from results import OUT, markdown, number, show, write_json, write_section
from scipy.stats import pearsonr, spearmanr
from sets import BASE, DATA

from embedtune.collect import collect
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.judging.comparison import gain_of
from embedtune.judging.correlation import spearman_values
from embedtune.judging.scored import Scored
from embedtune.transforms import Identity
from embedtune.tuners import auto
from embedtune.tuners.base import Budget
from embedtune.tuners.ladder_similarity import ladder
from embedtune.types import Transform

METRIC = "spearman"
PEERS = {
    "linear, CosineSimilarityLoss": pair_adapter.fit_cosine,
    "linear, CoSENTLoss": pair_adapter.fit_cosent,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="names of folders of --data with train, dev and test files")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets (default: %(default)s)")
    parser.add_argument("--base", default=BASE, help="'{set}' stands for the name of the set")
    parser.add_argument("--labels", type=int, nargs="*", default=[], help="also with so many pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reuse", action="store_true", help="take what is in out/similarity.json from there")
    options = parser.parse_args()
    path = OUT / "similarity.json"
    before = json.loads(path.read_text("utf-8")) if options.reuse and path.exists() else []
    known = {(result["set"], result["asked"]): result for result in before}
    done = []
    for name in options.sets:
        for labels in [None, *options.labels]:
            done.append(known.get((name, labels)) or compare(name, labels, options))
            show(done[-1]["title"], *_table(done[-1:]))
            write_json(path, done)
            write_section("similarity", "Similarity of scored pairs", _report(done, options.base))


def compare(name: str, labels: int | None, options: argparse.Namespace) -> dict[str, Any]:
    """Choose and judge on one set, with all its training pairs or with some."""
    dataset, encoder = read(options.data / name), load_encoder(options.base.replace("{set}", name))
    found = collect(dataset, encoder, test="test")
    train, test, test_seen = found.train, found.test, found.test_strata["seen"]
    assert test is not None
    splits = np.array([s for s in dataset.pairs["split"].to_pylist() if s != "test"])
    rows = np.arange(len(train))
    if labels is not None:
        rows = np.sort(np.random.default_rng(options.seed).choice(rows, labels, replace=False))
    train, is_dev = train.take(rows), splits[rows] == "dev"
    everything = np.arange(len(test))
    methods: dict[str, dict[str, Any]] = {}

    def judge(name: str, similarity: NDArray[np.float64], seconds: float, **more: Any) -> None:
        values = spearman_values(similarity, test.score) - base
        gain = gain_of(values, test.groups, options.seed)
        methods[name] = {
            "spearman": float(spearmanr(similarity, test.score)[0]),
            "pearson": float(pearsonr(similarity, test.score)[0]),
            "seen": _part(similarity, test, test_seen),
            "unseen": _part(similarity, test, ~test_seen),
            "ci95": None if gain is None else gain.ci95,
            "seconds": seconds,
            **more,
        }

    similarity = test.similarities(Identity())
    base = spearman_values(similarity, test.score)
    judge("base", similarity, 0.0)
    parts = [train.training(np.flatnonzero(some)) for some in (~is_dev, is_dev)]
    peer_train, peer_dev = ((part.left, part.right, part.score) for part in parts)
    judged = test.training(everything)
    if len(parts[1]) >= 10:
        for peer, fit in PEERS.items():
            start = time.process_time()
            fitted = fit(peer_train, peer_dev, options.seed)
            seconds = time.process_time() - start
            judge(peer, pair_adapter.cosines(fitted, (judged.left, judged.right, judged.score)), seconds)
    start = time.process_time()
    transform, method, estimate = choose(train, options.seed)
    seconds = time.process_time() - start
    judge("embedtune", test.similarities(transform), seconds, method=method, out_of_fold=estimate)
    title = f"{name}, {len(train):,} pairs" + ("" if labels is None else " of them")
    return {"set": name, "asked": labels, "title": title, "n": len(test), "methods": methods}


def choose(train: Scored, seed: int) -> tuple[Transform, str, dict[str, Any]]:
    """Let embedtune choose out of fold, and fit the choice to all training pairs."""
    found = auto.choose(train, ladder=ladder, method="auto", metric=METRIC, seed=seed, budget=Budget())
    corrected = found.corrected(seed)
    gain, interval = (corrected.gain, corrected.ci95) if corrected else (0.0, (0.0, 0.0))
    estimate = {"gain": gain, "ci95": interval}
    if found.chosen.candidate is None:
        return Identity(), "base", estimate
    return found.fit(seed, Budget()), f"{found.chosen.name}, strength {found.chosen.strength:g}", estimate


def _part(similarity: NDArray[np.float64], test: Scored, rows: NDArray[np.bool_]) -> float | None:
    return float(spearmanr(similarity[rows], test.score[rows])[0]) if rows.sum() > 2 else None


def _table(done: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    header = ["set", "method", "Spearman", "seen", "unseen", "Pearson", "gain, 95 % interval", "seconds"]
    rows = []
    for result in done:
        for name, one in result["methods"].items():
            low, high = one["ci95"] or (0.0, 0.0)
            label = f"embedtune ({one['method']})" if name == "embedtune" else name
            figures = [number(one[key]) for key in ("spearman", "seen", "unseen", "pearson")]
            gain = "–" if name == "base" else f"{low:+.3f} to {high:+.3f}"
            rows.append([result["title"], label, *figures, gain, f"{one['seconds']:.1f}"])
    return header, rows


def _report(done: list[dict[str, Any]], base: str) -> str:
    estimates = [
        [
            result["title"],
            f"{ours['out_of_fold']['gain']:+.3f}",
            "{:+.3f} to {:+.3f}".format(*ours["out_of_fold"]["ci95"]),
            f"{ours['spearman'] - result['methods']['base']['spearman']:+.3f}",
        ]
        for result in done
        for ours in [result["methods"]["embedtune"]]
    ]
    return "\n\n".join(
        [
            f"Base: {base}. Spearman of the cosine and the score on the test split; *seen*: a sentence of "
            "the pair, or one in nearly the same words, is in a training pair. Seconds of one processor, on "
            "cached vectors, choice included.",
            markdown(*_table(done)),
            "### Is the estimate right?",
            markdown(["set", "gain out of fold, corrected", "95 % interval", "gain on test"], estimates),
        ]
    )


if __name__ == "__main__":
    main()
