"""Labels that are likely wrong: those a model contradicts, and near-duplicates that disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.data.checks.finding import SHOWN, Example, Finding, plural, shorten
from embedtune.data.dataset import Dataset, cells
from embedtune.data.duplicates import near_duplicates, normalise
from embedtune.data.stratified import stratified_parts
from embedtune.extras import need
from embedtune.types import Encoder, Vectors

NEAR = 0.8
"""Jaccard similarity of words and word pairs from which two texts count as near-duplicates."""

FOLDS = 5
"""A text's label is doubted by models trained on four fifths of the others."""

LEAST = 5
"""Texts that a class needs for its labels to be doubted: as many as there are folds."""

STRENGTH = 10.0
"""Inverse penalty of the regression."""

MUCH = 0.1
"""Share of doubtful labels from which the finding says that the classes may overlap instead."""

Rows = NDArray[np.int64]


def near_duplicates_with_other_labels(dataset: Dataset) -> Iterator[Finding]:
    """Find texts that nearly repeat another one but have other labels; equal texts are another check's."""
    if dataset.task != "classification":
        return
    groups = near_duplicates(dataset.document_texts, NEAR)
    labels = [frozenset(own) for own in dataset.labels]
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    disagreeing = [
        rows
        for rows in members.values()
        if len({labels[row] for row in rows}) > 1
        and len({normalise(dataset.document_texts[row]) for row in rows}) > 1
    ]
    if disagreeing:
        shown = [row for rows in disagreeing for row in _two_that_differ(rows, labels)]
        count = sum(map(len, disagreeing))
        yield Finding(
            "near-duplicates-with-other-labels",
            "warning",
            count,
            f"{plural(count, 'text')} in {plural(len(disagreeing), 'group')} of near-duplicates "
            "with different labels",
            [_example(dataset, row, _given(dataset, row)) for row in shown[:SHOWN]],
            "decide for one label, or make the texts say what tells them apart",
        )


def _two_that_differ(rows: list[int], labels: list[frozenset[str]]) -> list[int]:
    other = next(row for row in rows if labels[row] != labels[rows[0]])
    return [rows[0], other]


def likely_label_errors(dataset: Dataset, encoder: Encoder) -> Iterator[Finding]:
    """Find labels that a model, trained on the other texts, confidently contradicts.

    Each text gets the probabilities of a logistic regression on the encoder's vectors that was trained
    without it and without its near-duplicates, and cleanlab's confident learning says which given labels
    cannot be right: those where another class is more probable than that class usually is for its own
    texts. Texts of classes with fewer than five are left alone.

    References
    ----------
    Northcutt, Jiang and Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels
    (arXiv:1911.00068), section 3.
    """
    if dataset.task != "classification":
        return
    if find_spec("cleanlab") is None:
        yield Finding(
            "label-errors-not-looked-for",
            "info",
            0,
            "likely label errors were not looked for: cleanlab is not installed",
            [],
            "pip install 'embedtune[labels]'",
        )
        return
    rows, share, classes, given = _out_of_fold(dataset, encoder)
    if not len(rows):
        return
    doubtful = _doubtful(given, share)
    if not len(doubtful):
        return
    part = len(doubtful) / len(rows)
    remedy = (
        "look at these first, and correct or remove those that are wrong"
        if part < MUCH
        else "so many may also mean that classes overlap: merge them, or allow several labels a text"
    )
    yield Finding(
        "label-errors",
        "warning",
        len(doubtful),
        f"{plural(len(doubtful), 'label')} of {len(rows):,} ({part:.1%}) likely wrong, "
        f"by what {encoder.name} makes of the other texts",
        [
            _example(
                dataset,
                int(rows[place]),
                f"{_given(dataset, int(rows[place]))}; likelier {classes[int(share[place].argmax())]!r} "
                f"({share[place].max():.0%})",
            )
            for place in doubtful[:SHOWN]
        ],
        remedy,
    )


def _out_of_fold(
    dataset: Dataset, encoder: Encoder
) -> tuple[Rows, NDArray[np.float64], list[str], list[list[int]]]:
    """Texts whose labels can be doubted, out-of-fold probabilities (r, C), the classes, and given classes."""
    count = Counter(name for own in dataset.labels for name in set(own))
    classes = sorted(name for name, texts in count.items() if texts >= LEAST)
    place = {name: column for column, name in enumerate(classes)}
    rows = np.array(
        [row for row, own in enumerate(dataset.labels) if own and set(own) <= set(place)], np.int64
    )
    if len(classes) < 2 or not len(rows):
        return rows[:0], np.empty((0, 0)), [], []
    given = [sorted({place[name] for name in dataset.labels[row]}) for row in rows]
    own = np.zeros((len(rows), len(classes)), np.bool_)
    for row, columns in enumerate(given):
        own[row, columns] = True
    content = dataset.document_ids if encoder.content == "id" else dataset.document_texts
    vectors = encoder.encode([content[row] for row in rows], kind="document")
    groups = near_duplicates([dataset.document_texts[row] for row in rows], NEAR)
    part = stratified_parts(csr_matrix(own.astype(np.float32)), groups, FOLDS, seed=0)
    share = np.zeros(own.shape)
    for turn in range(FOLDS):
        held = part == turn
        if held.any() and not held.all():
            share[held] = _learnt(vectors[~held], own[~held], vectors[held])
    return rows, share, classes, given


def _learnt(x: Vectors, own: NDArray[np.bool_], asked: Vectors) -> NDArray[np.float64]:
    """Probability of each class, (r, C), by logistic regression: one for all, or one for each class."""
    from sklearn.linear_model import LogisticRegression

    share = np.zeros((len(asked), own.shape[1]))
    if (own.sum(axis=1) == 1).all():
        labels = own.argmax(axis=1)
        if len(np.unique(labels)) == 1:
            share[:, labels[0]] = 1
            return share
        model = LogisticRegression(C=STRENGTH, max_iter=300).fit(x, labels)
        share[:, model.classes_] = model.predict_proba(asked)
        return share
    for column in range(own.shape[1]):
        if own[:, column].all() or not own[:, column].any():
            share[:, column] = float(own[0, column])
            continue
        model = LogisticRegression(C=STRENGTH, max_iter=300).fit(x, own[:, column])
        share[:, column] = model.predict_proba(asked)[:, 1]
    return share


def _doubtful(given: list[list[int]], share: NDArray[np.float64]) -> Rows:
    """Places of the likely errors, the surest first."""
    several = any(len(own) != 1 for own in given)
    module = "cleanlab.multilabel_classification.filter" if several else "cleanlab.filter"
    find = need(module, extra="labels", who="the check for label errors").find_label_issues
    if not several:
        labels: object = np.array([own[0] for own in given])
    else:  # a class that every text has cannot be doubted
        count = np.bincount([column for own in given for column in own], minlength=share.shape[1])
        kept = np.flatnonzero(count < len(given))
        place = {column: at for at, column in enumerate(kept.tolist())}
        labels, share = [[place[c] for c in own if c in place] for own in given], share[:, kept]
    return np.asarray(find(labels, share, return_indices_ranked_by="self_confidence", n_jobs=1), np.int64)


def _given(dataset: Dataset, row: int) -> str:
    return "labelled " + ", ".join(repr(name) for name in dataset.labels[row])


def _example(dataset: Dataset, row: int, said: str) -> Example:
    text = f"{shorten(dataset.document_texts[row], 60)} ({said})"
    return Example(text, cells(dataset.documents, "file")[row], cells(dataset.documents, "line")[row])
