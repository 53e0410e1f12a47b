"""Find questions that ask the same: a map, a threshold with what it gets right, and the groups.

``python examples/duplicates.py``
"""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import numpy as np

from embedtune.collect import collect
from embedtune.data import read
from embedtune.duplicates import find_duplicates
from embedtune.encoders import load_encoder
from embedtune.judging.threshold import calibrate, same_by_score
from embedtune.transforms import Identity
from embedtune.tuners.pair_linear import PairLinearTuner

DATA = Path(__file__).parent / "data/pairs.csv"


def main() -> None:
    """Label pairs, tune, calibrate, and look for duplicates among all questions."""
    pairs = read(labelled_pairs())
    encoder = load_encoder("all-MiniLM-L6-v2")
    found = collect(pairs, encoder, test="test").train

    # similarities of pairs that the map was not fitted to: those it was fitted to are too good
    similarity = {"base": np.zeros(len(found)), "tuned": np.zeros(len(found))}
    for one in found.rounds(seed=0):
        tuned = PairLinearTuner().fit(found.training(one.train))
        similarity["base"][one.held] = found.similarities(Identity(), one.held)
        similarity["tuned"][one.held] = found.similarities(tuned, one.held)
    same = same_by_score(found.score)
    thresholds = {
        name: calibrate(values, same, precision=0.9, groups=found.groups)
        for name, values in similarity.items()
    }
    for name, threshold in thresholds.items():
        print(f"{name}: {threshold.text()}")

    best = max(thresholds, key=lambda name: thresholds[name].recall)
    transform = Identity() if best == "base" else PairLinearTuner().fit(found.training(np.arange(len(found))))
    vectors = transform.documents(encoder.encode(pairs.document_texts))
    groups = find_duplicates(vectors, thresholds[best].threshold).groups()
    print(f"{len(groups)} groups of questions that ask the same, by the vectors of the {best}; one of them:")
    for row in groups[0]:
        print(f"  {pairs.document_texts[row]}")


def labelled_pairs() -> list[dict[str, object]]:
    """Give pairs of questions: 1 where one page answers both, else 0. Yours come from people."""
    data = read(DATA)
    page = dict(zip(data.qrels["query"].to_pylist(), data.qrels["document"].to_pylist(), strict=True))
    every = list(combinations(range(len(data.queries)), 2))
    same = [pair for pair in every if page[pair[0]] == page[pair[1]]]
    other = random.Random(0).sample([pair for pair in every if page[pair[0]] != page[pair[1]]], 2 * len(same))
    texts = data.query_texts
    return [
        {"sentence1": texts[a], "sentence2": texts[b], "score": score}
        for score, chosen in ((1, same), (0, other))
        for a, b in chosen
    ]


if __name__ == "__main__":
    main()
