"""Scored pairs that are too few, all alike, contradict each other, or stand in several splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from embedtune.data.checks.finding import SHOWN, Example, Finding, plural, shorten
from embedtune.data.dataset import Dataset, cells

FEW, HARDLY_ANY = 100, 20
"""Pairs to learn from, below which a gain can hardly be told, and cannot be told."""

APART = 0.25
"""Share of the range of scores by which two scores of one pair may differ."""


def few_pairs(dataset: Dataset) -> Iterator[Finding]:
    """Find too few pairs to learn from, and too few to judge by."""
    splits = cells(dataset.pairs, "split")
    test = splits.count("test")
    learn = len(splits) - test
    if learn < FEW:
        least = FEW if learn >= HARDLY_ANY else HARDLY_ANY
        message = f"{plural(learn, 'scored pair')} to learn from, fewer than {least}"
        remedy = "score more pairs: from a few hundred on a gain of some points can be told"
        yield Finding("few-labels", "error" if learn < HARDLY_ANY else "warning", learn, message, [], remedy)
    if 0 < test < FEW:
        message = f"{plural(test, 'pair')} in the test split, fewer than {FEW}: its result will be uncertain"
        remedy = "put more into test, or leave it out and be judged out of fold"
        yield Finding("few-test-labels", "warning", test, message, [], remedy)


def one_score(dataset: Dataset) -> Iterator[Finding]:
    """Find scores that are all the same: nothing can be ranked by them."""
    scores = np.unique(dataset.pairs["score"].to_numpy())
    if len(scores) == 1:
        message = f"every pair has the same score, {scores[0]:g}"
        remedy = "add pairs that are more alike, and less"
        yield Finding("single-score", "error", len(dataset.pairs), message, [], remedy)


def contradicting_scores(dataset: Dataset) -> Iterator[Finding]:
    """Find pairs that were scored several times, far apart."""
    key, score = _keys(dataset), dataset.pairs["score"].to_numpy()
    order = np.lexsort((score, key))
    starts = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    ends = np.r_[starts[1:], len(order)] - 1
    apart = score[order[ends]] - score[order[starts]]
    rows = order[starts[apart > APART * max(float(np.ptp(score)), 1e-12)]]
    if len(rows):
        yield Finding(
            "contradicting-scores",
            "warning",
            len(rows),
            f"{plural(len(rows), 'pair')} with scores that differ by more than {APART:.0%} of the range",
            _examples(dataset, rows),
            "decide for one score, or keep both: they then count as their mean",
        )


def pairs_across_splits(dataset: Dataset) -> Iterator[Finding]:
    """Find pairs that stand in more than one split, either way round."""
    key = _keys(dataset)
    _, split = np.unique(np.array(cells(dataset.pairs, "split"), str), return_inverse=True)
    splits: dict[int, set[int]] = {}
    for pair, name in zip(key.tolist(), split.tolist(), strict=True):
        splits.setdefault(pair, set()).add(name)
    rows = [row for row, pair in enumerate(key.tolist()) if len(splits[pair]) > 1]
    if rows:
        message = (
            f"{plural(len(rows), 'row')} whose pair is in more than one split: what is tested was learnt"
        )
        yield Finding(
            "same-text-in-splits",
            "error",
            len(rows),
            message,
            _examples(dataset, rows),
            "keep each pair in one split only",
        )


def sentences_across_splits(dataset: Dataset) -> Iterator[Finding]:
    """Find test pairs with a sentence that training pairs have too."""
    split = np.array(cells(dataset.pairs, "split"), str)
    left, right = (dataset.pairs[name].to_numpy() for name in ("left", "right"))
    test = split == "test"
    known = np.union1d(left[~test], right[~test])
    rows = np.flatnonzero(test & (np.isin(left, known) | np.isin(right, known)))
    if len(rows):
        share = len(rows) / int(test.sum())
        message = f"{plural(len(rows), 'test pair')} ({share:.0%}) with a sentence that is trained on"
        remedy = "nothing needs to be done if traffic is like that; else move whole sentences into one split"
        yield Finding("sentences-in-splits", "info", len(rows), message, _examples(dataset, rows), remedy)


def _keys(dataset: Dataset) -> NDArray[np.int64]:
    """One number a pair, the same either way round."""
    left, right = (dataset.pairs[name].to_numpy().astype(np.int64) for name in ("left", "right"))
    return np.asarray(np.minimum(left, right) * len(dataset.documents) + np.maximum(left, right), np.int64)


def _examples(dataset: Dataset, rows: NDArray[np.int64] | list[int]) -> list[Example]:
    texts = dataset.document_texts
    shown = dataset.pairs.take([int(row) for row in rows[:SHOWN]]).to_pylist()
    return [
        Example(
            f"{shorten(texts[pair['left']], 60)} ↔ {shorten(texts[pair['right']], 60)} ({pair['score']:g})",
            pair["file"],
            pair["line"],
        )
        for pair in shown
    ]


SCORED_CHECKS: tuple[Callable[[Dataset], Iterator[Finding]], ...] = (
    few_pairs,
    one_score,
    contradicting_scores,
    pairs_across_splits,
    sentences_across_splits,
)
"""The checks of a similarity dataset, in the order in which they run."""
