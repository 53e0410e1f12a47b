"""Labelling what ``embedtune suggest`` names against labelling at random: the tuned vectors' test score.

``python benchmarks/suggest.py banking77 trec6 abt-buy nl2bash``. From 50 labelled rows of the train split, 50
more at a time: what to label is named with the map that the labels so far gave, and its labels come from the
split. Both arms start from the same rows, in every of ``--seeds`` draws of rows and pool. The map is a closed
form at full strength, so that only the labels differ. See README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import OUT, kept, markdown, number, show, write_section
from sets import BASE, CLASS_SETS, DATA, METRIC, load_set, read_set

from embedtune.collect import collect
from embedtune.encoders import load_encoder
from embedtune.judging.classified import Classified
from embedtune.judging.metrics import evaluate_ranks
from embedtune.search import positive_ranks
from embedtune.suggest.choosing import suggest_items, suggest_queries
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Identity
from embedtune.tuners.discriminant import DiscriminantTuner
from embedtune.tuners.ridge import RidgeTuner
from embedtune.types import Transform, Vectors

TITLE = "What to label next"
BATCH = 50
POOL = 2500
"""Rows of the train split that may be labelled, at most: a random draw of more."""

TESTED = 1000
"""Test rows, at most."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Game:
    """Rows whose labels can be asked for, and what they are worth."""

    vectors: Vectors
    """(n, d), the rows that may be labelled."""
    fit: Callable[[Rows], Transform]
    """Labelled rows to a map."""
    score: Callable[[Transform, Rows], float]
    """The test score of a map, with the labelled rows."""
    suggest: Callable[[Transform, Rows, Rows], Rows]
    """A map, labelled rows and open rows to places among the open ones."""


def main() -> None:
    """Play every set."""
    options = _options()
    done = []
    for name in options.sets:
        path = OUT / "suggest" / f"{name}.json"
        done.append(kept(path, lambda name=name: play(name, options), reuse=options.reuse))  # type: ignore[misc]
        write_section("suggest", TITLE, report(done, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="retrieval or classification sets of --data")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--seeds", type=int, default=5, help="draws of the first rows (default: 5)")
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--reuse", action="store_true", help="keep sets that are in out/suggest already")
    return parser.parse_args()


def play(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Give the curves of both arms on a set, (seeds, batches + 1) each."""
    game = (_classes if name in CLASS_SETS else _queries)(name, options)
    curves: dict[str, list[list[float]]] = {"suggest": [], "random": []}
    for seed in range(options.seeds):
        pool = np.random.default_rng(seed).permutation(len(game.vectors))[:POOL]
        for arm, found in curves.items():
            found.append(_curve(game, pool, arm, options.batches, seed))
        last = {arm: round(found[-1][-1], 4) for arm, found in curves.items()}
        print(f"{name}, draw {seed}: {last}", flush=True)
    everything = np.arange(len(game.vectors))[:BATCH]
    return {"set": name, "base": game.score(Identity(), everything), "curves": curves}


def _curve(game: Game, pool: Rows, arm: str, batches: int, seed: int) -> list[float]:
    labelled, free = pool[:BATCH], pool[BATCH:]
    rng = np.random.default_rng(seed)
    curve = []
    for batch in range(batches + 1):
        fitted = game.fit(labelled)
        curve.append(game.score(fitted, labelled))
        if batch == batches:
            break
        if arm == "random":
            got = rng.choice(len(free), BATCH, replace=False)
        else:
            got = game.suggest(fitted, labelled, free)
        labelled, free = np.r_[labelled, free[got]], np.delete(free, got)
    return curve


def _classes(name: str, options: argparse.Namespace) -> Game:
    found = collect(read_set(name, options.data), load_encoder(options.base), test="test")
    problem, test = found.train, found.test
    assert isinstance(problem, Classified)
    assert isinstance(test, Classified)
    items = problem.items
    names = [items.classes[row.indices[0]] for row in items.labels]
    rows = np.sort(np.random.default_rng(0).permutation(len(test.items))[:TESTED])

    def score(transform: Transform, labelled: Rows) -> float:
        few = Classified(test.items, test.groups, items.take(labelled), test.unseen)
        return float(few.evaluate(transform, rows, few.everything, ("accuracy",))["accuracy"].mean())

    def suggest(transform: Transform, labelled: Rows, free: Rows) -> Rows:
        known = [names[row] for row in labelled]
        return suggest_items(items.vectors[free], items.vectors[labelled], known, transform, BATCH).rows

    tuner = DiscriminantTuner(shrinkage=0.8)
    return Game(items.vectors, lambda labelled: tuner.fit(items.take(labelled)), score, suggest)


def _queries(name: str, options: argparse.Namespace) -> Game:
    loaded = load_set(name, options.data, options.base)
    documents, ids = loaded.documents, loaded.dataset.document_ids
    relevance = loaded.dataset.relevance(["train", "dev"])
    rows = np.flatnonzero(np.diff(relevance.indptr))
    vectors, positives = loaded.queries[rows], relevance[rows]
    some = np.sort(np.random.default_rng(0).permutation(len(loaded.test_rows))[:TESTED])
    asked, wanted = loaded.queries[loaded.test_rows[some]], loaded.test[some]

    def fit(labelled: Rows) -> Transform:
        own = positives[labelled]
        return RidgeTuner(penalty=3.0).fit(TuningData(vectors[labelled], documents, own, own, ids))

    def score(transform: Transform, labelled: Rows) -> float:
        ranks = positive_ranks(transform.queries(asked), transform.documents(documents), wanted)
        return float(evaluate_ranks(ranks, wanted, [METRIC])[METRIC].mean())

    def suggest(transform: Transform, labelled: Rows, free: Rows) -> Rows:
        return suggest_queries(vectors[free], documents, transform, BATCH, known=vectors[labelled]).rows

    return Game(vectors, fit, score, suggest)


def report(done: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """The curves, and the mean difference over them with its spread over the draws."""
    sizes = [BATCH * (batch + 1) for batch in range(options.batches + 1)]
    header = ["set, arm", *map(str, sizes), "mean over the curve", "draws won"]
    rows = []
    for one in done:
        curves = {arm: np.array(found) for arm, found in one["curves"].items()}
        means = {arm: found[:, 1:].mean(axis=1) for arm, found in curves.items()}
        ahead = means["suggest"] - means["random"]
        for arm, found in curves.items():
            ours = arm == "suggest"
            told = f"{means[arm].mean():.3f}" + (
                f" ({ahead.mean():+.3f} ± {ahead.std():.3f})" if ours else ""
            )
            won = f"{int((ahead > 0).sum())} / {len(ahead)}" if ours else ""
            cells = [number(score) for score in found.mean(axis=0)]
            rows.append([f"{one['set']}, {arm}", *cells, told, won])
    show(TITLE, header, rows)
    return (
        "Test score of the tuned vectors by the number of labelled rows: accuracy of nearest neighbours among"
        f" the labelled items, or nDCG@10; means over {options.seeds} draws of the first rows and of the"
        " pool. In brackets the lead over random choices, and its standard deviation over the draws. How"
        " candidates are picked was settled on hwu64, hint3, amazon-google, cosqa and medquad, which are not"
        " in the table.\n\n" + markdown(header, rows)
    )


if __name__ == "__main__":
    main()
