"""Quality against bytes: smaller vectors judged out of fold beside the full ones; the least within noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from embedtune.collect import Collected
from embedtune.decision import Clock
from embedtune.errors import UserError
from embedtune.judging.compare import randomisation_test
from embedtune.judging.comparison import gain_of
from embedtune.judging.folded import Folded
from embedtune.judging.labelled import Labelled
from embedtune.judging.verdict import Verdict
from embedtune.transforms import Identity, Linear, then
from embedtune.transforms.codes import ROUNDINGS
from embedtune.tuners.auto import Choice
from embedtune.tuners.base import Budget, TuningData
from embedtune.tuners.compress import CompressTuner, rotation, sampled
from embedtune.types import Transform

Dims = Literal["auto"] | int | None

PARTS = (1, 2, 4, 8)
"""What the number of dimensions is divided by for ``"auto"``."""

WITHIN = 0.02
"""Share of the full vectors' score that smaller ones may lose."""

LEVEL = 0.05
"""A loss with a p-value below this is no noise: one-sided overall, two-sided in a stratum."""


@dataclass(frozen=True)
class Size:
    """Smaller vectors, judged beside the full ones on the same held-out queries."""

    dims: int
    kind: str
    """``"float32"``, ``"int8"``, ``"int4"`` or ``"binary"``; queries are float32 always."""
    bytes: int
    """Bytes a document."""
    score: float
    """Mean out of fold, strata in the shares of traffic."""
    share_of_full: float
    ci95: tuple[float, float]
    """Of ``score`` less that of the full vectors."""
    p_value: float
    """One-sided: how often chance alone would lose so much."""
    harms: str | None = None
    """The stratum that loses, if any."""
    test: float | None = None
    """Mean on the test split, where there is one; it takes no part in choosing."""
    test_share: float | None = None
    chosen: bool = False
    how: str = "projection"
    """What makes the vectors shorter: ``"projection"``, learned; or ``"prefix"``: their leading dimensions,
    where the weights were trained for that."""

    @property
    def within_noise(self) -> bool:
        """Whether it is as good as the full vectors, as far as can be told."""
        return self.share_of_full >= 1 - WITHIN and self.p_value >= LEVEL and self.harms is None

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON-able data."""
        return {**asdict(self), "ci95": list(self.ci95)}


def checked_dims(dims: Dims, most_bytes: int | None, task: str | None = None) -> Dims:
    """Give ``dims``, ``"auto"`` where only bytes are limited.

    Raises
    ------
    UserError
        When they are neither ``"auto"`` nor a number above zero, or the task is not retrieval.
    """
    if most_bytes is not None and most_bytes < 1:
        raise UserError(f"{most_bytes} bytes a vector are none", fix="give a whole number from 1")
    if dims is None:
        dims = None if most_bytes is None else "auto"
    elif dims != "auto" and (not isinstance(dims, int) or isinstance(dims, bool) or dims < 1):
        raise UserError(f"dims is {dims!r}", fix="give 'auto' or a whole number from 1")
    if dims is not None and task not in (None, "retrieval"):
        raise UserError(f"dims is for retrieval in this version, not for {task}", fix="leave it out")
    return dims


def widths(dims: Dims, width: int) -> list[int]:
    """Give the numbers of dimensions that are tried, the largest first.

    Raises
    ------
    UserError
        When there are more than the vectors have.

    Examples
    --------
    >>> widths("auto", 384)
    [384, 192, 96, 48]
    """
    if isinstance(dims, int):
        if dims > width:
            raise UserError(
                f"{dims} dimensions are more than the {width} that the base has",
                fix=f"give a whole number from 1 to {width}",
            )
        return [dims]
    return list(dict.fromkeys(max(1, width // part) for part in PARTS))


def smaller(
    data: TuningData, dims: int, *, distil: float, seed: int, budget: Budget
) -> Iterator[tuple[str, Transform]]:
    """Fit ``dims`` dimensions to (tuned) vectors; yield each kind and what is done after the tuning."""
    map_: Transform = Identity()
    if dims < data.queries.shape[1]:
        map_ = CompressTuner(dims=dims, distil=distil).fit(data, seed=seed, budget=budget)
    yield from _kinds(data, map_, seed)


def leading(data: TuningData, dims: int, *, seed: int) -> Iterator[tuple[str, Transform]]:
    """Take the leading ``dims`` dimensions; yield each kind and what is done after the tuning."""
    eye = np.eye(dims, data.queries.shape[1], dtype=np.float32)
    yield from _kinds(data, Linear(eye, eye, normalise=data.cosine), seed)


def _kinds(data: TuningData, map_: Transform, seed: int) -> Iterator[tuple[str, Transform]]:
    """Yield each kind of what a map gives."""
    yield "float32", map_
    rng = np.random.default_rng(seed)
    documents = map_.documents(sampled(data.documents, rng))
    turn = rotation(documents, seed=seed)
    for kind, rounding in ROUNDINGS.items():
        if kind == "int8":
            yield kind, then(map_, rounding.fitted(documents))
        else:
            turned = then(map_, Linear.shared(turn, normalise=data.cosine))
            yield kind, then(turned, rounding.fitted(documents @ turn.T))


def size_of(kind: str, dims: int) -> int:
    """Give the bytes of a document's vector."""
    return {"float32": 4 * dims, "int8": dims, "int4": -(-dims // 2), "binary": -(-dims // 8)}[kind]


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
        for how, kind, map_ in _ways(data, width, distil, seed, Budget(), nested):
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
    inner = Budget(budget.deadline)
    mapped = [_mapped(folded.problem, map_) for map_ in maps]
    full = _joined([_score(one, Identity(), folded, i) for i, one in enumerate(mapped)])
    sizes: list[Size] = []
    for number, width in enumerate(tried):
        budget.tell("smaller vectors", number, len(tried))
        columns: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
        for i, one in enumerate(mapped):
            data = one.training(folded.rounds[i].train)
            for how, kind, map_ in _ways(data, width, distil, seed + i, inner, nested):
                columns.setdefault((how, kind), []).append(_score(one, map_, folded, i))
        if budget.left <= 0:
            break
        sizes += [
            replace(_judged(width, kind, _joined(column), full, folded, seed), how=how)
            for (how, kind), column in columns.items()
        ]
    budget.tell("smaller vectors", len(tried), len(tried))
    return sorted(sizes, key=lambda one: (-one.bytes, -one.dims))


def _ways(
    data: TuningData, width: int, distil: float, seed: int, budget: Budget, nested: bool
) -> Iterator[tuple[str, str, Transform]]:
    """Yield how vectors are made shorter, the kind, and what is done after the tuning."""
    for kind, map_ in smaller(data, width, distil=distil, seed=seed, budget=budget):
        yield "projection", kind, map_
    if nested and width < data.queries.shape[1]:
        for kind, map_ in leading(data, width, seed=seed):
            yield "prefix", kind, map_


def size_lines(sizes: Sequence[Any]) -> list[str]:
    """Give the table of sizes, as ``to_dict`` gives them, for people."""
    if not sizes:
        return []
    test = sizes[0]["test"] is not None
    lines = ["smaller vectors (share of the full vectors' score; queries stay float32):"]
    for one in sizes:
        on_test = f", on test {one['test_share']:.1%}" if test else ""
        lines.append(
            f"  {one['dims']:>5} x {one['kind']:<8}{one['bytes']:>6,} bytes  {one['score']:.3f}  "
            f"{one['share_of_full']:.1%}{on_test}{'  leading' if one['how'] == 'prefix' else ''}"
            f"{'  <- chosen' if one['chosen'] else ''}"
        )
    return lines


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


def _mapped(problem: Any, map_: Transform) -> Labelled:
    """Give the problem of retrieval with both sides' vectors mapped."""
    documents = map_.documents(np.asarray(problem.documents, np.float32), problem.document_ids)
    queries = map_.queries(problem.queries)
    return replace(cast(Labelled, problem), queries=queries, documents=documents)


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


def _joined(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts)


def parse_dims(given: str | None) -> Dims:
    """Read what the command line gives: ``"auto"``, a number, or nothing.

    Raises
    ------
    UserError
        When it is something else.
    """
    if given is None or given == "auto":
        return given  # type: ignore[return-value]
    if not given.isdecimal():
        raise UserError(f"--dims is {given!r}", fix="give auto, or a whole number from 1")
    return int(given)


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
