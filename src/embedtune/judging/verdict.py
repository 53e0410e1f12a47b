"""The decision and its reasons, as data, as text and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from embedtune.judging.comparison import Gain, Side
from embedtune.judging.retention import Retention
from embedtune.judging.slices import SliceGain
from embedtune.judging.weak_spots import WeakSpot

Decision = Literal[
    "tune",
    "do not tune: already good",
    "do not tune: too few labels to tell",
    "do not tune: worse",
]

WORTH = 0.02
"""A gain below this is not worth a change of the map: an interval that ends below it settles the matter."""

GOOD = 0.9
"""A base that is surely above this is good already."""

BY_CHANCE = 0.7
"""Share of labels that look drawn by chance from which on they do not belong to these documents."""

FEWEST = 20
"""Labelled queries below which nothing is fitted: no verdict could come of it."""


ROWS = {"retrieval": "queries", "classification": "items", "similarity": "pairs", "recommendation": "users"}
"""What is judged in each task."""

STRATA = {"seen": "seen documents", "unseen": "unseen documents"}
"""Strata whose names need a word more."""


@dataclass(frozen=True)
class Evaluation:
    """Two models on the same queries.

    ``base``, ``tuned`` and ``gain`` are on the test split if there is one, else out of fold.
    """

    task: str
    metric: str
    base: Side
    tuned: Side
    gain: float
    ci95: tuple[float, float]
    p_value: float
    strata: dict[str, Gain] = field(default_factory=dict)
    winners: list[dict[str, Any]] = field(default_factory=list)
    losers: list[dict[str, Any]] = field(default_factory=list)
    judged_on: str = "test"
    slices: list[SliceGain] = field(default_factory=list)
    """Gains by the values of the columns that were asked for."""
    weak_spots: list[WeakSpot] = field(default_factory=list)
    """Clusters that got worse."""

    @property
    def _rows(self) -> str:
        """What is judged, for people."""
        return ROWS.get(self.task, "rows")

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON-able data, with the keys that the command line fixes."""
        return asdict(self)

    def text(self) -> str:
        """Give the comparison in a few lines."""
        scores = f"{self.base.overall or 0:.3f} -> {self.tuned.overall or 0:.3f}"
        rows = [
            f"{self.metric} on {self.judged_on}: {scores} "
            f"(gain {self.gain:+.3f}, 95 % interval {self.ci95[0]:+.3f} to {self.ci95[1]:+.3f}, "
            f"p = {self.p_value:.2g}, {self.base.n} {self._rows})"
        ]
        for name, gain in self.strata.items():
            base, tuned = gain.base or 0.0, gain.tuned or 0.0
            rows.append(
                f"  {STRATA.get(name, name)}: {base:.3f} -> {tuned:.3f} (gain {gain.gain:+.3f}, "
                f"{gain.ci95[0]:+.3f} to {gain.ci95[1]:+.3f}, {gain.n} {self._rows})"
            )
        rows += [spot.text(self._rows) for spot in self.weak_spots]
        return "\n".join(rows)


@dataclass(frozen=True)
class Verdict(Evaluation):
    """Whether to tune, why, and what was tried.

    ``gain`` is that of the map that would be shipped, also where the decision is not to ship it.
    """

    decision: Decision = "do not tune: too few labels to tell"
    reasons: list[str] = field(default_factory=list)
    method: str = "identity"
    """The map that was judged."""
    strength: float = 0.0
    """How far it was followed from the identity."""
    labels: int = 0
    """Labelled queries that could be trained on."""
    labels_needed: int | None = None
    """Labelled queries that would settle it, where there were too few."""
    out_of_fold: dict[str, Any] | None = None
    """Gain, interval and p-value out of fold, corrected for choosing among the candidates."""
    wrong_labels: float | None = None
    """Share of the labels that look drawn by chance; None where that cannot be told."""
    made: dict[str, Any] | None = None
    """How many judgements were made rather than given, of how many, and by what; None where none were."""
    curve: dict[str, Any] | None = None
    """Gains with fewer labels, and what twice and five times as many would bring."""
    moved: dict[str, float] = field(default_factory=dict)
    """Share of the ten nearest documents that changed."""
    retention: dict[str, Any] | None = None
    """What the map does to items that it was not made for, see :mod:`embedtune.judging.retention`."""
    candidates: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    stopped: bool = False
    """Whether the time budget ended the work: encoding, a teacher's part of it, or the trying."""
    sizes: list[dict[str, Any]] = field(default_factory=list)
    """Smaller vectors, judged beside the full ones; empty where none were asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON-able data; ``verdict`` holds the decision."""
        return {"verdict": self.decision, "text": self.text(), **asdict(self)}

    @property
    def untried(self) -> bool:
        """Whether the time ended before anything was tried: the first reason then says how far it came."""
        return self.stopped and len(self.candidates) < 2 and bool(self.reasons)

    @property
    def headline(self) -> str:
        """What was decided, for people: the decision, or that nothing was tried to decide on."""
        return f"do not tune: {self.reasons[0]}" if self.untried else self.decision

    def text(self) -> str:
        """Give the verdict in a few lines."""
        reasons = self.reasons if self.headline == self.decision else self.reasons[1:]
        lines = [f"verdict: {self.headline}", *reasons]
        if self.base.n:
            lines.append(super().text())
        for one in self.curve["forecasts"] if self.curve else ():
            between = "{:+.3f} to {:+.3f}".format(*one["more_ci95"])
            lines.append(f"{one['labels']:,} labels would bring about {one['more']:+.3f} more ({between})")
        if self.retention and self.method != "identity":
            lines.append(Retention.from_dict(self.retention).text())
        return "\n".join(lines)


@dataclass(frozen=True)
class Evidence:
    """What the decision rests on."""

    chosen: bool
    """Whether a map was chosen out of fold over the base."""
    folded: Gain | None
    """Gain out of fold, corrected for choosing; None where nothing could be tried."""
    folded_strata: dict[str, Gain]
    test: Gain | None
    """Gain on the test split."""
    test_strata: dict[str, Gain]
    base: float
    """The base's score, and the lower end of its 95 % interval."""
    base_low: float
    spread: float
    """Standard deviation of the gain over queries."""
    labels: int
    rows: str = "queries"
    """What the labels are, for people."""
    stopped: bool = False
    """Whether the time budget ended before all candidates were tried."""
    wrong: float = 0.0
    """Share of the labels that look drawn by chance."""
    harmed_slices: tuple[str, ...] = ()
    """Slices that lose significantly, after Holm."""
    untried: str = ""
    """The time budget, where nothing could be tried within it."""


def decide(evidence: Evidence) -> tuple[Decision, list[str], int | None]:
    """Decide, say why, and, where labels are too few, how many would do.

    'tune' needs a map that was chosen out of fold and a corrected gain whose interval lies above
    zero there, or on the test split; no gain of zero or less on the test split; and no significant
    loss in any stratum or slice.
    """
    if evidence.untried:  # nothing is known of the labels, so neither is how many would do
        reason = f"nothing was tried within the budget of {evidence.untried}, so the base is kept"
        return "do not tune: too few labels to tell", [reason], None
    gain = evidence.test or evidence.folded
    if gain is None or evidence.folded is None:
        needed = labels_needed(0.1, 0.35, evidence.labels)
        return (
            "do not tune: too few labels to tell",
            [f"{evidence.labels} labelled {evidence.rows} are too few to tell; about {needed} would do"],
            needed,
        )
    strata = evidence.test_strata or evidence.folded_strata
    harmed = [f"on {STRATA.get(name, name)}" for name, part in strata.items() if part.harmful]
    harmed += [f"with {name}" for name in evidence.harmed_slices]
    lost = f"{evidence.rows} {' and '.join(harmed)} would lose"
    if harmed and evidence.chosen:
        return "do not tune: worse", [lost], None
    sure = evidence.folded.ci95[0] > 0
    if evidence.test is not None:
        sure = (sure and evidence.test.gain > 0) or evidence.test.ci95[0] > 0
    if gain.ci95[1] < WORTH and evidence.base_low >= GOOD:
        return _already_good(evidence)
    if evidence.chosen and sure:
        return "tune", ["the tuned map is better, beyond chance"], None
    if harmed and sure:  # every map that gains harms someone, so none was chosen
        return "do not tune: worse", [lost], None
    return _why_not(evidence, gain)


def _why_not(evidence: Evidence, gain: Gain) -> tuple[Decision, list[str], int | None]:
    if gain.ci95[1] < 0:
        return "do not tune: worse", ["the best map that was found is worse than the base"], None
    if evidence.base_low >= GOOD:
        return _already_good(evidence)
    if evidence.wrong >= BY_CHANCE:
        reason = (
            f"{evidence.wrong:.0%} of the labels look drawn by chance: do they belong to these documents?"
        )
        return "do not tune: worse", [reason], None
    if evidence.stopped:
        reason = "the time budget ended before it could be told; the base is kept"
        return "do not tune: too few labels to tell", [reason], None
    if gain.ci95[1] < WORTH:
        if evidence.base >= 0.5:
            reason = f"no map gains as much as {WORTH} over the base"
            return "do not tune: already good", [reason], None
        reason = "no map is better than the base: do the labels belong to these documents?"
        return "do not tune: worse", [reason], None
    needed = labels_needed(max(gain.gain, WORTH), evidence.spread, evidence.labels)
    reason = (
        f"with {evidence.labels} labelled {evidence.rows} the gain lies between {gain.ci95[0]:+.3f} and "
        f"{gain.ci95[1]:+.3f}; about {needed} would tell"
    )
    return "do not tune: too few labels to tell", [reason], needed


def _already_good(evidence: Evidence) -> tuple[Decision, list[str], int | None]:
    reason = f"the base reaches {evidence.base:.3f}; there is little left to gain"
    return "do not tune: already good", [reason], None


def labels_needed(gain: float, spread: float, labels: int) -> int:
    """Labelled queries with which a two-sided test at 5 % would find ``gain`` with a power of 80 %.

    Cohen 1988, Statistical Power Analysis, section 2.4, for the paired difference of standard
    deviation ``spread``. At least half as many again as there are; rounded up to two digits.
    """
    n = max((2.8 * spread / gain) ** 2, 1.5 * labels, 2 * FEWEST)
    digits = 10 ** max(math.floor(math.log10(n)) - 1, 0)
    return int(math.ceil(n / digits) * digits)
