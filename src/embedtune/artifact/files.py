"""What an artifact's folder holds: written from a tuned model, read back into the parts of one."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedtune import manifest as manifests
from embedtune.artifact.card import model_card
from embedtune.artifact.deferred import deferred_base, describe_base
from embedtune.artifact.probes import Probes
from embedtune.artifact.reference import Reference
from embedtune.artifact.stock import write_stock, write_tuned_base
from embedtune.errors import ArtifactError
from embedtune.transforms import Identity, load_transform, save_transform, then
from embedtune.transforms.chain import parts_of
from embedtune.types import Encoder, Transform

if TYPE_CHECKING:
    from embedtune.artifact.tuned import Tuned
    from embedtune.judging.threshold import Threshold


def write_artifact(tuned: Tuned, out: Path) -> dict[str, Any]:
    """Write all files of ``tuned`` into the empty folder ``out``, and give the manifest."""
    stock = write_stock(tuned.encoder, tuned.transform, out)
    probes = Probes.make(tuned.encoder, tuned.transform)
    written: dict[str, Any] = {
        "format": manifests.FORMAT,
        "format_version": manifests.FORMAT_VERSION,
        "embedtune": importlib.metadata.version("embedtune"),
        "base": {
            **describe_base(tuned.encoder),
            "files": stock.base_files or write_tuned_base(tuned.encoder, out),
        },
        "similarity": tuned.similarity,
        "dimension": probes.documents.shape[1],
        "transforms": _save_transforms(tuned.transform, out),
        "data": tuned.data,
        "seed": tuned.seed,
        "settings": tuned.settings,
        "metrics": tuned.metrics,
        "verdict": tuned.verdict,
        "probes": probes.save(out),
        "stock_loader": stock.loader,
        "stock_why": stock.why,
        "stock_routed": stock.routed,
    }
    if tuned.head is not None:
        from embedtune.heads.files import save_head

        written["head"] = save_head(tuned.head, out, written["dimension"])
    if tuned.threshold is not None:
        written["threshold"] = tuned.threshold.to_dict()
    if tuned.reference is not None:
        written["reference"] = tuned.reference.save(out)
    written = manifests.plain(written)
    (out / "README.md").write_text(model_card(written), "utf-8")
    written["files"] = manifests.checksums(out)
    manifests.write_json(written, out / manifests.NAME)
    return written


def read_artifact(
    place: Path,
    *,
    verify: bool = True,
    base: str | Path | Encoder | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Read a folder that :func:`write_artifact` filled into the parts of a tuned model.

    Parameters
    ----------
    place : pathlib.Path
        The folder.
    verify : bool
        Whether to compare the checksums of all files.
    base, options
        As for :meth:`embedtune.artifact.tuned.Tuned.load`.

    Raises
    ------
    ArtifactError
        When the folder is missing, foreign, damaged or of a newer format.
    """
    read = manifests.read_manifest(place)
    if verify:
        manifests.check_files(place, read)
    try:
        transform: Transform = Identity()
        for entry in read["transforms"]:
            transform = then(transform, load_transform(entry, place))
        parts: dict[str, Any] = {
            "encoder": deferred_base(place, read, transform, base, options),
            "transform": transform,
            "manifest": read,
            "verdict": read.get("verdict"),
            "metrics": read.get("metrics") or {},
            "data": read.get("data") or {},
            "settings": read.get("settings") or {},
            "seed": read.get("seed"),
        }
        if read.get("head"):
            from embedtune.heads.files import load_head

            parts["head"] = load_head(read["head"], place, read["dimension"])
        if read.get("threshold"):
            parts["threshold"] = _load_threshold(read["threshold"], place)
        if read.get("reference"):
            parts["reference"] = Reference.load(read["reference"], place, read["base"]["dimension"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"the manifest is incomplete ({error})",
            where=str(place / manifests.NAME),
            fix=manifests.AGAIN,
        ) from None
    return parts


def _load_threshold(entry: Any, place: Path) -> Threshold:
    from embedtune.judging.threshold import Threshold

    try:
        return Threshold.from_dict(entry)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"the threshold is damaged ({' '.join(str(error).split())})",
            where=str(place / manifests.NAME),
            fix=manifests.AGAIN,
        ) from None


def _save_transforms(transform: Transform, out: Path) -> list[dict[str, Any]]:
    parts = parts_of(transform)
    kept = [part for part in parts if not isinstance(part, Identity)]
    if kept:
        (out / "transforms").mkdir()
    return [
        save_transform(part, out, f"transforms/{i}-{part.kind.replace('_', '-')}")
        for i, part in enumerate(kept)
    ]
