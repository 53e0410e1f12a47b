"""How a user's history becomes one query vector: what each interaction weighs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError
from embedtune.transforms.blocks import as_block
from embedtune.transforms.identity import Identity
from embedtune.types import Transform, Vectors

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
