"""The similarity from which two texts are the same, for the artifact: chosen and judged out of fold."""

from __future__ import annotations

import numpy as np

from embedtune.collect import Collected
from embedtune.data.dataset import Dataset
from embedtune.errors import UserError
from embedtune.judging.scored import Rows, Scored
from embedtune.judging.threshold import Flags, Threshold, Values, calibrate, same_by_score
from embedtune.transforms import Identity
from embedtune.tuners.auto import Choice

FEWEST = 10
"""Pairs of each kind, the same and not, below which no threshold is given."""

UPPER = 0.8
"""Where scores are graded and nothing else is said, the same are those from this share of the scale on."""


def check_sameness(dataset: Dataset, same_at: float | None, precision: float | None) -> None:
    """Refuse, before any work, settings of a threshold that cannot be met.

    Raises
    ------
    UserError
        When they are given for another task, or are out of range.
    """
    if same_at is None and precision is None:
        return
    if dataset.task != "similarity":
        what = f"a threshold of the same is for scored pairs, and this is {dataset.task}"
        raise UserError(what, where=dataset.source, fix="leave same_at and precision out")
    if precision is not None and not 0 < precision < 1:
        raise UserError(f"a precision of {precision:g} cannot be aimed at", fix="give one between 0 and 1")
    if same_at is not None:
        same_by_score(dataset.pairs["score"].to_numpy(), same_at)


def threshold_of(
    found: Collected,
    choice: Choice | None,
    *,
    same_at: float | None = None,
    precision: float | None = None,
    seed: int = 0,
) -> Threshold | None:
    """Calibrate the threshold of what is shipped.

    Parameters
    ----------
    found : Collected
        The labels that train.
    choice : Choice, optional
        What was shipped, whose folds give similarities of pairs that it was not fitted to; None for the
        base, which was fitted to none.
    same_at : float, optional
        The score from which a pair is the same. Unless given, the higher of two scores, or, where scores
        are graded, :data:`UPPER` of the way from the lowest to the highest.
    precision : float, optional
        The precision that is needed; the best F1 unless given.
    seed : int
        Seed of the folds.

    Returns
    -------
    Threshold or None
        None for other tasks than similarity, or with fewer than :data:`FEWEST` pairs of a kind.
    """
    problem = found.train
    if not isinstance(problem, Scored) or not len(problem):
        return None
    level = _level(problem.score) if same_at is None else same_at
    similarity, rows = _out_of_fold(problem, choice)
    same: Flags = np.asarray(problem.score[rows] >= level)
    if min(same.sum(), (~same).sum()) < FEWEST or len(np.unique(problem.groups[rows])) < 2:
        return None
    return calibrate(
        similarity, same, precision=precision, groups=problem.groups[rows], same_at=level, seed=seed
    )


def _level(score: Values) -> float:
    levels = np.unique(score)
    if len(levels) <= 2:
        return float(levels[-1])
    return float(levels[0] + UPPER * (levels[-1] - levels[0]))


def _out_of_fold(problem: Scored, choice: Choice | None) -> tuple[Values, Rows]:
    """Give similarities of pairs under maps that have not seen them, and the pairs' rows, each once.

    Pairs that are held out as new ones come go before those that are held out by force.
    """
    candidate = choice.shown.candidate if choice else None
    if choice is None or candidate is None:
        return problem.similarities(Identity()), problem.everything
    folded = choice.folded
    parts = [
        problem.similarities(folded.fitted(candidate, choice.shown.strength, i), one.held)
        for i, one in enumerate(folded.rounds)
    ]
    kept = np.flatnonzero(folded.natural) if folded.natural.any() else np.arange(len(folded.row))
    kept = kept[np.unique(folded.row[kept], return_index=True)[1]]
    return np.concatenate(parts)[kept], folded.row[kept]
