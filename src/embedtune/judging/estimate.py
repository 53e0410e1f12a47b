"""What a map will gain on new queries: out-of-fold scores, corrected for all that is known to mislead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embedtune.judging.compare import Choose, bbc
from embedtune.judging.comparison import Gain, gain_of
from embedtune.judging.folded import Folded, Mask
from embedtune.judging.problem import Scores
from embedtune.judging.verdict import BY_CHANCE

HELD_BACK = 0.1
"""Share by which the gain may grow when the folds' held-out labels, a tenth to a fifth, train too."""

TOLERATED = 0.15
"""Share of labels that look wrong up to which they are taken as they are."""

LEAST_RIGHT = 0.05
"""Share of right labels below which nothing can be scaled up any more."""

_Z95 = 1.96


def estimate(
    folded: Folded,
    shown: Scores,
    among: Sequence[Scores],
    *,
    choose: Choose,
    far: Scores | None = None,
    seed: int = 0,
) -> Gain | None:
    """Estimate the gain of a map on as many new queries as have judged it.

    Four corrections, each for something that makes out-of-fold scores misleading:

    - *choosing*: the best of many looks better than it is; bootstrap bias-corrected (:func:`bbc`);
    - *splits*: where the user has set a split apart, its gain and that of the chance folds are pooled
      as two studies with random effects. Where they agree, nothing changes; where they differ by more
      than chance, new data may differ as much, and the interval says so;
    - *wrong labels*: a query whose label was drawn by chance gains nothing. Where such labels are many
      (:func:`wrong_share`), the gain is that of the queries whose labels are right; where nearly all
      are, nothing is known of it;
    - *held-back labels*: the upper end allows for the labels that each fold had to do without.

    Parameters
    ----------
    folded : Folded
        The folds.
    shown : float64 array of shape (r,)
        Out-of-fold scores of the map.
    among : sequence of float64 arrays of shape (r,)
        Scores of all it was chosen among, the base first.
    choose : callable
        The rule of the choice.
    far : float64 array of shape (r,), optional
        1 for held-out rows whose label ranks as by chance under the map.
    seed : int
        Seed of the resamples.

    Returns
    -------
    Gain or None
        The interval is for the gain on as many *new* queries: that of the mean, wider by the root
        of two. None where there are too few queries to resample.

    References
    ----------
    DerSimonian and Laird 1986, Meta-analysis in clinical trials, Controlled Clinical Trials 7, for the
    random effects; Higgins, Thompson and Spiegelhalter 2009, JRSS A 172(1), section 4, for the interval
    of a new study.
    """
    if len(np.unique(folded.groups)) < 2:
        return None
    weight = folded.weight()
    gains = (shown - folded.base) * weight
    own = gain_of(gains, folded.groups, seed)
    if own is None:
        return None
    found = bbc(np.stack([s * weight for s in among]), choose=choose, groups=folded.groups, seed=seed)
    shift = min(found.estimate - own.gain, 0.0)
    centre, between = _pooled(folded, shown, own, seed)
    gain = centre + shift
    down, up = ((own.gain - own.ci95[0]) * 2**0.5, (own.ci95[1] - own.gain) * 2**0.5)
    low = min(gain - np.hypot(down, _Z95 * between), found.interval.low)
    high = max(
        centre + np.hypot(up, _Z95 * between), found.interval.high
    )  # what choosing costs is a guess too
    high += HELD_BACK * max(gain, 0.0)
    below = (1 + np.count_nonzero(found.samples <= 0)) / (1 + len(found.samples))
    estimated = Gain(gain, (float(low), float(high)), max(own.p_value, min(1.0, 2 * below)), own.n)
    return estimated if far is None else _on_right_labels(estimated, far)


def wrong_share(far: Scores) -> float:
    """Share of labels that look drawn by chance, from 0 to 1.

    Of labels drawn by chance half are :data:`~embedtune.judging.labelled.FAR`; of right ones, under
    any base worth tuning, next to none.
    """
    return float(min(2 * far.mean(), 1.0)) if len(far) else 0.0


def _pooled(folded: Folded, shown: Scores, own: Gain, seed: int) -> tuple[float, float]:
    """Mean gain, and the standard deviation of the gain between splits."""
    parts = [_part(folded, shown, mask, seed) for mask in (~folded.outside, folded.outside)]
    known = [part for part in parts if part is not None]
    if len(known) < 2:
        return own.gain, 0.0
    gain = np.array([part.gain for part in known])
    spread = np.array([max((part.ci95[1] - part.ci95[0]) / (2 * _Z95), 1e-9) for part in known])
    weight = spread**-2.0
    fixed = weight @ gain / weight.sum()
    excess = weight @ (gain - fixed) ** 2 - (len(gain) - 1)
    variance = max(excess / (weight.sum() - (weight**2).sum() / weight.sum()), 0.0)
    weight = 1 / (spread**2 + variance)
    return float(weight @ gain / weight.sum()), float(variance**0.5)


def _part(folded: Folded, shown: Scores, mask: Mask, seed: int) -> Gain | None:
    if not mask.any():
        return None
    gains = ((shown - folded.base) * folded.weight(mask))[mask]
    return gain_of(gains, folded.groups[mask], seed)


def _on_right_labels(gain: Gain, far: Scores) -> Gain:
    """Scale a gain over all labels to one over the right ones; the lower end never moves up.

    Where nearly all labels look wrong the interval is all that a metric can gain or lose.
    """
    wrong = wrong_share(far)
    if wrong <= TOLERATED:
        return gain
    if wrong >= BY_CHANCE:
        return replace(gain, ci95=(-1.0, 1.0))
    error = _Z95 * 2 * float(far.std()) / max(len(far), 1) ** 0.5
    right = max(1 - wrong, LEAST_RIGHT)
    least = max(1 - wrong - error, LEAST_RIGHT)
    low, high = gain.ci95
    scaled = (min(low, low / least), max(high, high / least))
    return replace(gain, gain=float(np.clip(gain.gain / right, -1, 1)), ci95=scaled)
