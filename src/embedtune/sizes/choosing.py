"""Quality against bytes: smaller vectors judged out of fold beside the full ones; the least within noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from embedtune.collect import Collected
from embedtune.errors import UserError
from embedtune.judging.compare import randomisation_test
from embedtune.judging.comparison import gain_of
from embedtune.judging.folded import Folded
from embedtune.judging.labelled import Labelled
from embedtune.judging.problem import Problem
from embedtune.sizes.asked import Dims, widths
from embedtune.sizes.making import ways
from embedtune.sizes.size import LEVEL, Size, size_of
from embedtune.training.budget import Budget
from embedtune.transforms import Identity, then
from embedtune.tuners.compress import CompressTuner
from embedtune.types import Transform


def choose_size(
    found: Collected,
    folded: Folded,
    maps: Sequence[Transform],
    shipped: Transform,
    *,
    dims: Dims,
    most_bytes: int | None,
    seed: int,
    budget: Budget,
    nested: bool = False,
) -> tuple[Transform, list[Size]]:
    """Judge smaller vectors out of fold, and choose.

    Parameters
    ----------
    found : Collected
        The labels.
    folded : Folded
        The folds.
    maps : sequence of Transform
        What each round has fitted of what is shipped, (rounds).
    shipped : Transform
        The same, fitted to all labels.
    dims : "auto" or int
        The halves of the full number, or one number.
    most_bytes : int, optional
        Vectors of more bytes are judged, and not chosen.
    seed : int
        Seed of fits and intervals.
    budget : Budget
        Sizes that cannot be judged in time are left out.
    nested : bool
        Whether the vectors were trained so that their leading dimensions serve alone (Matryoshka): these
        are tried beside the learned projection.

    Returns
    -------
    transform : Transform
        ``shipped`` and the smallest within noise after it; ``shipped`` alone where nothing was judged.
    sizes : list of Size
        All that was judged, the largest first.

    Raises
    ------
    UserError
        When ``dims`` are more than there are, or nothing has as few bytes as wished.
    """
    problem = cast(Labelled, folded.problem)
    tried = widths(dims, problem.queries.shape[1])
    fewest = min(size_of("binary", one) for one in tried)
    if most_bytes is not None and most_bytes < fewest:
        fix = f"allow {fewest}, or ask for fewer dimensions"
        raise UserError(f"no vector has as few as {most_bytes} bytes", fix=fix)
    # where the labels did not serve to tune, they do not serve here
    distil = 1.0 if isinstance(shipped, Identity) and not nested else CompressTuner.distil
    sizes = _tried(folded, maps, tried, distil, seed, budget, nested)
    if not sizes:
        return shipped, []
    best = _smallest(sizes, most_bytes)
    sizes[best] = replace(sizes[best], chosen=True)
    data = _mapped(problem, shipped).training(problem.everything)
    transform, place = shipped, {(one.dims, one.how, one.kind): i for i, one in enumerate(sizes)}
    whole = None if found.test is None else _on_test(found, shipped, folded.metric)
    for width in sorted({one.dims for one in sizes} if whole is not None else {sizes[best].dims}):
        for how, kind, map_ in ways(data, width, distil, seed, Budget(), nested):
            i = place[width, how, kind]
            if i == best:
                transform = then(shipped, map_)
            if whole is not None:
                score = _on_test(found, then(shipped, map_), folded.metric)
                sizes[i] = replace(sizes[i], test=score, test_share=_share(score, whole))
    return transform, sizes


def _tried(
    folded: Folded,
    maps: Sequence[Transform],
    tried: Sequence[int],
    distil: float,
    seed: int,
    budget: Budget,
    nested: bool,
) -> list[Size]:
    """Judge every kind of every number of dimensions, the largest first, as long as there is time."""
    mapped = [_mapped(folded.problem, map_) for map_ in maps]
    full = np.concatenate([_score(one, Identity(), folded, i) for i, one in enumerate(mapped)])
    sizes: list[Size] = []
    for number, width in enumerate(tried):
        budget.tell("smaller vectors", number, len(tried))
        found = _in_folds(folded, mapped, width, distil, seed, budget, nested)
        if budget.left <= 0:
            break
        for how, kind in found[0]:
            column = np.concatenate([one[how, kind] for one in found])
            sizes.append(replace(_judged(width, kind, column, full, folded, seed), how=how))
    budget.tell("smaller vectors", len(tried), len(tried))
    return sorted(sizes, key=lambda one: (-one.bytes, -one.dims))


def _in_folds(
    folded: Folded,
    mapped: Sequence[Labelled],
    width: int,
    distil: float,
    seed: int,
    budget: Budget,
    nested: bool,
) -> list[dict[tuple[str, str], NDArray[np.float64]]]:
    """Give the scores of what each fold holds out, by every way and kind of a number of dimensions."""

    def scored(i: int, within: Budget) -> dict[tuple[str, str], NDArray[np.float64]]:
        data = mapped[i].training(folded.rounds[i].train)
        made = ways(data, width, distil, seed + i, within, nested)
        return {(how, kind): _score(mapped[i], map_, folded, i) for how, kind, map_ in made}

    found = dict(folded.each(scored, len(mapped), budget))
    return [found[i] for i in range(len(mapped))]


def _smallest(sizes: Sequence[Size], most_bytes: int | None) -> int:
    """Row of the smallest within noise of the full vectors; without one, of the best that is allowed."""
    allowed = [i for i, one in enumerate(sizes) if most_bytes is None or one.bytes <= most_bytes]
    near = [i for i in allowed if sizes[i].within_noise]
    if near:
        return min(near, key=lambda i: (sizes[i].bytes, -sizes[i].score))
    return max(allowed, key=lambda i: (round(sizes[i].score, 4), -sizes[i].bytes))


def _judged(
    dims: int,
    kind: str,
    scores: NDArray[np.float64],
    full: NDArray[np.float64],
    folded: Folded,
    seed: int,
) -> Size:
    weight = folded.weight()
    counts = weight > 0
    difference = ((scores - full) * weight)[counts]
    found = gain_of(difference, folded.groups[counts], seed)
    lost = found is not None and found.gain < 0
    p_value = 1.0 if found is None or not found.p_value else found.p_value / 2
    mean = float(np.mean(scores * weight))
    return Size(
        dims,
        kind,
        size_of(kind, dims),
        mean,
        _share(mean, float(np.mean(full * weight))),
        found.ci95 if found else (0.0, 0.0),
        p_value if lost else 1 - p_value if found and difference.any() else 1.0,
        _harmed(scores - full, folded, seed),
    )


def _harmed(difference: NDArray[np.float64], folded: Folded, seed: int) -> str | None:
    """Name the stratum that loses significantly."""
    for name, rows in folded.strata.items():
        inside = difference[rows]
        if len(inside) and inside.mean() < 0:
            p_value = randomisation_test(inside, groups=folded.groups[rows], samples=2000, seed=seed)
            if p_value < LEVEL:
                return name
    return None


def _mapped(problem: Problem, map_: Transform) -> Labelled:
    """Give the problem of retrieval with both sides' vectors mapped."""
    labelled = cast(Labelled, problem)
    documents = map_.documents(np.asarray(labelled.documents, np.float32), labelled.document_ids)
    return replace(labelled, queries=map_.queries(labelled.queries), documents=documents)


def _score(problem: Labelled, map_: Transform, folded: Folded, i: int) -> NDArray[np.float64]:
    """Score what is done after the tuning on what round ``i`` holds out; the vectors are tuned already."""
    one = folded.rounds[i]
    return problem.evaluate(map_, one.held, one.train, (folded.metric,))[folded.metric]


def _on_test(found: Collected, map_: Transform, metric: str) -> float:
    if found.test is None:
        raise ValueError("there is no test split")
    scores = found.test.evaluate(map_, found.test_rows, found.test_train, (metric,))[metric]
    return float(scores.mean())


def _share(score: float, full: float) -> float:
    return score / full if full > 0 else 1.0
