"""What an apply did, or would do, as data and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from embedtune.stores.base import Nulls
from embedtune.stores.probing import Compared
from embedtune.stores.verify import Verified


@dataclass(frozen=True)
class Applied:
    """What :func:`apply` did, or would do."""

    store: str
    """The URL, without secrets."""
    version: str
    """What the new version is called; empty where nothing needs writing."""
    status: str
    """``"switched"``, ``"nothing to write"`` or ``"dry run"``."""
    rows: int = 0
    """Rows with a vector."""
    bytes: int = 0
    """Room that the new vectors take, without indexes."""
    minutes: float = 0.0
    """What it took; in a dry run, about what it will take."""
    dimension: int = 0
    written: int = 0
    """Rows written by this run; fewer than all where an earlier one was cut short."""
    nulls: Nulls = field(default_factory=Nulls)
    probes: float | None = None
    """Median cosine of stored vectors and the same texts encoded again; None where there were no texts."""
    compared: Compared = ""
    """What told that the vectors are the base's: ``"texts"`` encoded again; else the base's
    ``"fingerprint"``, which is that of an earlier run that encoded texts; else ``"dimensions"`` alone."""
    probe: bool = True
    """Whether texts were to be encoded again."""
    index: str = ""
    verified: Verified | None = None
    remark: str = ""
    """What readers of this kind of store should know about the switch."""

    def to_dict(self) -> dict[str, Any]:
        """Give it ready for JSON."""
        return asdict(self)

    def text(self) -> str:
        """Tell it to people."""
        if self.status == "nothing to write":
            return (
                "nothing to write: this model maps queries alone, so the stored vectors serve as they are; "
                "encode queries with it (embedtune.load(DIR).encode_queries)"
            )
        lines = []
        size = f"{self.rows:,} rows, {self.bytes / 1e6:,.0f} MB of new vectors ({self.dimension} dimensions)"
        if self.status == "dry run":
            lines.append(
                f"would write version {self.version}: {size}, "
                f"about {self.minutes:.1f} minutes without indexes"
            )
        else:
            lines.append(f"switched to version {self.version}: {size}, {self.written:,} written in this run")
        lines += self._base()
        if self.nulls.count:
            first = ", ".join(map(str, self.nulls.first))
            lines.append(f"{self.nulls.count:,} rows have no vector and are kept as they are: {first}")
        if self.verified is not None:
            lines += self._checks(self.verified)
        if self.remark:
            lines.append(self.remark)
        return "\n".join(lines)

    def _base(self) -> list[str]:
        """Say how far it is known that the vectors are the base's."""
        if self.compared == "texts":
            likeness = f"median cosine {self.probes:.4f} on texts encoded again"
            return [f"the stored vectors are the base's: {likeness}"]
        if self.compared == "fingerprint":
            return [
                "no text was encoded again: the base is the one that an earlier run has proved; whether the "
                "vectors have changed since was not looked at"
            ]
        if self.compared == "dimensions":
            fix = "give --data, or name the store's texts with text= in the URL"
            return [
                "whether the stored vectors are the base's was not looked at, only their dimensions: "
                + (fix if self.probe else "leave --no-probe out")
            ]
        return []

    def _checks(self, found: Verified) -> list[str]:
        lines = [f"verified: {found.rows:,} rows are there"]
        if found.checksum:
            lines[0] += f"; {found.sample:,} of them are what the map gives (checksum {found.checksum[:12]})"
        if found.recall == found.recall:
            lines.append(f"recall@10 against exact search: {found.recall:.3f}")
        if found.effort is not None:
            lines[-1] += (
                f" with {found.effort} candidates (hnsw.ef_search or the like): set it where you search"
            )
        if found.metric:
            m = found.metric
            lines.append(
                f"nDCG@10 of {m['queries']:,} labelled queries inside the store: "
                + (f"{m['base']:.4f} before, " if "base" in m else "")
                + f"{m['store']:.4f} now ({m['offline']:.4f} computed here); the difference, "
                f"{m['difference']:+.4f} (95 % interval {m['difference_low']:+.4f} to "
                f"{m['difference_high']:+.4f}), is within noise"
            )
        return lines
