"""All the evidence on one map, put together: on the test split where there is one, else out of fold."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from embedtune.collect import Collected
from embedtune.data.dataset import Dataset
from embedtune.judging.classified import Classified
from embedtune.judging.comparison import Gain, Judged, Side, gain_of
from embedtune.judging.estimate import TOLERATED, wrong_share
from embedtune.judging.problem import Problem
from embedtune.judging.verdict import BY_CHANCE, FEWEST, ROWS, Decision, Evidence, Verdict, decide
from embedtune.transforms import Identity
from embedtune.tuners.auto import Choice
from embedtune.tuners.base import Budget
from embedtune.tuners.forecast import forecast
from embedtune.types import Transform

if TYPE_CHECKING:
    from embedtune.head import Head

NEIGHBOURS = 10
"""Nearest items whose change says how much of the map has moved."""

TOO_FEW: Decision = "do not tune: too few labels to tell"


class Clock:
    """Seconds spent in each stage."""

    def __init__(self, started: float) -> None:
        self.last, self.seconds = started, {}  # type: float, dict[str, float]

    def stop(self, stage: str) -> None:
        """Count the time since the last stage to this one."""
        now = time.monotonic()
        self.seconds[stage] = round(now - self.last, 3)
        self.last = now


def judge(
    dataset: Dataset,
    found: Collected,
    pool: Problem,
    choice: Choice | None,
    transform: Transform,
    metric: str,
    seed: int,
    clock: Clock,
    budget: Budget,
    before: tuple[Collected, Problem] | None = None,
) -> Verdict:
    """Judge what was chosen, and decide.

    Parameters
    ----------
    dataset : Dataset
        The data.
    found : Collected
        Its labels, those that train and those that judge.
    pool : Problem
        What the choice was made on.
    choice : Choice, optional
        None where there were too few labels to try anything.
    transform : Transform
        The choice, fitted to all labels.
    metric : str
        What decides.
    seed : int
        Seed of intervals and tests.
    clock : Clock
        Told when it is done.
    budget : Budget
        What is left for the learning curve.
    before : (Collected, Problem), optional
        The same two with the base's vectors, where ``found`` and ``pool`` have those of tuned weights.
    """
    base_found, base_pool = before or (found, pool)
    folded = _folded(choice, found, seed)
    corrected = choice.corrected(seed) if choice else None
    curve = forecast(choice, labels=found.labels, seed=seed, budget=budget) if choice else None
    wrong = wrong_share(choice.far) if choice and choice.far is not None else None
    judged, where = folded, "out of fold"
    if found.test is not None:
        judged, where = on_test(found, Identity(), transform, metric, seed), "test"
        if before is not None:
            judged = replace(judged, base=on_test(base_found, Identity(), Identity(), metric, seed).base)
    test = judged.gain() if judged and found.test is not None else None
    base = judged.base[judged.metric][judged.whole] if judged else np.zeros(0)
    base_gain = gain_of(base, judged.groups[judged.whole], seed) if judged else None
    difference = choice.shown.scores - choice.folded.base if choice else np.zeros(0)
    strata = judged.gains() if judged else {}
    rows = ROWS[dataset.task]
    decision, reasons, needed = decide(
        Evidence(
            chosen=choice is not None and choice.chosen.candidate is not None,
            folded=corrected,
            folded_strata=folded.gains() if folded else {},
            test=test,
            test_strata=strata if test else {},
            base=float(base.mean()) if len(base) else 0.0,
            base_low=base_gain.ci95[0] if base_gain else 0.0,
            spread=float(difference.std()) if len(difference) > 1 else 0.35,
            labels=found.labels,
            rows=rows,
            stopped=bool(choice and choice.stopped),
            wrong=wrong or 0.0,
        )
    )
    if wrong is not None and TOLERATED < wrong < BY_CHANCE:
        share = f"about {wrong:.0%} of the labels look drawn by chance; the gain is that of the others"
        reasons = [*reasons, share]
    if choice and choice.stopped:
        if len(choice.tried) > 1:
            reasons = [*reasons, "the time budget ended: some candidates were not tried"]
        else:  # nothing is known of the labels
            reasons, needed = ["the time budget ended: nothing could be tried, so the base is kept"], None
    if found.made and test is None:
        only = f"all labels were made from the collection: label some real {rows} to judge what they bring"
        decision, reasons, needed = TOO_FEW, [only], None
    gain = test or corrected or Gain(0.0, (0.0, 0.0), 1.0, 0)
    nobody = Side(None, None, None, 0, 0, 0)
    clock.stop("judge")
    return Verdict(
        dataset.task,
        metric,
        judged.side("base") if judged else nobody,
        judged.side("tuned") if judged else nobody,
        gain.gain,
        gain.ci95,
        gain.p_value,
        strata,
        judged.examples(best=True) if judged else [],
        judged.examples(best=False) if judged else [],
        judged_on=where,
        decision=decision,
        reasons=reasons,
        method=choice.shown.name if choice else "identity",
        strength=choice.shown.strength if choice and choice.shown.candidate else 0.0,
        labels=found.labels,
        labels_needed=needed,
        out_of_fold=None if corrected is None else _plain(corrected),
        wrong_labels=None if wrong is None else round(wrong, 4),
        curve=curve.to_dict() if curve else None,
        moved=_moved(base_pool, pool, transform, seed),
        candidates=_candidates(choice),
        seconds=clock.seconds,
        stopped=bool(choice and choice.stopped),
    )


def on_test(found: Collected, base: Transform, tuned: Transform, metric: str, seed: int) -> Judged:
    """Put two maps side by side on the test split."""
    problem, rows = found.test, found.test_rows
    if problem is None:
        raise ValueError("there is no test split")
    names = tuple(dict.fromkeys((metric, *found.metrics)))
    scores = [problem.evaluate(one, rows, found.test_train, names) for one in (base, tuned)]
    return Judged(
        scores[0],
        scores[1],
        found.test_strata,
        problem.groups[rows],
        found.test_texts,
        seed,
        found.test_natural,
    )


def classifier(found: Collected, choice: Choice | None, shipped: Transform, seed: int) -> Head | None:
    """Fit a classifier on what is shipped, calibrated out of fold; None where there is nothing to fit."""
    problem = found.train
    if not isinstance(problem, Classified) or found.labels < FEWEST or len(problem.items.classes) < 2:
        return None
    rounds = problem.rounds(seed)
    if not rounds:
        return None
    from embedtune.head import fit_head

    maps: list[Transform] = [Identity() for _ in rounds]
    if choice is not None and choice.shown.candidate is not None:
        candidate, strength = choice.shown.candidate, choice.shown.strength
        maps = [choice.folded.fitted(candidate, strength, i) for i in range(len(rounds))]
    return fit_head(problem, shipped, fitted=maps, seed=seed)


def _folded(choice: Choice | None, found: Collected, seed: int) -> Judged | None:
    """Give the out-of-fold scores of what is shown; rows without weight count in their strata alone."""
    if choice is None:
        return None
    fold, metric = choice.folded, choice.folded.metric
    return Judged(
        {metric: fold.base},
        {metric: choice.shown.scores},
        fold.strata,
        fold.groups,
        [found.train_texts[row] for row in fold.row],
        seed,
        fold.weight() > 0,
    )


def _candidates(choice: Choice | None) -> list[dict[str, Any]]:
    if choice is None:
        return []
    return [
        {
            "method": tried.name,
            "strength": tried.strength if tried.candidate else 0.0,
            "score": round(tried.mean, 6),
            "harms": tried.harms,
            "chosen": tried is choice.chosen,
        }
        for tried in (*choice.tried, *choice.rivals)
    ]


def _moved(base: Problem, problem: Problem, transform: Transform, seed: int) -> dict[str, float]:
    """Share of the nearest items of some hundred rows that another took the place of."""
    if (isinstance(transform, Identity) and base is problem) or not len(problem):
        return {"neighbours_changed": 0.0}
    before = base.neighbours(Identity(), NEIGHBOURS, seed)
    after = problem.neighbours(transform, NEIGHBOURS, seed)
    kept = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(before, after, strict=True)]
    return {"neighbours_changed": round(1 - float(np.mean(kept)), 4)}


def _plain(gain: Gain) -> dict[str, Any]:
    return {"gain": gain.gain, "ci95": list(gain.ci95), "p_value": gain.p_value, "n": gain.n}
