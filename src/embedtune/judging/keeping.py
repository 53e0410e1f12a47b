"""Hold maps so close to the base that a share of the probes' neighbours is kept."""

from __future__ import annotations

from dataclasses import dataclass

from embedtune.errors import UserError
from embedtune.judging.retention import ProbeSet
from embedtune.transforms import Identity, then
from embedtune.types import Transform

STEPS = (0.01, 0.02, 0.03, 0.04, *(round(0.05 * step, 2) for step in range(1, 41)))
"""Strengths that are tried below the one asked for, finer near the base."""


def checked_share(keep: float | None) -> float | None:
    """Give a share to keep as a float.

    Raises
    ------
    UserError
        When it is no number from 0 to 1.
    """
    if keep is None:
        return None
    try:
        share = float(keep)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share <= 1:
        raise UserError(f"keep is {keep}", fix="give the share of neighbours to keep, from 0 to 1")
    return share


@dataclass(frozen=True, eq=False)
class Keep:
    """The share of the probes' neighbours that every map has to keep; 1 is: nothing may move."""

    share: float
    probes: ProbeSet

    def held(self, below: Transform, fitted: Transform) -> Held:
        """Give a map, which is applied after ``below``, that goes only so far."""
        return Held(self, below, fitted)


class Held:
    """A fitted map that can be followed only as far as it keeps what has to be kept."""

    def __init__(self, keep: Keep, below: Transform, fitted: Transform) -> None:
        self._keep, self._below, self.fitted = keep, below, fitted
        self._known: dict[float, bool] = {}

    def strength(self, asked: float) -> float:
        """Give the largest strength up to ``asked`` that keeps the share; 0 where none does."""
        if self._keep.share >= 1:
            return 0.0
        if self._keep.share <= 0 or isinstance(self.fitted, Identity):
            return asked
        below = [step for step in STEPS if step < asked]
        return next((step for step in (asked, *reversed(below)) if self._keeps(step)), 0.0)

    def scaled(self, asked: float) -> Transform:
        """Give the map at :meth:`strength`."""
        strength = self.strength(asked)
        return Identity() if strength == 0 else self.fitted.scaled(strength)

    def _keeps(self, strength: float) -> bool:
        if strength not in self._known:
            try:
                whole = then(self._below, self.fitted.scaled(strength))
            except UserError:  # a map that cannot be followed in part
                self._known[strength] = False
            else:
                self._known[strength] = self._keep.probes.kept(whole) >= self._keep.share
        return self._known[strength]
