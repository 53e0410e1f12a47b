"""Several transforms, one after the other, kept as short as they can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.transforms.blocks import as_block
from embedtune.transforms.identity import Identity
from embedtune.transforms.linear import Linear
from embedtune.transforms.pooling import Pooling, history_vectors
from embedtune.types import Transform, Vectors


@dataclass(frozen=True, eq=False)
class Chain:
    """Apply ``parts`` in order; chains inside are flattened, identities dropped, linear neighbours folded."""

    parts: tuple[Transform, ...] = ()
    kind: ClassVar[str] = "chain"

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(_simplified(self.parts)))

    def queries(self, x: Vectors) -> Vectors:
        """Map queries (n, d) through every part."""
        x = as_block(x)
        for part in self.parts:
            x = part.queries(x)
        return x

    def documents(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Map documents (n, d) through every part; ``ids`` go to each."""
        x = as_block(x)
        for part in self.parts:
            x = part.documents(x, ids)
        return x

    def histories(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Map what items (n, d) add to a history's sum through every part; ``ids`` go to each."""
        x = as_block(x)
        for part in self.parts:
            x = history_vectors(part, x, ids)
        return x

    @property
    def pooling(self) -> Pooling | None:
        """The pooling of histories of the last part that was fitted with one; None where none was."""
        found = (getattr(part, "pooling", None) for part in reversed(self.parts))
        return next((one for one in found if isinstance(one, Pooling)), None)

    def scaled(self, strength: float) -> Transform:
        """Scale every part: 0 is the identity, 1 the chain itself."""
        if strength == 1:
            return self
        if strength == 0:
            return Identity()
        return _unwrapped(Chain(tuple(part.scaled(strength) for part in self.parts)))

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give the tensors of all parts, their names headed by the part's number, and the parts' settings."""
        tensors: dict[str, NDArray[Any]] = {}
        parts = []
        for position, part in enumerate(self.parts):
            own, settings = part.state()
            tensors |= {f"{position}.{name}": tensor for name, tensor in own.items()}
            parts.append({"kind": part.kind, "settings": settings})
        return tensors, {"parts": parts}

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Chain:
        """Rebuild what ``state`` gave; every part's kind must be in the registry."""
        from embedtune.transforms import TRANSFORMS

        parts = []
        for position, part in enumerate(settings["parts"]):
            head = f"{position}."
            own = {name.removeprefix(head): t for name, t in tensors.items() if name.startswith(head)}
            parts.append(TRANSFORMS.load(part["kind"]).from_state(own, part["settings"]))
        return cls(tuple(parts))


def then(first: Transform, second: Transform) -> Transform:
    """Give ``first`` followed by ``second``, in its shortest form: a chain only where one is needed."""
    return _unwrapped(Chain((first, second)))


def parts_of(transform: Transform) -> tuple[Transform, ...]:
    """Give what a map applies, in order: the parts of a chain, or the map itself."""
    return transform.parts if isinstance(transform, Chain) else (transform,)


def _unwrapped(chain: Chain) -> Transform:
    if not chain.parts:
        return Identity()
    return chain.parts[0] if len(chain.parts) == 1 else chain


def _simplified(parts: Iterable[Transform]) -> list[Transform]:
    kept: list[Transform] = []
    for part in parts:
        for one in parts_of(part):
            if isinstance(one, Identity):
                continue
            last = kept[-1] if kept else None
            folded = _folded(last, one) if isinstance(last, Linear) and isinstance(one, Linear) else None
            if folded is None:
                kept.append(one)
            else:
                kept[-1] = folded
    return kept


def _folded(first: Linear, second: Linear) -> Linear | None:
    """Fold two linear maps into one, or give None where a normalisation in between would be lost.

    W₂ normalise(W₁x) and W₂W₁x point the same way, so what ``first`` does to lengths does not matter
    where ``second`` normalises.
    """
    query, query_normalise = _folded_side(first.query, second.query, first.normalise, second.normalise)
    document, document_normalise = _folded_side(
        first.document, second.document, first.normalise, second.normalise
    )
    wanted = query_normalise | document_normalise
    if len(wanted) != 1:
        return None
    if first.sides == second.sides == "shared":
        document = query
    return Linear(query, document, wanted.pop())


def _folded_side(
    first: Vectors | None,
    second: Vectors | None,
    first_normalises: bool,
    second_normalises: bool,
) -> tuple[Vectors | None, set[bool]]:
    """Give one side's folded matrix, and the ways of normalising it needs: none, one, or both (no fold)."""
    if first is None and second is None:
        return None, set()
    if second is None:
        return first, {first_normalises}
    if first is None:
        return second, {second_normalises}
    product = (second.astype(np.float64) @ first.astype(np.float64)).astype(np.float32)
    lost = first_normalises and not second_normalises
    return product, {True, False} if lost else {second_normalises}
