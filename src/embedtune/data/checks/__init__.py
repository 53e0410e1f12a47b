"""What is wrong or suspicious in a dataset: one function a check, findings with places and remedies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from embedtune.data import read
from embedtune.data.checks.amount import concentrated_labels, few_labels, rare_labels
from embedtune.data.checks.finding import SHOWN, Example, Finding
from embedtune.data.checks.histories import (
    earlier_tests,
    few_users,
    items_without_interactions,
    repeated_interactions,
    single_interactions,
)
from embedtune.data.checks.judgements import contradictions, query_equals_document, without_positive
from embedtune.data.checks.label_errors import likely_label_errors, near_duplicates_with_other_labels
from embedtune.data.checks.scored import SCORED_CHECKS
from embedtune.data.checks.splits import empty_splits, near_duplicates_across_splits, same_text_across_splits
from embedtune.data.checks.texts import duplicates, empty_documents, too_long
from embedtune.data.dataset import Dataset, Task
from embedtune.data.problems import Problem
from embedtune.types import Encoder

__all__ = ["CHECKS", "Example", "Finding", "check"]

CHECKS: tuple[Callable[[Dataset], Iterator[Finding]], ...] = (
    empty_documents,
    duplicates,
    same_text_across_splits,
    near_duplicates_across_splits,
    empty_splits,
    contradictions,
    near_duplicates_with_other_labels,
    query_equals_document,
    without_positive,
    few_labels,
    rare_labels,
    concentrated_labels,
)
"""The checks that need nothing but the data, in the order in which they run."""

HISTORY_CHECKS: tuple[Callable[[Dataset], Iterator[Finding]], ...] = (
    empty_documents,
    duplicates,
    few_users,
    single_interactions,
    items_without_interactions,
    repeated_interactions,
    earlier_tests,
)
"""Those of recommendation."""

_ORDER = {"error": 0, "warning": 1, "info": 2}
_READING = {
    "duplicate-ids": (
        "row has an id that another content has already",
        "rows have an id that another content has",
    ),
    "missing-ids": ("judgement names an id that does not exist", "judgements name ids that do not exist"),
    "no-positive": ("query has no positive", "queries have no positive"),
    "no-label": ("text has no label", "texts have no label"),
    "ambiguous-labels": ("label is made of other labels", "labels are made of other labels"),
    "empty-texts": ("row has an empty text", "rows have an empty text"),
    "damaged-images": ("image cannot be read", "images cannot be read"),
    "empty-splits": ("split is empty", "splits are empty"),
}
"""Code of a problem met in reading: what it means for one row, and for several."""


def check(
    source: Any,
    *,
    encoder: Encoder | None = None,
    task: Task | None = None,
    roles: Mapping[str, str | None] | None = None,
) -> list[Finding]:
    """Find what is wrong or suspicious in a dataset.

    Parameters
    ----------
    source : Dataset or anything that :func:`embedtune.data.read` takes
        A source is read leniently. Of a Dataset read with ``strict=False``, what the reading left out
        is among the findings.
    encoder : Encoder, optional
        The model that will read the documents; with it, texts that are too long and labels
        that are likely wrong are found.
    task, roles
        As for :func:`embedtune.data.read`.

    Returns
    -------
    list of Finding
        Errors first, then warnings, then infos; empty where all is well.

    Raises
    ------
    DataError
        When there is nothing to check: a missing file, broken JSON, columns that are not understood.

    Examples
    --------
    >>> rows = [{"query": "flu", "positive": "Flu"}, {"query": "cold", "positive": "Rhinitis"}]
    >>> [(finding.code, finding.count) for finding in check(rows)]
    [('few-labels', 2), ('query-equals-document', 1)]
    """
    dataset = read(source, task=task, roles=roles, strict=False)
    findings = [*_from_reading(dataset.problems)]
    own = {"similarity": SCORED_CHECKS, "recommendation": HISTORY_CHECKS}
    for run in own.get(dataset.task, CHECKS):
        findings.extend(run(dataset))
    if encoder is not None:
        findings.extend(too_long(dataset, encoder))
        findings.extend(likely_label_errors(dataset, encoder))
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])


def _from_reading(problems: tuple[Problem, ...]) -> Iterator[Finding]:
    """Give one finding for each kind of problem that a lenient reading met."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.code, []).append(problem)
    for code, found in kinds.items():
        one, several = _READING.get(code, (code, code))
        message = f"{len(found):,} {one if len(found) == 1 else several}"
        shown = [Example(problem.what, problem.file, problem.line) for problem in found[:SHOWN]]
        yield Finding(code, "error", len(found), message, shown, found[0].fix)
