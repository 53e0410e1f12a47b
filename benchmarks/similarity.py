"""Scored pairs: Spearman of the cosine on test, embedtune's ladder beside adapters trained the usual way.

The ladder is chosen out of fold on train and dev together; peers train on train and choose their pass
on dev. Test is used once, by what was chosen.

    python benchmarks/similarity.py stsb sick
    python benchmarks/similarity.py stsb sick --labels 100 500    # and with fewer pairs to learn from
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import pair_adapter
from peers.sentence_transformers_tuning import fit_similarity
from results import OUT, kept, markdown, number, show, slug, write_section
from scipy.stats import pearsonr, spearmanr
from sets import BASE, DATA
from verdicts import MEANING, agrees, short, verdict_of

from embedtune.collect import collect
from embedtune.data import Dataset, read
from embedtune.encoders import load_encoder
from embedtune.judging.comparison import gain_of
from embedtune.judging.correlation import spearman_values
from embedtune.judging.scored import Scored
from embedtune.training.budget import Budget
from embedtune.transforms import Identity
from embedtune.tuners import auto
from embedtune.tuners.ladder_similarity import ladder
from embedtune.types import Encoder

METRIC = "spearman"
OURS = "embedtune"
TITLE = "Similarity of scored pairs"
PEERS = {
    "linear, CosineSimilarityLoss": pair_adapter.fit_cosine,
    "linear, CoSENTLoss": pair_adapter.fit_cosent,
}
TEXT_PEERS = ("sentence-transformers",)
"""Those that tune the base model itself: hours."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="names of folders of --data with train, dev and test files")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets (default: %(default)s)")
    parser.add_argument("--base", default=BASE, help="'{set}' stands for the name of the set")
    parser.add_argument("--labels", type=int, nargs="*", default=[], help="also with so many pairs")
    every = [*PEERS, *TEXT_PEERS]
    parser.add_argument("--peers", nargs="*", choices=every, default=[*PEERS], metavar="PEER")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reuse", action="store_true", help="keep rows that are in out/similarity already")
    options = parser.parse_args()
    done = []
    for name in options.sets:
        for labels in [None, *options.labels]:
            done.append(compare(name, labels, options))
            show(done[-1]["title"], *_table(done[-1:]))
            write_section("similarity", TITLE, report(done, options.base))


@dataclass(frozen=True)
class Pairs:
    """A set of scored pairs, with all its training pairs or with some."""

    name: str
    dataset: Dataset
    encoder: Encoder
    train: Scored
    is_dev: NDArray[np.bool_]
    """Which of the training pairs are of the dev split."""
    texts: tuple[list[str], list[str]]
    """Of the training pairs."""
    test: Scored
    test_texts: tuple[list[str], list[str]]
    test_seen: NDArray[np.bool_]

    def part(self, dev: bool) -> tuple[Any, Any, Any]:
        """Vectors and scores of the train or the dev split."""
        some = self.train.training(np.flatnonzero(self.is_dev == dev))
        return some.left, some.right, some.score


def load(name: str, labels: int | None, options: argparse.Namespace) -> Pairs:
    """Read and encode a set; with ``labels``, as many of its training pairs, drawn by the seed."""
    dataset, encoder = read(options.data / name), load_encoder(options.base.replace("{set}", name))
    found = collect(dataset, encoder, test="test")
    train, test = found.train, found.test
    assert isinstance(train, Scored)
    assert isinstance(test, Scored)
    split = np.array(dataset.pairs["split"].to_pylist())
    of_train = np.flatnonzero(split != "test")
    rows = np.arange(len(train))
    if labels is not None:
        rows = np.sort(np.random.default_rng(options.seed).choice(rows, labels, replace=False))
    texts, test_texts = (_texts(dataset, some) for some in (of_train[rows], np.flatnonzero(split == "test")))
    is_dev = split[of_train][rows] == "dev"
    seen = found.test_strata["seen"]
    return Pairs(name, dataset, encoder, train.take(rows), is_dev, texts, test, test_texts, seen)


def compare(name: str, labels: int | None, options: argparse.Namespace) -> dict[str, Any]:
    """Choose and judge on one set; each (set, method) is kept in ``out/similarity/`` when it is done."""
    data = load(name, labels, options)
    folder = OUT / "similarity" / (name if labels is None else f"{name}-{labels}")
    base = spearman_values(data.test.similarities(Identity()), data.test.score)
    methods: dict[str, dict[str, Any]] = {}
    enough = np.count_nonzero(data.is_dev) >= 10  # or a peer could not choose its pass
    for method in ("base", *(options.peers if enough else ()), OURS):
        methods[method] = kept(
            folder / f"{slug(method)}.json",
            lambda method=method: _row(data, method, base, options),  # type: ignore[misc]
            reuse=options.reuse,
        )
    title = f"{name}, {len(data.train):,} pairs" + ("" if labels is None else " of them")
    return {"set": name, "asked": labels, "title": title, "n": len(data.test), "methods": methods}


def _row(data: Pairs, method: str, base: NDArray[np.float64], options: argparse.Namespace) -> dict[str, Any]:
    start, more = time.process_time(), dict[str, Any]()
    if method == "base":
        similarity = data.test.similarities(Identity())
    elif method == OURS:
        similarity, more = _ours(data, base, options.seed)
    elif method in TEXT_PEERS:
        model = str(getattr(data.encoder, "folder", None) or options.base)
        encode = fit_similarity(model, *data.texts, data.train.score.tolist(), options.seed)
        left, right = (encode(texts) for texts in data.test_texts)
        similarity = np.einsum("ij,ij->i", left, right).astype(np.float64)
    else:
        fitted = PEERS[method](data.part(dev=False), data.part(dev=True), options.seed)
        judged = data.test.training(np.arange(len(data.test)))
        similarity = pair_adapter.cosines(fitted, (judged.left, judged.right, judged.score))
    seconds = more.pop("seconds", time.process_time() - start)
    gain = gain_of(spearman_values(similarity, data.test.score) - base, data.test.groups, options.seed)
    return {
        "spearman": float(spearmanr(similarity, data.test.score)[0]),
        "pearson": float(pearsonr(similarity, data.test.score)[0]),
        "seen": _part(similarity, data.test, data.test_seen),
        "unseen": _part(similarity, data.test, ~data.test_seen),
        "ci95": None if gain is None else gain.ci95,
        "seconds": seconds,
        **more,
    }


def _ours(data: Pairs, base: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Let embedtune choose out of fold and give its verdict; then look at the test pairs once."""
    start = time.process_time()
    found = auto.choose(data.train, ladder=ladder, method="auto", metric=METRIC, seed=seed, budget=Budget())
    shown = found.fit(seed, Budget())
    verdict = verdict_of(data.dataset, data.train, found, shown, METRIC, seed)
    seconds = time.process_time() - start
    similarity = data.test.similarities(shown)
    gain = gain_of(spearman_values(similarity, data.test.score) - base, data.test.groups, seed)
    kept_base = found.chosen.candidate is None
    estimate = verdict.out_of_fold or {"gain": 0.0, "ci95": (0.0, 0.0)}
    return data.test.similarities(Identity()) if kept_base else similarity, {
        "seconds": seconds,
        "method": "base" if kept_base else f"{verdict.method}, strength {verdict.strength:g}",
        "out_of_fold": {"gain": estimate["gain"], "ci95": estimate["ci95"]},
        "decision": verdict.decision,
        "about": 0.0 if gain is None else gain.gain,
        "agrees": "–" if gain is None else agrees(verdict.decision, gain.gain, gain.p_value),
    }


def _texts(dataset: Dataset, rows: NDArray[np.int64]) -> tuple[list[str], list[str]]:
    texts, pairs = dataset.document_texts, dataset.pairs.take(rows)
    left, right = ([texts[row] for row in pairs[side].to_pylist()] for side in ("left", "right"))
    return left, right


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


def report(done: list[dict[str, Any]], base: str) -> str:
    estimates = [
        [
            result["title"],
            f"{ours['out_of_fold']['gain']:+.3f}",
            "{:+.3f} to {:+.3f}".format(*ours["out_of_fold"]["ci95"]),
            f"{ours['about']:+.3f}",
            short(ours["decision"]),
            ours["agrees"],
        ]
        for result in done
        for ours in [result["methods"]["embedtune"]]
    ]
    header = ["set", "gain out of fold, corrected", "95 % interval", "gain on test", "verdict", "agrees"]
    return "\n\n".join(
        [
            f"Base: {base}. Spearman of the cosine and the score on the test split; *seen*: a sentence of "
            "the pair, or one in nearly the same words, is in a training pair. Seconds of one processor, on "
            "cached vectors, choice included.",
            markdown(*_table(done)),
            "### Is the estimate right?",
            MEANING,
            markdown(header, estimates),
        ]
    )


if __name__ == "__main__":
    main()
