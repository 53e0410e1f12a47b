"""The learning curve of a tuner of scored pairs, measured out of fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from embedtune.judging.curve import Curve, curve_sizes, learning_curve, nested_subsets
from embedtune.judging.scored import Scored
from embedtune.transforms import Identity
from embedtune.tuners.scored import ScoredPairs
from embedtune.types import Transform


def scored_curve(
    problem: Scored,
    fit: Callable[[ScoredPairs], Transform],
    *,
    sizes: Sequence[int] | None = None,
    metric: str = "spearman",
    seed: int = 0,
) -> Curve:
    """Fit to nested subsets of each round's training pairs, and judge what the round holds out.

    Parameters
    ----------
    problem : Scored
        The pairs.
    fit : callable
        From training pairs to the transform whose gain over the base is measured.
    sizes : sequence of int, optional
        Pairs, ascending, at least three, the last all there are; by default
        :func:`~embedtune.judging.curve.curve_sizes`. A round trains on as much less as it holds out,
        so that a size stands for what it would be without rounds, and gains are a little low.
    metric : str
        ``"spearman"`` or ``"pearson"``.
    seed : int
        Of rounds, subsets and the bootstrap.
    """
    chosen = list(sizes) if sizes is not None else curve_sizes(len(problem))
    rounds = problem.rounds(seed)
    gains, bases = [], []
    for one in rounds:
        base = problem.evaluate(Identity(), one.held, one.train, (metric,))[metric]
        share = len(one.train) / len(problem)
        wanted = [max(round(size * share), 1) for size in chosen]
        subsets = nested_subsets(problem.groups[one.train], wanted, seed)
        fitted = [fit(problem.training(one.train[rows])) for rows in subsets]
        scores = [problem.evaluate(f, one.held, one.train, (metric,))[metric] for f in fitted]
        gains.append(np.stack(scores) - base)
        bases.append(base)
    held = np.concatenate([one.held for one in rounds])
    bound = 1 - float(np.concatenate(bases).mean())
    return learning_curve(
        chosen, np.concatenate(gains, axis=1), groups=problem.groups[held], bound=bound, seed=seed
    )
