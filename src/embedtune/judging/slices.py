"""Gains by the values of columns that the user names, corrected for how many there are (Holm)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.data.dataset import Dataset
from embedtune.data.slices import slice_values
from embedtune.judging.compare import holm, randomisation_test
from embedtune.judging.comparison import Gain, Judged
from embedtune.judging.folded import Folded

LEAST = 10
"""Rows below which a slice is told of, and not tested."""

HARM = 0.05
"""Holm-adjusted p-value below which a loss in a slice is harm."""

ROUGH, FINE = 2000, 200
"""Random signs of a test while choosing; for a loss that looks real, this many times the slices if more."""

Mask = NDArray[np.bool_]
Slices = dict[tuple[str, str], Mask]
"""Column and value to the rows that have it."""


@dataclass(frozen=True)
class SliceGain:
    """What a slice gains; interval and p-values are None where it has too few rows to be tested."""

    column: str
    value: str
    n: int
    base: float | None
    """Mean score of the base on these rows."""
    tuned: float | None
    gain: float | None
    ci95: tuple[float, float] | None = None
    p_value: float | None = None
    """Two-sided, of this slice alone."""
    p_holm: float | None = None
    """Adjusted for all slices that were tested."""
    harmed: bool = False
    """Whether it loses significantly, after the adjustment."""
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Every metric that was judged: ``base``, ``tuned``, ``gain``, ``ci95``, ``p_value``, ``p_holm`` and
    ``harmed``, as above. Only the first, which decides, keeps a map from being shipped."""

    @property
    def name(self) -> str:
        """The slice, for people."""
        return slice_name(self.column, self.value)


def slice_name(column: str, value: str) -> str:
    """Give a slice's name for people.

    Examples
    --------
    >>> slice_name("department", "sales")
    'department = sales'
    """
    return f"{column} = {value}"


def slices_of(dataset: Dataset, names: Sequence[str], rows: NDArray[np.int64]) -> Slices:
    """Give the slices of some rows of the dataset, by column and value.

    Parameters
    ----------
    dataset : Dataset
        Read with these columns.
    names : sequence of str
        The columns.
    rows : int array of shape (n,)
        Rows of the dataset's queries, items, pairs or users.

    Returns
    -------
    dict of (column, value) to bool array of shape (n,)
        Columns in the order given, values in order; a row may be in several slices of a column, or none.

    Raises
    ------
    UserError
        When a column is missing, or has too many values.
    """
    found: Slices = {}
    for name in names:
        values = slice_values(dataset, name)
        here = [values[row] for row in rows.tolist()]
        for value in sorted({value for row in here for value in row}):
            found[name, value] = np.array([value in row for row in here], bool)
    return found


def held_out(slices: Slices, folded: Folded) -> Slices:
    """Give the slices' held-out rows, each labelled row at most once, as traffic comes; (r,) each."""
    once = folded.natural & ~folded.outside
    return {name: mask[folded.row] & once for name, mask in slices.items()}


def harmed_slice(folded: Folded, scores: NDArray[np.float64], held: Slices) -> str | None:
    """Name the slice in which the scores are below the base's, significantly after Holm; the surest.

    Parameters
    ----------
    folded : Folded
        The folds, with the base's scores.
    scores : float64 array of shape (r,)
        A candidate's.
    held : dict of (column, value) to bool array of shape (r,)
        See :func:`held_out`.
    """
    difference = scores - folded.base
    tested = {name: mask for name, mask in held.items() if mask.sum() >= LEAST}
    if not any(difference[mask].mean() < 0 for mask in tested.values()):
        return None
    p_values = []
    for mask in tested.values():
        part, groups = difference[mask], folded.groups[mask]
        p_value = randomisation_test(part, groups=groups, samples=ROUGH, seed=folded.seed)
        if part.mean() < 0 and p_value < HARM and FINE * len(tested) > ROUGH:
            samples = FINE * len(tested)  # the smallest p-value must survive the adjustment
            p_value = randomisation_test(part, groups=groups, samples=samples, seed=folded.seed)
        p_values.append(p_value)
    lost = [
        (adjusted, slice_name(*name))
        for adjusted, (name, mask) in zip(holm(p_values).tolist(), tested.items(), strict=True)
        if adjusted < HARM and difference[mask].mean() < 0
    ]
    return min(lost)[1] if lost else None


def slice_gains(judged: Judged, slices: Mapping[tuple[str, str], Mask]) -> list[SliceGain]:
    """Give the gain of each slice in every metric, with interval and test; those without rows left out.

    p-values of the metric that decides are adjusted for the slices that were tested; those of all others,
    which decide nothing, for all of their tests together.

    Parameters
    ----------
    judged : Judged
        Scores of both models, (n,) each.
    slices : dict of (column, value) to bool array of shape (n,)
        Rows that are to count.

    References
    ----------
    Holm 1979, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6(2).
    """
    parts = {key: judged.only(mask) for key, mask in slices.items()}
    gains = {
        key: {name: gain for name in part.base if (gain := part.gain(metric=name)) is not None}
        for key, part in parts.items()
    }
    adjusted = _adjusted({key: by_metric for key, by_metric in gains.items() if by_metric}, judged.metric)
    return [
        SliceGain(
            *key,
            by_metric[judged.metric].n,
            **told[judged.metric],
            metrics={
                name: one | {side: round(float(one[side]), 6) for side in ("base", "tuned")}
                for name, one in told.items()
            },
        )
        for key, by_metric in gains.items()
        if (told := adjusted.get(key))
    ]


def _adjusted(
    gains: Mapping[tuple[str, str], Mapping[str, Gain]], deciding: str
) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Give what is told of each slice's gains, by metric."""
    tests = [(key, name) for key, found in gains.items() for name in found if found[name].n >= LEAST]
    p_holm: dict[tuple[tuple[str, str], str], float] = {}
    for family in ([t for t in tests if t[1] == deciding], [t for t in tests if t[1] != deciding]):
        adjusted = holm([gains[key][name].p_value for key, name in family]).tolist()
        p_holm |= dict(zip(family, adjusted, strict=True))
    return {
        key: {name: _told(gain, p_holm.get((key, name))) for name, gain in found.items()}
        for key, found in gains.items()
    }


def _told(gain: Gain, p_holm: float | None) -> dict[str, Any]:
    return {
        "base": gain.base,
        "tuned": gain.tuned,
        "gain": gain.gain,
        "ci95": None if p_holm is None else gain.ci95,
        "p_value": None if p_holm is None else gain.p_value,
        "p_holm": p_holm,
        "harmed": p_holm is not None and gain.gain < 0 and p_holm < HARM,
    }
