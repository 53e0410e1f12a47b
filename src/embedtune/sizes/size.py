"""Smaller vectors as they were judged: a row of quality against bytes, and the table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

WITHIN = 0.02
"""Share of the full vectors' score that smaller ones may lose."""

LEVEL = 0.05
"""A loss with a p-value below this is no noise: one-sided overall, two-sided in a stratum."""


@dataclass(frozen=True)
class Size:
    """Smaller vectors, judged beside the full ones on the same held-out queries."""

    dims: int
    kind: str
    """``"float32"``, ``"int8"``, ``"int4"`` or ``"binary"``; queries are float32 always."""
    bytes: int
    """Bytes a document."""
    score: float
    """Mean out of fold, strata in the shares of traffic."""
    share_of_full: float
    ci95: tuple[float, float]
    """Of ``score`` less that of the full vectors."""
    p_value: float
    """One-sided: how often chance alone would lose so much."""
    harms: str | None = None
    """The stratum that loses, if any."""
    test: float | None = None
    """Mean on the test split, where there is one; it takes no part in choosing."""
    test_share: float | None = None
    chosen: bool = False
    how: str = "projection"
    """What makes the vectors shorter: ``"projection"``, learned; or ``"prefix"``: their leading dimensions,
    where the weights were trained for that."""

    @property
    def within_noise(self) -> bool:
        """Whether it is as good as the full vectors, as far as can be told."""
        return self.share_of_full >= 1 - WITHIN and self.p_value >= LEVEL and self.harms is None

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON-able data."""
        return {**asdict(self), "ci95": list(self.ci95)}


def size_of(kind: str, dims: int) -> int:
    """Give the bytes of a document's vector."""
    return {"float32": 4 * dims, "int8": dims, "int4": -(-dims // 2), "binary": -(-dims // 8)}[kind]


def size_lines(sizes: Sequence[Any]) -> list[str]:
    """Give the table of sizes, as ``to_dict`` gives them, for people."""
    if not sizes:
        return []
    test = sizes[0]["test"] is not None
    lines = ["smaller vectors (share of the full vectors' score; queries stay float32):"]
    for one in sizes:
        on_test = f", on test {one['test_share']:.1%}" if test else ""
        lines.append(
            f"  {one['dims']:>5} x {one['kind']:<8}{one['bytes']:>6,} bytes  {one['score']:.3f}  "
            f"{one['share_of_full']:.1%}{on_test}{'  leading' if one['how'] == 'prefix' else ''}"
            f"{'  <- chosen' if one['chosen'] else ''}"
        )
    return lines
