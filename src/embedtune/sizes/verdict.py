"""Make what is shipped smaller, and tell it in the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from embedtune.collect import Collected
from embedtune.judging.folded import Folded
from embedtune.judging.verdict import Verdict
from embedtune.sizes.asked import Dims
from embedtune.sizes.choosing import choose_size
from embedtune.steps.decision import Clock
from embedtune.training.budget import Budget
from embedtune.transforms import Identity
from embedtune.tuners.auto import Choice
from embedtune.types import Transform


def with_sizes(
    found: Collected,
    choice: Choice | None,
    shipped: Transform,
    verdict: Verdict,
    dims: Dims,
    most_bytes: int | None,
    seed: int,
    clock: Clock,
    budget: Budget,
    *,
    before: tuple[Collected, Any] | None = None,
    better: bool = True,
) -> tuple[Transform, Verdict]:
    """Make what is shipped smaller; give it, and the verdict with the sizes that were judged.

    Where weights were tuned, ``before`` has the labels with the base's vectors; ``better`` says whether the
    tuned weights are shipped. If not, the base's own vectors are made smaller.
    """
    if choice is None or not len(choice.folded.row):
        why = "too few labels to judge smaller vectors: they keep their size"
        return shipped, replace(verdict, reasons=[*verdict.reasons, why])
    folded, shown = choice.folded, choice.shown
    if before is not None and not better:
        found, problem = before
        problem = replace(problem, fixed=folded.problem.fixed)  # type: ignore[attr-defined]
        folded = Folded(problem, metric=folded.metric, seed=seed)
    maps: list[Transform] = [Identity() for _ in folded.rounds]
    if not isinstance(shipped, Identity) and shown.candidate is not None:
        maps = [folded.fitted(shown.candidate, shown.strength, i) for i in range(len(maps))]
    shipped, sizes = choose_size(
        found,
        folded,
        maps,
        shipped,
        dims=dims,
        most_bytes=most_bytes,
        seed=seed,
        budget=budget,
        nested=before is not None and better,
    )
    clock.stop("sizes")
    reasons = verdict.reasons
    if not sizes:
        reasons = [*reasons, "the time budget ended: smaller vectors were not judged"]
    elif not any(one.chosen and one.within_noise for one in sizes):
        reasons = [
            *reasons,
            "no vectors as small as wished are within noise of the full ones: the best are saved",
        ]
    return shipped, replace(verdict, sizes=[one.to_dict() for one in sizes], reasons=reasons)
