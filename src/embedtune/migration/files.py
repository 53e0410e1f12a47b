"""A bridge on disk: the map, the report, and the order in which to re-embed."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedtune import manifest as manifests
from embedtune.artifact.probes import TOLERANCE
from embedtune.errors import ArtifactError, VectorError
from embedtune.folders import new_folder
from embedtune.migration.migrate import Migration
from embedtune.transforms import load_transform, save_transform
from embedtune.transforms.bridge import Bridge
from embedtune.types import Vectors

FORMAT = "embedtune-bridge"
FORMAT_VERSION = 1
ORDER = "order.parquet"


@dataclass(frozen=True, eq=False)
class SavedBridge:
    """A bridge as it was saved: stored vectors of the old model in, vectors of the new model's space out."""

    transform: Bridge
    manifest: dict[str, Any]
    folder: Path

    def documents(self, stored: Vectors) -> Vectors:
        """Map stored vectors, float32 (n, d), to (n, d'); unit length if the new similarity is cosine.

        Raises
        ------
        VectorError
            When the vectors have another width than the old model's.
        """
        return self.transform.documents(stored)

    def order(self) -> pa.Table:
        """Give the columns ``id``, ``expected_error`` and ``place``: what to re-embed first."""
        return pq.read_table(self.folder / ORDER)


def save_bridge(migration: Migration, folder: str | Path) -> Path:
    """Save as a folder that appears whole or not at all; the same inputs give the same bytes.

    Raises
    ------
    OutputExists
        When ``folder`` exists.
    DiskFull
        When there is no room; nothing is left behind.
    """
    target = Path(folder).expanduser()
    with new_folder(target) as out:
        entry = save_transform(migration.bridge, out, "bridge")
        pq.write_table(_order(migration), out / ORDER)
        report = migration.to_dict()
        report.pop("seconds")  # a manifest tells nothing of the machine
        manifest = manifests.plain(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "embedtune": importlib.metadata.version("embedtune"),
                "old": report.pop("old"),
                "new": report.pop("new"),
                "transform": entry,
                "check": _check(migration.bridge),
                "report": report,
            }
        )
        (out / "README.md").write_text(_card(manifest), "utf-8")
        manifest["files"] = manifests.checksums(out)
        manifests.write_json(manifest, out / manifests.NAME)
    return target


def load_bridge(folder: str | Path) -> SavedBridge:
    """Load what :func:`save_bridge` wrote; every file's checksum is compared.

    Raises
    ------
    ArtifactError
        When the folder is missing, foreign, damaged or of a newer format.
    """
    place = Path(folder).expanduser()
    path = place / manifests.NAME
    try:
        read = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"this is not a bridge: it has no {manifests.NAME}", where=str(place), fix="check the path"
        ) from None
    except ValueError as error:
        raise ArtifactError(
            f"the manifest is not JSON ({error})", where=str(path), fix=manifests.AGAIN
        ) from None
    if not isinstance(read, dict) or read.get("format") != FORMAT:
        raise ArtifactError("this is not a bridge", where=str(path), fix="check the path")
    if not isinstance(read.get("format_version"), int) or read["format_version"] > FORMAT_VERSION:
        raise ArtifactError("the bridge is of a newer format", where=str(path), fix="upgrade embedtune")
    try:
        if read["transform"]["file"] not in read["files"]:
            raise KeyError("files")
        manifests.check_files(place, read)
        transform = load_transform(read["transform"], place)
        check = np.asarray(read["check"], np.float32)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"the manifest is incomplete ({error})", where=str(path), fix=manifests.AGAIN
        ) from None
    if not isinstance(transform, Bridge):
        raise ArtifactError("what is saved here is not a bridge", where=str(path))
    try:
        wrong = np.abs(_check(transform) - check).max() > TOLERANCE
    except (ValueError, VectorError):
        wrong = True
    if wrong:
        raise ArtifactError(
            "the bridge gives other vectors than when it was saved", where=str(path), fix=manifests.AGAIN
        )
    return SavedBridge(transform, read, place)


def is_bridge(folder: Path) -> bool:
    """Say whether a folder holds a bridge, whole or not."""
    try:
        read = json.loads((folder / manifests.NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(read, dict) and read.get("format") == FORMAT


def _check(bridge: Bridge) -> Vectors:
    """Give the first numbers of what the bridge makes of three axes, to see that it still does."""
    return bridge.documents(np.eye(bridge.matrix.shape[1], dtype=np.float32)[:3])[:, :8]


def _order(migration: Migration) -> pa.Table:
    rows = migration.order
    return pa.table(
        {
            "id": [migration.document_ids[row] for row in rows.tolist()],
            "expected_error": migration.expected[rows].astype(np.float32),
            "place": np.arange(1, len(rows) + 1),
        }
    )


def _card(manifest: dict[str, Any]) -> str:
    old, new, report = manifest["old"], manifest["new"], manifest["report"]
    reasons = "\n".join(f"- {reason}" for reason in report["reasons"])
    return f"""# From {old["name"]} to {new["name"]}

A map of stored vectors ({old["dimension"]} dimensions) into the space of {new["name"]}
({new["dimension"]}), learned from {report["sampled"]} documents encoded by both ({report["method"]}).

## Advice: {report["advice"]}

{reasons}

## Use

```python
from embedtune.migration import load_bridge

bridge = load_bridge("this folder")
vectors = bridge.documents(stored)  # and encode queries, and new documents, with {new["name"]}
```

`{ORDER}` lists the documents, the one first whose vector is expected to be furthest from what the new
model would give (weighed by traffic, where that was known). Documents that were re-embedded and documents
that were mapped lie in one space and can be served together.
"""
