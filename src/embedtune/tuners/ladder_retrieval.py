"""The ladder of retrieval: closed form, adapters, shifts of single documents."""

from __future__ import annotations

from collections.abc import Iterator

from embedtune.data.splits import REPEATED
from embedtune.judging.folded import Candidate, Folded
from embedtune.tuners.auto import STRENGTHS, Tried, simplest
from embedtune.tuners.deltas import DeltasTuner
from embedtune.tuners.identity import IdentityTuner
from embedtune.tuners.linear import LinearTuner
from embedtune.tuners.own_labels import OwnLabels
from embedtune.tuners.read_on import ReadOn
from embedtune.tuners.ridge import RidgeTuner
from embedtune.tuners.whitened import Whitened
from embedtune.tuners.with_pseudo import WithPseudoQueries

DELTA_STRENGTHS = (0.5, 0.75, 1.0, 1.25)
"""Strengths of shifts of documents."""


DELTAS = {"gentle": DeltasTuner(), "firm": DeltasTuner(scale=12.0)}
"""Shifts that leave unseen documents their place, and shifts that go on where these rest: a softer softmax
is not content with a small lead."""


def ladder(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
    """Yield candidates from simple to complex, looking at what those before have reached.

    Adapters learn among the documents that have labels: for queries on unseen documents the others are
    not negatives. Where the same documents are asked for again, one that holds the others away too, with
    less weight, joins them. The best of them is fitted to whitened vectors as well, and to what long
    documents say beyond what the base reads, where that helps. Shifts of single
    documents, where these are asked for again, climb on top of the best adapter, and of the one that
    serves unseen documents best: they do for the seen ones what it does not. The kind of shift that did
    better on the first is tried on the second. Where some labels were made, adapters are tried on people's
    own labels alone too, so that labels which harm are left out. Where documents have titles, adapters
    are tried that learn from them too; these hold the others away as well, so that one which does only
    that is not tried where they are better.
    """
    yield Candidate("ridge", RidgeTuner(), STRENGTHS)
    yield Candidate("linear (queries)", LinearTuner(sides="query"), STRENGTHS)
    yield Candidate("linear (both)", LinearTuner(sides="both"), STRENGTHS, rung=2)
    if getattr(folded.problem, "made", None) is not None:
        yield Candidate("linear (queries, own labels)", OwnLabels(LinearTuner(sides="query")), STRENGTHS)
        yield Candidate("linear (both, own labels)", OwnLabels(LinearTuner(sides="both")), STRENGTHS, rung=2)
    repeated = folded.shares["seen"] >= REPEATED
    if getattr(folded.problem, "pseudo", None) is not None:
        others = 0.3 if repeated else 0.0
        alone, both = (
            WithPseudoQueries(
                LinearTuner(sides=sides, unlabelled=others, passes=4, hard=3, every=4, sample=256)
            )
            for sides in ("query", "both")
        )
        yield Candidate("linear (queries, titles)", alone, STRENGTHS)
        yield Candidate("linear (both, titles)", both, STRENGTHS, rung=2)
    if repeated and not _lead(tried, "titles)"):
        yield Candidate("linear (both, open)", LinearTuner(sides="both", unlabelled=0.3), STRENGTHS, rung=2)
    yield from _other_vectors(folded, tried)
    if not repeated:
        return
    kinds = dict(DELTAS)
    for below in _bases_of_deltas(folded, tried):
        prefix = "" if below.candidate is None else f"{below.name} × {below.strength:g} + "
        for kind, tuner in kinds.items():
            yield Candidate(
                f"{prefix}deltas ({kind})",
                tuner,
                DELTA_STRENGTHS,
                rung=2,
                below=below.candidate,
                below_strength=below.strength,
            )
        best = max(tried[-len(kinds) * len(DELTA_STRENGTHS) :], key=lambda t: t.mean)
        kinds = {kind: tuner for kind, tuner in DELTAS.items() if best.name.endswith(f"({kind})")}


def _other_vectors(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
    """Yield the best adapter once more, on vectors that were whitened, read on, or both.

    Reading on needs no fit, so that it is tried alone; where it gains beyond a standard error, whitened
    vectors are read on at once. Where less than half of that gain is then left, whitening took it, and
    the adapter is fitted to vectors that are read on and not whitened too.
    """
    best = max((t for t in tried if t.name.startswith("linear")), key=lambda t: t.mean)
    assert best.candidate is not None  # only the base is no candidate
    tuner, name = best.candidate.tuner, best.name.removesuffix(")")
    gain = 0.0
    if getattr(folded.problem, "unread", None) is not None:
        yield Candidate("read on", ReadOn(IdentityTuner()), STRENGTHS, rung=2)
        alone = _best_of("read on", tried)
        if alone.harms is None and simplest(folded, [tried[0], alone]):
            gain = alone.mean - tried[0].mean
    if not gain:
        yield Candidate(f"{name}, whitened)", Whitened(tuner), STRENGTHS, rung=2)
        return
    yield Candidate(f"{name}, whitened, read on)", ReadOn(Whitened(tuner)), STRENGTHS, rung=2)
    if _best_of(f"{name}, whitened, read on)", tried).mean < best.mean + gain / 2:
        yield Candidate(f"{name}, read on)", ReadOn(tuner), STRENGTHS, rung=2)


def _best_of(name: str, tried: list[Tried]) -> Tried:
    """Give a candidate at its best strength."""
    return max((t for t in tried if t.name == name), key=lambda t: t.mean)


def _lead(tried: list[Tried], ending: str) -> bool:
    """Say whether the best of those tried so far is one whose name ends so."""
    return max(tried, key=lambda t: t.mean).name.endswith(ending)


def _bases_of_deltas(folded: Folded, tried: list[Tried]) -> list[Tried]:
    """Give the adapter that is best overall, and the one that is best on unseen documents.

    None beyond full strength: what that does for seen documents, at a cost to the others, shifts do better.
    """
    adapters = [t for t in tried if t.name != "ridge" and t.strength <= 1]
    unseen = folded.strata["unseen"]
    found = [max(adapters, key=lambda t: t.mean)]
    if unseen.any():
        found.append(max(adapters, key=lambda t: float(t.scores[unseen].mean())))
    return found[:1] if found[0] is found[-1] else found
