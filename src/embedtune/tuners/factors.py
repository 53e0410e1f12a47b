"""Items' vectors from who chose what: EASE in factors, what came next, and content for new items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import numpy as np

from embedtune.errors import UserError
from embedtune.mapped import release
from embedtune.training.budget import Budget
from embedtune.training.interactions import Interactions
from embedtune.transforms import Identity, ItemFactors, Pooled, Pooling
from embedtune.transforms.halves import halved
from embedtune.tuners.content import content_maps
from embedtune.tuners.cooccurrence import Spectrum, decompose, found
from embedtune.tuners.held import Held
from embedtune.tuners.next_items import mix, next_item_vectors, pooled_moment
from embedtune.types import Halves, Transform, Vectors

PENALTIES = (50.0, 200.0, 800.0)
HALF_LIVES = (None, 3.0, 5.0, 10.0, 30.0)
RATINGS = (0.0, 0.5)
BOOSTS = (1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)
"""What is tried on held-out interactions; wide steps, as the score hardly changes between them."""

COLD = 0.1
"""Share of the items that are hidden while settings are chosen, to stand for new ones."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class FactorsTuner:
    """Two vectors for each item, so that a pooled history finds the next items by inner product.

    Penalty, pooling and the boost of new items are chosen on each user's latest interactions, with a
    tenth of the items hidden, unless they are given.
    """

    name: ClassVar[str] = "factors"
    tasks: ClassVar[tuple[str, ...]] = ("recommendation",)
    needs: ClassVar[str] = "vectors"

    rank: int | None = None
    """Factors an item; None takes d - 1, so that the vectors keep their width."""
    following: float = 0.5
    """Share of the part that is fitted to what came next in histories; needs times. 0 is EASE."""
    penalty: float | None = None
    """EASE's λ; None chooses it."""
    pooling: Pooling | None = None
    """None chooses it."""
    boost: float | None = None
    """What the vectors of new items are multiplied by, as predictions are too short; None chooses it."""
    price: float = 0.1
    """Share of the known items' recall that may be paid for new items to be found at all."""
    shrink: float = 0.3
    """Penalty of the map from content, in units of the mean eigenvalue of its second moment."""

    def __post_init__(self) -> None:
        if not 0 <= self.following <= 1 or not 0 <= self.price < 1 or not self.shrink > 0:
            raise UserError(
                f"factors: following is {self.following}, price {self.price}, shrink {self.shrink}",
                fix="give shares from 0 to 1, and a shrink above 0",
            )

    def fit(self, train: Interactions, *, seed: int = 0, budget: Budget | None = None) -> Transform:
        """Choose what is not given, and fit; the identity where nothing was chosen by anyone.

        Raises
        ------
        OutOfTime
            When the budget ends first.
        """
        budget = budget or Budget()
        if not len(train):
            return Identity()
        chosen = self
        if self.penalty is None or self.pooling is None or self.boost is None:
            chosen = self._choose(train, seed, budget)
        spectrum = decompose(train.among_chosen.matrix(), self._rank(train), seed=seed, budget=budget)
        return chosen._fitted(train, spectrum, chosen.boost or 1.0)

    def _rank(self, train: Interactions) -> int:
        return self.rank or max(1, train.items.shape[1] - 1)

    def _fitted(self, train: Interactions, spectrum: Spectrum, boost: float) -> ItemFactors:
        """Fit with what is chosen."""
        pooling, among = self.pooling or Pooling(), train.among_chosen
        rows = np.flatnonzero(train.popularity)
        history, _ = halved(History(spectrum, self.penalty or PENALTIES[1]), scale=1.0)
        after: Vectors | Ease = Ease(history)
        if self.following and train.time is not None:
            after = next_item_vectors(among, history, pooling)
            mix(after, history, self.following, pooled_moment(among.matrix(pooling), history))
        maps = content_maps(train.items, rows, (history, after), self.shrink)
        table, scale = halved(after)
        return ItemFactors(
            tuple(train.item_ids[row] for row in rows.tolist()),
            history,
            table,
            maps[0],
            np.float32(boost * scale) * maps[1],
            width=max(train.items.shape[1] if self.rank is None else 0, history.shape[1] + 1),
            pooling=pooling,
        )

    def _choose(self, train: Interactions, seed: int, budget: Budget) -> FactorsTuner:
        """Choose half-life, penalty and ratings with EASE's factors, then the boost."""
        rng = np.random.default_rng(seed)
        hidden = rng.random(len(train.items)) < COLD
        last = train.last(seed=seed)
        held = replace(Held.of(train, last, hidden, rng), budget=budget)
        fallback = replace(
            self,
            penalty=self.penalty or PENALTIES[1],
            pooling=self.pooling or Pooling(),
            boost=self.boost or 1.0,
        )
        if not len(held.rows):
            return fallback
        spectrum = decompose(held.train.among_chosen.matrix(), self._rank(train), seed=seed, budget=budget)
        asked = (self._rank(train), self.penalty, self.pooling, seed)
        best = fallback
        if self.penalty is None or self.pooling is None:
            if asked not in train.settled:
                train.settled[asked] = self._with_ease(held, spectrum, train)
            penalty, pooling = train.settled[asked]
            best = replace(best, penalty=penalty, pooling=pooling)
        return (
            best
            if self.boost
            else replace(best, boost=self._boost(held, best._fitted(held.train, spectrum, 1.0)))
        )

    def _with_ease(self, held: Held, spectrum: Spectrum, train: Interactions) -> tuple[float, Pooling]:
        """Choose half-life, penalty and ratings in turn with EASE's factors: whatever is fitted after."""
        penalty = self.penalty or PENALTIES[1]
        lives = [self.pooling] if self.pooling else _half_lives(train)
        pooling = _best(lives, held.plain(spectrum, penalty, lives))
        penalties = (self.penalty,) if self.penalty else PENALTIES
        penalty = _best(penalties, [held.plain(spectrum, one, [pooling])[0] for one in penalties])
        spread = 0.0 if train.rating is None else float(np.std(train.rating, dtype=np.float64))
        if self.pooling is None and spread > 0:
            others = [replace(pooling, rating=slope, spread=spread) for slope in RATINGS]
            pooling = _best(others, held.plain(spectrum, penalty, others))
        return penalty, pooling

    def _boost(self, held: Held, fitted: ItemFactors) -> float:
        """Give the largest boost that costs known items no more than the price."""
        best, scores = 1.0, held.boosted(fitted, BOOSTS)
        for boost, warm in zip(BOOSTS, scores, strict=True):
            if warm < scores[0] * (1 - self.price):
                break
            best = boost
        return best


def _best(settings: Sequence[T], scores: Sequence[float]) -> T:
    """Give the setting with the best score; of equal ones the first."""
    return settings[int(np.argmax(scores))]


@dataclass(frozen=True)
class History:
    """EASE's ``u`` of items, (N, r), worked out from singular vectors whenever some are asked for."""

    spectrum: Spectrum
    penalty: float

    @property
    def shape(self) -> tuple[int, int]:
        """(N, r)."""
        return len(self.spectrum.items), len(self.spectrum.values)

    def __getitem__(self, rows: slice) -> Vectors:
        return self.spectrum.rows(rows) * self.spectrum.roots(self.penalty)


@dataclass(frozen=True)
class Ease:
    """EASE's ``v`` of items, (N, r), worked out from their ``u`` whenever some are asked for."""

    u: Halves

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, r)."""
        return self.u.shape

    def __getitem__(self, rows: slice) -> Vectors:
        u = self.u[rows].astype(np.float32)
        release(self.u)
        return found(u)


@dataclass(frozen=True, kw_only=True)
class PoolingTuner:
    """Vectors as they are; the pooling of histories is chosen on each user's latest interactions."""

    name: ClassVar[str] = "pooling"
    tasks: ClassVar[tuple[str, ...]] = ("recommendation",)
    needs: ClassVar[str] = "vectors"

    def fit(self, train: Interactions, *, seed: int = 0, budget: Budget | None = None) -> Transform:
        """Give the vectors' own map, with the best of a few half-lives."""
        held = Held.of(
            train, train.last(seed=seed), np.zeros(len(train.items), bool), np.random.default_rng(seed)
        )
        if not len(held.rows):
            return Pooled()
        lives = _half_lives(train)
        return Pooled(_best(lives, held.pooled(lives)))


def _half_lives(train: Interactions) -> list[Pooling]:
    return [Pooling(half_life=h) for h in (HALF_LIVES if train.time is not None else (None,))]
