"""What its own labels say of a peer: linear adapters judged by folds of train and dev, beside the test split.

Where a peer is better on the test split than embedtune, which kept the base: could its gain have been known?
Each fold's queries are judged by an adapter that was fitted to the other folds' and that kept its best epoch
on a tenth of those; ``--repeats`` draws of five folds. ``python benchmarks/peer_folds.py cisi``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peers import PEERS, Fit
from results import markdown, number, write_section
from scipy.sparse import csr_matrix, diags
from sets import DATA, METRIC, BenchmarkSet, load_set

from embedtune.judging.compare import bootstrap_interval, randomisation_test
from embedtune.judging.metrics import evaluate_ranks
from embedtune.search import positive_ranks

FOLDS = 5
JUDGED = ("linear, query", "linear, both")
HEADER = [
    "set, labelled queries",
    "peer",
    "base",
    "by folds",
    "gain, 95 % interval",
    "base, test",
    "test",
    "gain, p",
]
NOTE = (
    f"{METRIC} of linear adapters on the queries of train and dev, each judged by the adapter of a fold that"
    " it was not in, mean over the draws; on the right the test split, as in the comparison with peers."
)


def main() -> None:
    """Judge the adapters on each set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="draws of the folds (default: %(default)s)")
    options = parser.parse_args()
    rows = []
    for name in options.sets:
        data = load_set(name, options.data)
        rows += [_row(data, peer, options.repeats) for peer in JUDGED]
    body = f"{NOTE}\n\n{markdown(HEADER, rows)}"
    print(body)
    write_section("peer-folds", "Could a peer's gain have been known?", body)


def _row(data: BenchmarkSet, name: str, repeats: int) -> list[str]:
    labels = csr_matrix(data.train + data.dev)
    rows = np.flatnonzero(labels.getnnz(axis=1))
    base = _scores(data, labels, rows, PEERS["base"], labels, labels)
    folded = np.mean([_by_folds(data, labels, rows, PEERS[name], seed) for seed in range(repeats)], axis=0)
    low, high = bootstrap_interval(folded - base)
    before = data.scores(*PEERS["base"](data.queries, data.documents, data.train, data.dev, 0))
    after = data.scores(*PEERS[name](data.queries, data.documents, data.train, data.dev, 0))
    return [
        f"{data.name}, {len(rows)}",
        name,
        number(base.mean()),
        number(folded.mean()),
        f"{(folded - base).mean():+.3f} ({low:+.3f} to {high:+.3f})",
        number(before.mean()),
        number(after.mean()),
        f"{(after - before).mean():+.3f}, {randomisation_test(after - before):.2g}",
    ]


def _by_folds(
    data: BenchmarkSet, labels: csr_matrix, rows: NDArray[np.int64], fit: Fit, seed: int
) -> NDArray[np.float64]:
    """Score of each labelled query (n,) under the adapter of a fold that it was not in."""
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(rows)) % FOLDS
    out = np.zeros(len(rows))
    for one in range(FOLDS):
        others = rng.permutation(rows[fold != one])
        dev, train = np.split(others, [max(1, len(others) // 10)])
        held = fold == one
        out[held] = _scores(data, labels, rows[held], fit, _only(labels, train), _only(labels, dev), seed)
    return out


def _scores(
    data: BenchmarkSet,
    labels: csr_matrix,
    rows: NDArray[np.int64],
    fit: Fit,
    train: csr_matrix,
    dev: csr_matrix,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Fit to ``train``, choose on ``dev``, and score the queries ``rows``."""
    queries, documents = fit(data.queries, data.documents, train, dev, seed)
    ranks = positive_ranks(queries(data.queries[rows]), documents(data.documents), labels[rows])
    return np.asarray(evaluate_ranks(ranks, labels[rows], [METRIC])[METRIC])


def _only(labels: csr_matrix, rows: NDArray[np.int64]) -> csr_matrix:
    """Keep the labels of these queries, in a matrix of the same shape."""
    kept = np.zeros(labels.shape[0], np.float32)
    kept[rows] = 1
    found = csr_matrix(diags(kept) @ labels)
    found.eliminate_zeros()
    return found


if __name__ == "__main__":
    main()
