"""Parts of the judged rows: the slices that a user named, weak spots that nobody did, scores within them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from embedtune.collect import Collected
from embedtune.data.dataset import Dataset
from embedtune.judging.comparison import TOGETHER, Judged
from embedtune.judging.correlation import CORRELATIONS
from embedtune.judging.scored import Scored
from embedtune.judging.slices import Slices
from embedtune.judging.weak_spots import WeakSpot, weak_spots
from embedtune.transforms import Identity
from embedtune.tuners.auto import Choice
from embedtune.types import Transform

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Sliced:
    """The slices of the labels that train, (n,) each, and of those that judge."""

    train: Slices = field(default_factory=dict)
    test: Slices = field(default_factory=dict)


def spots_of(dataset: Dataset, found: Collected, judged: Judged, choice: Choice | None) -> list[WeakSpot]:
    """Find clusters of the judged rows that lose; each row counts once, as traffic comes."""
    problem, rows, once = found.test, found.test_rows, judged.whole
    if problem is None and choice is not None:
        problem, rows = found.train, choice.folded.row
        once = choice.folded.natural & ~choice.folded.outside
    if problem is None or not (judged.base[judged.metric] != judged.tuned[judged.metric])[once].any():
        return []
    return weak_spots(
        problem.places(rows[once]),
        judged.base[judged.metric][once],
        judged.tuned[judged.metric][once],
        [judged.texts[i] for i in np.flatnonzero(once).tolist()],
        judged.groups[once],
        seed=judged.seed,
        worded=not dataset.images,
    )


def in_every_metric(choice: Choice, found: Collected, judged: Judged | None) -> Judged | None:
    """Give what was judged out of fold in the task's other metrics too, if rows have them by themselves."""
    fold, shown = choice.folded, choice.shown
    names = [name for name in found.metrics if name != fold.metric and name not in TOGETHER]
    if judged is None or not names or shown.candidate is None:
        return judged
    sides: tuple[list[dict[str, Values]], ...] = ([], [])
    for i, one in enumerate(fold.rounds):
        for transform, told in zip(
            (Identity(), fold.fitted(shown.candidate, shown.strength, i)), sides, strict=True
        ):
            told.append(fold.problem.evaluate(transform, one.held, one.train, names))
    base, tuned = ({name: np.concatenate([one[name] for one in side]) for name in names} for side in sides)
    return replace(judged, base=judged.base | base, tuned=judged.tuned | tuned)


def in_folds(choice: Choice, mask: NDArray[np.bool_]) -> tuple[dict[str, Values], dict[str, Values]]:
    """Scores of base and choice on some held-out rows by themselves, in the order of the rows."""
    fold, shown, metric = choice.folded, choice.shown, choice.folded.metric
    problem = fold.problem
    sides: tuple[list[Values], list[Values]] = ([], [])
    score: list[Values] = []
    ends = np.cumsum([len(one.held) for one in fold.rounds]).tolist()
    for i, (one, end) in enumerate(zip(fold.rounds, ends, strict=True)):
        some = one.held[mask[end - len(one.held) : end]]
        if not len(some):
            continue
        fitted: Transform = Identity()
        if shown.candidate is not None:
            fitted = fold.fitted(shown.candidate, shown.strength, i)
        for transform, found in zip((Identity(), fitted), sides, strict=True):
            if isinstance(problem, Scored):
                found.append(problem.similarities(transform, some))
            else:
                found.append(problem.evaluate(transform, some, one.train, (metric,))[metric])
        if isinstance(problem, Scored):
            score.append(problem.score[some])
    before, after = (np.concatenate(found) for found in sides)
    if isinstance(problem, Scored):  # a fold holds too few of a slice for a correlation of its own
        before, after = (CORRELATIONS[metric](found, np.concatenate(score)) for found in (before, after))
    return {metric: before}, {metric: after}
