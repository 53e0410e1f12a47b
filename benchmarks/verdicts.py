"""The verdict without any test label, and whether the test split agrees with it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from embedtune.collect import Collected
from embedtune.data import Dataset
from embedtune.judging.problem import Problem
from embedtune.judging.verdict import WORTH, Verdict
from embedtune.steps.decision import Clock, judge
from embedtune.training.budget import Budget
from embedtune.tuners.auto import Choice
from embedtune.types import Transform

LEVEL = 0.05
"""A test gain counts as significant below this p-value."""

MEANING = (
    "*agrees*: whether the verdict, given without test labels, has the sign of the test gain of the map that"
    " it is about (refused or not), where that gain is significant (p < .05); – where it is not; *open* where"
    " the verdict was that it cannot tell. A base that is 'already good' may gain up to .02."
)


def verdict_of(
    dataset: Dataset, problem: Problem, choice: Choice, transform: Transform, metric: str, seed: int
) -> Verdict:
    """Judge as ``fine_tune`` does where data has no test split.

    Parameters
    ----------
    dataset : Dataset
        Its task is used.
    problem : Problem
        The labels that the choice was made on.
    choice, transform
        What was chosen, or refused, and its map of all labels.
    metric : str
    seed : int
    """
    rows = int(max(choice.folded.row, default=0)) + 1
    found = Collected(problem, [""] * max(rows, len(problem)), len(problem), (metric,))
    clock = Clock(time.monotonic())
    return judge(dataset, found, problem, choice, transform, metric, seed, clock, Budget())


def agrees(decision: str, gain: float, p_value: float) -> str:
    """Say whether a decision has the sign of a test gain: ``"yes"``, ``"no"``, ``"open"`` or ``"–"``.

    Examples
    --------
    >>> agrees("tune", 0.1, 0.001), agrees("do not tune: worse", 0.1, 0.001), agrees("tune", -0.01, 0.5)
    ('yes', 'no', '–')
    >>> agrees("do not tune: too few labels to tell", 0.1, 0.001)
    'open'
    """
    if p_value >= LEVEL:
        return "–"
    if "too few" in decision:
        return "open"
    least = WORTH if "already good" in decision else 0.0
    return "yes" if (gain > 0 if decision == "tune" else gain <= least) else "no"


def short(decision: str) -> str:
    """Give a decision in a word or two.

    Examples
    --------
    >>> short("do not tune: too few labels to tell")
    'too few'
    """
    return (
        "tune"
        if decision == "tune"
        else decision.removeprefix("do not tune: ").removesuffix(" labels to tell")
    )


def counted(words: Sequence[str]) -> str:
    """Give the different words, with how often each comes where that is more than once.

    Examples
    --------
    >>> counted(["tune", "too few", "tune"])
    'tune × 2, too few'
    """
    return ", ".join(f"{word} × {n}" if n > 1 else word for word, n in Counter(words).most_common())
