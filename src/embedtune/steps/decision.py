"""All the evidence on one map, put together: on the test split where there is one, else out of fold."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedtune.collect import Collected
from embedtune.data.dataset import Dataset
from embedtune.data.pairs import made_labels
from embedtune.judging.classified import Classified
from embedtune.judging.comparison import TOGETHER, Gain, Judged, Side, gain_of
from embedtune.judging.estimate import TOLERATED, wrong_share
from embedtune.judging.many import HEAD
from embedtune.judging.problem import Problem
from embedtune.judging.retention import ProbeSet, retention
from embedtune.judging.scored import Scored
from embedtune.judging.slices import held_out, slice_gains
from embedtune.judging.verdict import BY_CHANCE, FEWEST, ROWS, Decision, Evidence, Verdict, decide
from embedtune.steps.parts import Sliced, in_every_metric, in_folds, spots_of
from embedtune.training.budget import Budget
from embedtune.transforms import Identity
from embedtune.tuners.auto import Choice, Tried
from embedtune.tuners.forecast import forecast
from embedtune.types import Transform

if TYPE_CHECKING:
    from embedtune.heads.head import Head

Values = NDArray[np.float64]

NEIGHBOURS = 10
"""Nearest items whose change says how much of the map has moved."""

AT_LEAST = 1.0
"""Seconds that a classifier's fits have even when the budget has ended."""

FEW_OF_A_CLASS = 5
"""Items of each class with which a classifier is fitted although nothing else is."""

TOO_FEW: Decision = "do not tune: too few labels to tell"
ALREADY_GOOD: Decision = "do not tune: already good"
WORSE: Decision = "do not tune: worse"


class Clock:
    """Seconds spent in each stage."""

    def __init__(self, started: float) -> None:
        self.started = self.last = started
        self.seconds: dict[str, float] = {}

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
    *,
    slices: Sliced | None = None,
    probes: ProbeSet | None = None,
    keep: float | None = None,
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
    slices : Sliced, optional
        The parts of the labels that are judged apart too.
    probes : ProbeSet, optional
        Items that say how much general ability is kept; None where there are none.
    keep : float, optional
        The share of their neighbours that had to be kept.
    before : (Collected, Problem), optional
        The same two with the base's vectors, where ``found`` and ``pool`` have those of tuned weights.
    """
    base_found, base_pool = before or (found, pool)
    folded = _folded(choice, found, seed)
    corrected = choice.corrected(seed) if choice else None
    time_left = budget.leaving(HEAD) if dataset.task == "classification" else budget
    curve = forecast(choice, labels=found.labels, seed=seed, budget=time_left) if choice else None
    wrong = wrong_share(choice.far) if choice and choice.far is not None else None
    judged, where = folded, "out of fold"
    if found.test is not None:
        judged, where = on_test((base_found, Identity()), (found, transform), metric, seed), "test"
    test = judged.gain() if judged and found.test is not None else None
    base = judged.base[judged.metric][judged.whole] if judged else np.zeros(0)
    base_gain = gain_of(base, judged.groups[judged.whole], seed) if judged else None
    difference = choice.shown.scores - choice.folded.base if choice else np.zeros(0)
    strata = judged.gains() if judged else {}
    slices = slices or Sliced()
    parts = held_out(slices.train, choice.folded) if choice else {}
    if judged and found.test is not None:
        parts = {name: mask & judged.whole for name, mask in slices.test.items()}
    every = in_every_metric(choice, found, judged) if choice and parts and found.test is None else judged
    sliced = slice_gains(every, parts) if every else []
    nothing_tried = bool(choice and choice.stopped and len(choice.tried) == 1)
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
            harmed_slices=tuple(one.name for one in sliced if one.harmed),
            untried=in_words(budget, clock) if nothing_tried else "",
        )
    )
    if wrong is not None and TOLERATED < wrong < BY_CHANCE:
        share = f"about {wrong:.0%} of the labels look drawn by chance; the gain is that of the others"
        reasons = [*reasons, share]
    if choice and choice.stopped and not nothing_tried:
        reasons = [*reasons, "the time budget ended: some candidates were not tried"]
    aside = choice.set_aside if choice else None
    if choice and aside and aside is not choice.shown:
        lost = f"a map with a better mean was set aside: {rows} with {aside.harms} would lose by it"
        if decision in ("tune", ALREADY_GOOD) or not _surely_better(choice, aside, seed):
            reasons = [*reasons, lost]
        else:
            decision, reasons, needed = WORSE, [lost], None
    if keep and choice and choice.shown.followed == 0 and (keep >= 1 or choice.shown.candidate):
        what = "nothing may move" if keep >= 1 else "every map that was tried moves more"
        decision, reasons, needed = WORSE, [f"{what} (keep {keep:g}), so the base is kept"], None
    made = made_labels(dataset)
    if made and found.made and test is None:
        only = f"all labels were made from the collection, by {made['by']}: label some real {rows} to judge"
        decision, reasons, needed = TOO_FEW, [only], None
    elif made:
        share = f"{made['labels']:,} labels were made, by {made['by']}; they train, and real ones judge"
        reasons = [*reasons, share]
    gain = test or corrected or Gain(0.0, (0.0, 0.0), 1.0, 0)
    spots = spots_of(dataset, found, judged, choice) if judged else []
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
        slices=sliced,
        weak_spots=spots,
        decision=decision,
        reasons=reasons,
        method=choice.shown.name if choice else "identity",
        strength=round(choice.shown.followed, 4) if choice else 0.0,
        labels=found.labels,
        labels_needed=needed,
        out_of_fold=None if corrected is None else _plain(corrected),
        wrong_labels=None if wrong is None else round(wrong, 4),
        curve=curve.to_dict() if curve else None,
        moved=_moved(base_pool, pool, transform, seed),
        made=made,
        retention=retention(probes, transform, asked=keep).to_dict() if probes else None,
        candidates=_candidates(choice),
        seconds=clock.seconds,
        stopped=bool(choice and choice.stopped),
    )


def _surely_better(choice: Choice, tried: Tried, seed: int) -> bool:
    """Say whether a candidate's mean is above the base's beyond chance."""
    folded = choice.folded
    gain = gain_of((tried.scores - folded.base) * folded.weight(), folded.groups, seed)
    return gain is not None and gain.ci95[0] > 0


def in_words(budget: Budget, clock: Clock) -> str:
    """Give the whole budget for people."""
    seconds = round((budget.deadline or clock.started) - clock.started, 3)
    return f"{seconds / 60:g} min" if seconds >= 120 and seconds % 60 == 0 else f"{seconds:g} s"


def on_test(
    before: tuple[Collected, Transform], after: tuple[Collected, Transform], metric: str, seed: int
) -> Judged:
    """Put two maps side by side on the test split, each on vectors of its own of the same rows."""
    found, _ = after
    problem, rows = found.test, found.test_rows
    sides = [(one.test, one.test_train, map_) for one, map_ in (before, after) if one.test is not None]
    if problem is None or len(sides) < 2:
        raise ValueError("there is no test split")
    names = tuple(dict.fromkeys((metric, *found.metrics)))

    def scores(
        some: NDArray[np.int64], asked: tuple[str, ...]
    ) -> tuple[dict[str, Values], dict[str, Values]]:
        base, tuned = (test.evaluate(map_, some, train, asked) for test, train, map_ in sides)
        return base, tuned

    alone = names if isinstance(problem, Scored) else (metric,)
    both = scores(rows, names)
    return Judged(
        *both,
        found.test_strata,
        problem.groups[rows],
        found.test_texts,
        seed,
        found.test_natural,
        (lambda mask: scores(rows[mask], alone)) if metric in TOGETHER else None,
    )


def classifier(
    found: Collected,
    choice: Choice | None,
    shipped: Transform,
    seed: int,
    budget: Budget | None = None,
) -> Head | None:
    """Fit a classifier on what is shipped, calibrated out of fold; None where there is nothing to fit.

    Parameters
    ----------
    found : Collected
        The labels that train.
    choice : Choice, optional
        What was found, whose folds are taken; None where there were too few labels to try anything.
    shipped : Transform
        The choice's map, or the identity where the base is kept.
    seed : int
        Which folds, where there was no choice.
    budget : Budget, optional
        When to stop, and whom to tell ("head", done, total). What is late already has :data:`AT_LEAST`
        seconds.
    """
    problem = found.train
    if not isinstance(problem, Classified) or problem.unseen:  # it would not know the classes asked for
        return None
    counts = problem.items.counts[problem.items.counts > 0]
    if len(counts) < 2 or (found.labels < FEWEST and counts.min() < FEW_OF_A_CLASS):
        return None
    rounds = choice.folded.rounds if choice is not None else problem.rounds(seed)
    if not rounds:
        return None
    from embedtune.heads.fitting import fit_head

    maps: list[Transform] = [Identity() for _ in rounds]
    if choice is not None and choice.shown.candidate is not None and not isinstance(shipped, Identity):
        candidate, strength = choice.shown.candidate, choice.shown.strength
        maps = [choice.folded.fitted(candidate, strength, i) for i in range(len(rounds))]
    budget = budget or Budget()
    if budget.left < AT_LEAST:
        budget = replace(budget, deadline=time.monotonic() + AT_LEAST)
    return fit_head(problem, shipped, fitted=maps, seed=seed, rounds=rounds, budget=budget)


def bounds(problem: Problem, head: Head | None) -> list[str]:
    """Say what was left out because there are very many labels, or because time ended."""
    said = []
    if sampled := getattr(problem, "sampled", 0):
        said.append(f"a map is fitted to a sample of {sampled:,} of the {len(problem):,} labels")
    if head is not None and head.cut:
        said.append("the time budget ended while the classifier was fitted: fewer kinds of it were tried")
    return said


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
        (lambda mask: in_folds(choice, mask)) if metric in TOGETHER else None,
    )


def _candidates(choice: Choice | None) -> list[dict[str, Any]]:
    if choice is None:
        return []
    return [
        {
            "method": tried.name,
            "strength": round(tried.followed, 4),
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
