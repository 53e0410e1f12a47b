"""Same or not the same: the similarity from which two items count as one, with what it gets right."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from embedtune.errors import UserError

FOLDS = 5
"""Parts on which a threshold chosen on the others is judged."""

LEVEL = 0.98
"""Level of Wilson's intervals that are given as 95 %: the threshold itself is uncertain too. With 80 to
400 pairs they then hold the true value 89 to 98 times in 100; at a level of 0.95, 83 to 97 times."""

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Threshold:
    """A similarity from which a pair is called the same; plain data that an artifact can carry."""

    threshold: float
    """Pairs at least this similar are the same."""
    precision: float
    """Share of the pairs called the same that are, on pairs that the threshold was not chosen on."""
    precision_ci95: tuple[float, float]
    recall: float
    """Share of the pairs that are the same that are called so, likewise."""
    recall_ci95: tuple[float, float]
    n: int
    """Pairs that it was chosen on."""
    n_same: int
    """Of these, the same."""
    aim: str
    """What was asked for: ``"best F1"`` or ``"precision >= 0.95"``."""
    same_at: float | None = None
    """The score from which pairs counted as the same, where they had graded scores."""

    def same(self, similarity: ArrayLike) -> Flags:
        """Say of each similarity whether it is that of the same."""
        return np.asarray(np.asarray(similarity) >= self.threshold)

    def text(self) -> str:
        """Give it in a line."""
        level = "" if self.same_at is None else f"; the same have a score of {self.same_at:g} or more"
        return (
            f"same from a similarity of {self.threshold:.3f} ({self.aim}): precision {self.precision:.2f} "
            f"({self.precision_ci95[0]:.2f} to {self.precision_ci95[1]:.2f}), recall {self.recall:.2f} "
            f"({self.recall_ci95[0]:.2f} to {self.recall_ci95[1]:.2f}), on {self.n:,} pairs{level}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON-able data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Threshold:
        """Rebuild what :meth:`to_dict` gave, also after a way through JSON.

        Raises
        ------
        KeyError, TypeError, ValueError
            When something is missing or out of range.
        """
        intervals = {name: tuple(map(float, data[name])) for name in ("precision_ci95", "recall_ci95")}
        found = cls(**{**data, **intervals})
        shares = (found.precision, *found.precision_ci95, found.recall, *found.recall_ci95)
        if len(shares) != 6 or not all(0 <= share <= 1 for share in shares):
            raise ValueError("its precision and recall are no shares")
        if not np.isfinite(float(found.threshold)):
            raise ValueError(f"{found.threshold} is no similarity")
        return found


def same_by_score(score: ArrayLike, same_at: float | None = None) -> Flags:
    """Say which scores (n,) are those of the same: at least ``same_at``, or the higher of two values.

    Raises
    ------
    UserError
        When scores are graded and no level is given, or all fall on one side.
    """
    values = np.asarray(score, np.float64)
    levels = np.unique(values)
    if same_at is None:
        if len(levels) != 2:
            raise UserError(
                f"there are {len(levels)} different scores, so which of them mean 'the same' is not known",
                fix="say from which score on pairs are the same (same_at=)",
            )
        same_at = float(levels[1])
    same = values >= same_at
    if same.all() or not same.any():
        raise UserError(
            f"{'all' if same.all() else 'no'} pairs have a score of at least {same_at:g}",
            fix=f"choose a level between {levels[0]:g} and {levels[-1]:g}",
        )
    return np.asarray(same)


def calibrate(
    similarity: ArrayLike,
    same: ArrayLike,
    *,
    precision: float | None = None,
    groups: NDArray[np.int64] | None = None,
    same_at: float | None = None,
    seed: int = 0,
) -> Threshold:
    """Choose the threshold, and say what it gets right on pairs that it was not chosen on.

    Parameters
    ----------
    similarity : float array of shape (n,)
        Of pairs that the map was not fitted to: out of fold, or of a split of their own. Those of
        training pairs are too good.
    same : bool array of shape (n,)
        Whether each pair is the same.
    precision : float, optional
        The precision that is needed, between 0 and 1: the lowest threshold that reaches it is
        taken. Without it, the one of the best F1.
    groups : int array of shape (n,), optional
        Pairs that stay in one fold.
    same_at : float, optional
        Kept in the result, to say what was meant by the same.
    seed : int
        Seed of the folds.

    Raises
    ------
    UserError
        When there are not two pairs (or groups) of each kind, or a similarity is not finite.

    Notes
    -----
    Precision and recall come from cross-validation: each fifth of the pairs is judged by a
    threshold chosen on the others; the threshold that is given is chosen on all. Intervals are
    Wilson's, a little wider, see :data:`LEVEL` (Brown, Cai and DasGupta 2001, Statistical Science 16(2)).
    """
    x, is_same = np.asarray(similarity, np.float64), np.asarray(same, bool)
    if x.shape != is_same.shape or x.ndim != 1 or not np.isfinite(x).all():
        raise UserError("similarities must be finite numbers, one a pair", fix="leave damaged pairs out")
    if precision is not None and not 0 < precision < 1:
        raise UserError(f"a precision of {precision} cannot be aimed at", fix="give one between 0 and 1")
    if min(is_same.sum(), (~is_same).sum()) < 2:
        raise UserError(
            f"{int(is_same.sum())} of {len(x)} pairs are the same: too few of one kind to choose a threshold",
            fix="label at least two pairs of each kind, better fifty",
        )
    fold = _folds(is_same, groups, seed)
    if not fold.any():
        raise UserError("all pairs are in one group, so none judges a threshold of the others")
    called = np.zeros(len(x), bool)
    for one in np.unique(fold):
        rest = fold != one
        level = _choose(x[rest], is_same[rest], precision)
        called[~rest] = x[~rest] >= level
    hit = int((called & is_same).sum())
    return Threshold(
        _choose(x, is_same, precision),
        hit / max(int(called.sum()), 1),
        wilson(hit, int(called.sum()), LEVEL),
        hit / int(is_same.sum()),
        wilson(hit, int(is_same.sum()), LEVEL),
        len(x),
        int(is_same.sum()),
        "best F1" if precision is None else f"precision >= {precision:g}",
        same_at,
    )


def wilson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Give Wilson's score interval of a share; (0, 1) where there is nothing to share.

    Examples
    --------
    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    if not n:
        return 0.0, 1.0
    z = float(norm.ppf((1 + level) / 2))
    share, weight = hits / n, z * z / n
    centre, half = share + weight / 2, z * np.sqrt(share * (1 - share) / n + weight / (4 * n))
    return max(float((centre - half) / (1 + weight)), 0.0), min(float((centre + half) / (1 + weight)), 1.0)


def _choose(x: Values, same: Flags, precision: float | None) -> float:
    """Choose among the middles between neighbouring similarities; ties of similarity stay together."""
    order = np.argsort(-x, kind="stable")
    x, hits = x[order], np.cumsum(same[order])
    last = np.r_[np.flatnonzero(np.diff(x)), len(x) - 1]  # calling everything down to here
    called, hits = last + 1, hits[last]
    if precision is None:
        best = int(np.argmax(2 * hits / (called + same.sum())))
    else:
        share = hits / called
        reached = np.flatnonzero(share >= precision)
        best = int(reached[-1]) if len(reached) else int(np.argmax(share))
    here = last[best]
    below = x[here + 1] if here + 1 < len(x) else x[here]
    return float((x[here] + below) / 2)


def _folds(same: Flags, groups: NDArray[np.int64] | None, seed: int) -> NDArray[np.int64]:
    """Give each pair a fold, groups whole; both kinds in every fold where groups allow it."""
    unit = np.arange(len(same)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(unit.max()) + 1
    kind = np.bincount(unit, same, minlength=count) / np.bincount(unit, minlength=count) >= 0.5
    rng = np.random.default_rng(seed)
    fold = np.empty(count, np.int64)
    for members in (np.flatnonzero(kind), np.flatnonzero(~kind)):
        fold[rng.permutation(members)] = np.arange(len(members)) % FOLDS
    return np.asarray(fold[unit])
