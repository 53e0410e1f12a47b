"""Items' vectors from who chose what: EASE in factors, what came next, and content for new items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError
from embedtune.judging.metrics import evaluate_ranks
from embedtune.mapped import release
from embedtune.search import positive_ranks
from embedtune.transforms import Identity, ItemFactors, Pooled, Pooling
from embedtune.transforms.by_block import BLOCK, mapped_documents, pooled_histories
from embedtune.transforms.halves import halved
from embedtune.tuners.base import Budget
from embedtune.tuners.content import content_maps
from embedtune.tuners.cooccurrence import Spectrum, decompose, found
from embedtune.tuners.interactions import Interactions
from embedtune.tuners.next_items import mix, next_item_vectors, pooled_moment
from embedtune.types import Halves, Transform, Vectors

PENALTIES = (50.0, 200.0, 800.0)
HALF_LIVES = (None, 3.0, 5.0, 10.0, 30.0)
RATINGS = (0.0, 0.5)
BOOSTS = (1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)
"""What is tried on held-out interactions; wide steps, as the score hardly changes between them."""

USERS = 200
"""Users that settings are chosen on, at most."""

COLD = 0.1
"""Share of the items that are hidden while settings are chosen, to stand for new ones."""

METRIC = "recall@20"


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
        """Choose half-life, penalty and ratings in turn with EASE's factors, then the boost."""
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
        best = fallback
        if self.penalty is None or self.pooling is None:
            penalty = self.penalty or PENALTIES[1]
            lives = [self.pooling] if self.pooling else _half_lives(train)
            pooling = max(lives, key=lambda one: held.plain(spectrum, penalty, one))
            penalties = (self.penalty,) if self.penalty else PENALTIES
            penalty = max(penalties, key=lambda one: held.plain(spectrum, one, pooling))
            spread = 0.0 if train.rating is None else float(np.std(train.rating, dtype=np.float64))
            if self.pooling is None and spread > 0:
                others = [replace(pooling, rating=slope, spread=spread) for slope in RATINGS]
                pooling = max(others, key=lambda one: held.plain(spectrum, penalty, one))
            best = replace(best, penalty=penalty, pooling=pooling)
        return (
            best
            if self.boost
            else replace(best, boost=self._boost(held, best._fitted(held.train, spectrum, 1.0)))
        )

    def _boost(self, held: Held, fitted: ItemFactors) -> float:
        """Give the largest boost that costs known items no more than the price."""
        best, full = 1.0, None
        for boost in BOOSTS:
            one = replace(fitted, content_found=np.float32(boost) * fitted.content_found)
            warm = held.score(one)
            full = warm if full is None else full
            if warm < full * (1 - self.price):
                break
            best = boost
        return best


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
        return max((Pooled(pooling) for pooling in _half_lives(train)), key=held.score)


def _half_lives(train: Interactions) -> list[Pooling]:
    return [Pooling(half_life=h) for h in (HALF_LIVES if train.time is not None else (None,))]


@dataclass(frozen=True)
class Held:
    """Latest interactions of some users, held out while settings are chosen."""

    train: Interactions
    """Without them, and without hidden items."""
    rows: NDArray[np.int64]
    """Users that are judged."""
    targets: Interactions
    """What is held out on items that are known."""
    budget: Budget = field(default_factory=Budget)
    """When to stop asking."""

    @classmethod
    def of(
        cls,
        whole: Interactions,
        last: NDArray[np.bool_],
        hidden: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> Held:
        """Hold out the interactions marked ``last``, and everything on ``hidden`` items."""
        train = whole.take(~last & ~hidden[whole.item])
        targets = whole.take(last & (train.popularity > 0)[whole.item])
        rows = np.flatnonzero((targets.counts > 0) & (train.counts > 0))
        if len(rows) > USERS:
            rows = np.sort(rng.choice(rows, USERS, replace=False))
        return cls(train, rows, targets)

    def _mean(self, queries: Vectors, mapped: Callable[[slice], Vectors]) -> float:
        self.budget.check()
        relevance = self.targets.matrix()[self.rows]
        seen = self.train.matrix()[self.rows]
        relevance.sort_indices()
        items = self.train.items
        ranks = positive_ranks(queries, items, relevance, block=BLOCK, exclude=seen, document_map=mapped)
        return float(evaluate_ranks(ranks, relevance, [METRIC])[METRIC].mean())

    def plain(self, spectrum: Spectrum, penalty: float, pooling: Pooling) -> float:
        """Recall of EASE's factors with a pooling; the spectrum has the chosen items alone."""
        roots, chosen = spectrum.roots(penalty), np.flatnonzero(self.train.popularity)
        among = self.train.among_chosen
        weights = among.matrix(pooling)[self.rows]
        known = np.unique(weights.indices)
        pooled = np.asarray(weights[:, known] @ spectrum.rows(known), np.float32)

        def mapped(rows: slice) -> Vectors:
            start, stop, _ = rows.indices(len(self.train.items))
            first, end = np.searchsorted(chosen, (start, stop))
            out = np.zeros((stop - start, len(roots)), np.float32)
            out[chosen[first:end] - start] = found(spectrum.rows(slice(first, end)) * roots)
            return out

        return self._mean(pooled * roots, mapped)

    def score(self, transform: ItemFactors | Pooled) -> float:
        """Recall of a whole map, known and new items ranked together."""
        x, ids = self.train.items, self.train.item_ids
        weights = self.train.matrix(transform.pooling)[self.rows]
        pooled = pooled_histories(transform, x, ids, weights)
        return self._mean(pooled, mapped_documents(transform, x, ids))
