"""What more labels would bring: the choice fitted to fewer of them, out of fold, and the curve drawn on."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from embedtune.judging.curve import Curve, learning_curve
from embedtune.judging.problem import Rows, Scores
from embedtune.training.budget import Budget, OutOfTime
from embedtune.tuners.auto import Choice

SHARES = (0.25, 0.5, 1.0)
"""Shares of the labels that are trained on; of the last the scores are there."""

FEWEST = 80
"""Labels below which a quarter of them says nothing."""

ROUNDS = 3
"""Folds that are looked at, at most: the largest first."""

ENOUGH = 500
"""Held-out rows that are enough, so that fewer folds will do."""


def forecast(choice: Choice, *, labels: int, seed: int, budget: Budget) -> Curve | None:
    """Give the learning curve of :attr:`Choice.shown`.

    Parameters
    ----------
    choice : Choice
        With its out-of-fold scores.
    labels : int
        All there are; of very many, those that a fold may train on. A fold trains on as much less as it holds
        out, so gains are a little low.
    seed : int
        Which labels are left out; near-duplicates together, each subset inside the next.
    budget : Budget
        When to stop.

    Returns
    -------
    Curve or None
        None where nothing was chosen, labels are too few, or the time has ended.
    """
    folded, shown = choice.folded, choice.shown
    if shown.candidate is None or labels < FEWEST or choice.stopped or not choice.refits:
        return None
    labels = min(labels, getattr(folded.problem, "trained", labels))
    sizes = np.array([len(one.held) for one in folded.rounds])
    turns = np.argsort(-sizes, kind="stable")[:ROUNDS]
    turns = np.sort(turns[: 1 + int(np.searchsorted(np.cumsum(sizes[turns]), ENOUGH))])
    place = places(folded.problem.groups, seed)
    made = getattr(folded.problem, "made", None)
    if made is not None:  # there would be as many of those as now
        place[made] = -1
    candidate = shown.candidate
    jobs = [(share, int(i)) for share in SHARES[:-1] for i in turns]

    def scored(job: int, within: Budget) -> Scores:
        share, i = jobs[job]
        within.check()
        train = folded.problem.thinned(folded.rounds[i].train, place < share)
        data = folded.problem.training(train)
        fitted = candidate.final(data, shown.strength, folded.seed + i, within)
        within.check()  # the map was cut short
        return folded.score(fitted, i)

    found: dict[int, Scores] = {}
    budget.tell("more labels", 0, len(jobs))
    try:
        with closing(folded.each(scored, len(jobs), budget)) as results:
            for job, one in results:
                found[job] = one
                budget.tell("more labels", len(found), len(jobs))
    except OutOfTime:
        return None
    ends = np.cumsum(sizes)
    rows = np.concatenate([np.arange(ends[i] - sizes[i], ends[i]) for i in turns])
    mask = np.zeros(len(folded.row), bool)
    mask[rows] = True
    weight = folded.weight(mask)[rows]
    if not weight.any():
        return None
    fewer = np.concatenate([found[job] for job in range(len(jobs))]).reshape(len(SHARES) - 1, -1)
    table: Scores = np.vstack([fewer, shown.scores[rows]]) - folded.base[rows]
    return learning_curve(
        [round(labels * share) for share in SHARES],
        table * weight,
        groups=folded.groups[rows],
        bound=max(1 - float(np.mean(folded.base[rows] * weight)), 0.0),
        seed=seed,
    )


def places(groups: Rows, seed: int) -> Scores:
    """Give every row a random place from 0 to 1, the same to a whole group."""
    _, unit = np.unique(groups, return_inverse=True)
    place = np.random.default_rng(seed).permutation(int(unit.max(initial=-1)) + 1)
    return np.asarray(place[unit] / max(len(place), 1))
