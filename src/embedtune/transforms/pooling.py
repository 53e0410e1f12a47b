"""How a user's history becomes one query vector: what each interaction weighs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError
from embedtune.transforms.blocks import as_block, unit_length
from embedtune.transforms.identity import Identity
from embedtune.types import Similarity, Transform, Vectors

_LEAST = 0.1
"""Weight that a low rating keeps: to have chosen an item says something even where it did not please."""


@dataclass(frozen=True)
class Pooling:
    """A user's query is the weighted sum of the history vectors of the items in the history.

    Parameters
    ----------
    half_life : float, optional
        Interactions after which a weight has halved, counted back from the user's latest; None
        weighs all alike. Counted in interactions, not in days, so that it suits users of any pace.
    rating : float
        What a rating one ``spread`` above the user's mean adds to the weight 1; 0 ignores ratings.
    spread : float
        Standard deviation of the ratings.

    Examples
    --------
    >>> Pooling(half_life=1).weights(np.array([2, 1, 0])).tolist()
    [0.25, 0.5, 1.0]
    """

    half_life: float | None = None
    rating: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        if (self.half_life is not None and not self.half_life > 0) or not self.spread > 0:
            raise UserError(
                f"pooling: half_life is {self.half_life} and spread {self.spread}",
                fix="give numbers above 0",
            )

    def weights(
        self, age: NDArray[Any], liking: NDArray[np.floating[Any]] | None = None
    ) -> NDArray[np.float32]:
        """Weigh interactions.

        Parameters
        ----------
        age : array of shape (t,)
            0 for the user's latest interaction, 1 for the one before; 0 for all where time is not known.
        liking : array of shape (t,), optional
            Rating minus the user's mean rating; None where there are no ratings.
        """
        weight = np.ones(len(age)) if self.half_life is None else 0.5 ** (age / self.half_life)
        if liking is not None and self.rating:
            weight = weight * np.maximum(1 + self.rating * liking / self.spread, _LEAST)
        return np.asarray(weight, np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Give the settings, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Pooled:
    """Vectors as they are, with a pooling of histories that was learned for them."""

    pooling: Pooling = field(default_factory=Pooling)
    kind: ClassVar[str] = "pooled"

    def queries(self, x: Vectors) -> Vectors:
        """Give ``x`` itself."""
        return as_block(x)

    def documents(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Give ``x`` itself."""
        return as_block(x)

    def scaled(self, strength: float) -> Pooled | Identity:
        """Give the identity for 0, and the same for anything else: no vector moves."""
        return self if strength else Identity()

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give the pooling's settings; there are no tensors."""
        return {}, {"pooling": self.pooling.to_dict()}

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Pooled:
        """Rebuild what ``state`` gave."""
        return cls(Pooling(**settings["pooling"]))


def history_vectors(transform: Transform, x: Vectors, ids: Sequence[str] | None) -> Vectors:
    """Give what items (n, d) add to a history's sum: ``histories`` where the map has it, else ``queries``."""
    histories = getattr(transform, "histories", None)
    return transform.queries(x) if histories is None else np.asarray(histories(x, ids), np.float32)


def pooling_of(transform: Transform) -> Pooling:
    """Give the pooling that a map was fitted with; the plain mean where it knows of none."""
    found = getattr(transform, "pooling", None)
    return found if isinstance(found, Pooling) else Pooling()


def latest_choices(
    history: Sequence[str], ratings: Sequence[float] | None = None
) -> tuple[list[str], NDArray[np.float64] | None]:
    """Keep of a choice made twice the latest, as the tuners do.

    Parameters
    ----------
    history : sequence of str
        Ids of items, from the earliest to the latest.
    ratings : sequence of float, optional
        One for each.

    Returns
    -------
    ids : list of str
        Each once, in the same order.
    liking : float64 array of shape (len(ids),), or None
        Rating minus the mean rating of those kept.

    Raises
    ------
    UserError
        When the history is empty, or ratings are not one finite number an item.

    Examples
    --------
    >>> latest_choices(["a", "b", "a"], [1, 2, 4])
    (['b', 'a'], array([-1.,  1.]))
    """
    if not len(history):
        raise UserError("the history is empty", fix="give the id of at least one item")
    last = {name: place for place, name in enumerate(history)}
    kept = sorted(last.values())
    ids = [history[place] for place in kept]
    if ratings is None:
        return ids, None
    given = np.asarray(ratings, np.float64)
    if given.shape != (len(history),) or not np.isfinite(given).all():
        raise UserError(
            f"{len(ratings)} ratings for a history of {len(history)} items",
            fix="give one finite number for each item",
        )
    return ids, given[kept] - given[kept].mean()


def pooled_history(
    transform: Transform,
    x: Vectors,
    ids: Sequence[str] | None,
    liking: NDArray[np.float64] | None = None,
    similarity: Similarity = "cosine",
) -> Vectors:
    """Make one user's query, with the pooling that the map was fitted with.

    Parameters
    ----------
    transform : Transform
    x : float32 array of shape (t, d)
        The base's vectors of the items chosen, from the earliest to the latest.
    ids : sequence of str, optional
        Their ids, for maps that know items.
    liking : float array of shape (t,), optional
        Rating minus the user's mean rating.
    similarity : str
        ``"cosine"`` brings the query to unit length.

    Returns
    -------
    float32 array of shape (1, d')
    """
    age = np.arange(len(x))[::-1]
    weights = pooling_of(transform).weights(age, liking)
    query = np.asarray(weights[None] @ history_vectors(transform, x, ids), np.float32)
    return unit_length(query) if similarity == "cosine" else query
