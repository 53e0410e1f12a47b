"""``export_model``: the whole chain of a model into a folder, checked, with a manifest and a README."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedtune import manifest as manifests
from embedtune.artifact.probes import uncached
from embedtune.encoders import load_encoder
from embedtune.encoders.engines.encoder import EngineEncoder
from embedtune.encoders.engines.exported import Exported, Format, is_export, read_export
from embedtune.encoders.engines.from_torch import KINDS, LARGEST, TEXTS, finish, write_onnx
from embedtune.encoders.model_folder import ModelFolder
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import UserError
from embedtune.exporting.int8 import write_int8
from embedtune.exporting.readme import readme
from embedtune.extras import need, require
from embedtune.folders import new_folder, refuse_existing
from embedtune.models import is_tuned

FORMATS: tuple[Format, ...] = ("onnx", "openvino")


def export_model(
    model: str | Path,
    out: str | Path,
    *,
    format: str = "onnx",
    int8: Sequence[str] | None = None,
    seed: int = 0,
) -> Exported:
    """Export a base model, or a tuned one with its map, to files that run without torch.

    The folder holds the model (two of them where queries and documents go different ways), its tokenizer,
    ``export.json`` with a checksum for every file, and a README with the lines of Python that run it. It
    appears whole or not at all; :func:`embedtune.encoders.load_encoder` opens it.

    Parameters
    ----------
    model : str or pathlib.Path
        A tuned model's folder, or a base that sentence-transformers runs.
    out : str or pathlib.Path
        The folder to make.
    format : {"onnx", "openvino"}
        For ONNX Runtime (which OpenVINO reads too), or for OpenVINO.
    int8 : sequence of str, optional
        Texts like those that will be encoded: products in 8-bit integers, calibrated on half of them and
        judged on the other half, see :func:`embedtune.exporting.int8.write_int8`. OpenVINO only.
    seed : int
        Of the interval by which int8 is judged.

    Raises
    ------
    OutputExists
        When ``out`` exists.
    UserError
        When the model cannot be exported, its export differs from torch, or int8 loses too much.
    MissingExtra
        When torch, sentence-transformers, onnx or what runs the format is not installed.
    DiskFull
        When there is no room; nothing is left behind.
    """
    if format not in FORMATS:
        raise UserError(f"there is no format called {format!r}", fix=f"choose from {', '.join(FORMATS)}")
    if int8 is not None and format != "openvino":
        raise UserError("int8 is for the format openvino", fix="take --format openvino, or leave int8 out")
    target = Path(out).expanduser()
    refuse_existing(target)
    require("onnxruntime" if format == "onnx" else "openvino", extra="fast", who=f"exporting to {format}")
    folder, name, notes = _source(model)
    content = ModelFolder.read(folder).content_hash()
    with new_folder(target) as temporary:
        exported = write_onnx(folder, temporary, content=content, name=name)
        exported.notes.update(notes)
        if format == "openvino":
            exported = _to_openvino(exported)
            exported = write_int8(exported, int8, seed=seed) if int8 is not None else exported
            if int8 is None:
                _compare(exported, folder)
        finish(exported)
        (temporary / "README.md").write_text(readme(exported), "utf-8")
    return read_export(target)


def _source(model: str | Path) -> tuple[Path, str, dict[str, Any]]:
    """Give the sentence-transformers folder to export, its name, and what the export will lack."""
    folder = Path(model).expanduser()
    if is_tuned(folder):
        read = manifests.read_manifest(folder)
        manifests.check_files(folder, read)
        loader = read.get("stock_loader")
        if loader not in ("exact", "without item deltas"):
            raise UserError(
                f"this tuned model cannot be exported: {read.get('stock_why') or 'its map has no modules'}",
                where=str(folder),
                fix="export its base, and apply the map with embedtune",
            )
        lacking = ["item deltas"] if loader == "without item deltas" else []
        lacking += ["classifier"] if read.get("head") else []
        return folder, folder.resolve().name, {"without": lacking} if lacking else {}
    if is_export(folder):
        raise UserError(
            "this is an export already", where=str(folder), fix="give the model that it was made from"
        )
    encoder: Any = uncached(load_encoder(model, cache=False))
    if not isinstance(encoder, TransformerEncoder) or encoder.folder is None:
        raise UserError(
            f"{str(model)!r} is no text model that sentence-transformers runs, and only such are exported",
            fix="use it as it is",
        )
    return encoder.folder, encoder.name, {}


def _to_openvino(exported: Exported) -> Exported:
    """Write each model anew as ``.xml`` and ``.bin``, in float32, and remove the ONNX files."""
    openvino: Any = need("openvino", extra="fast", who="exporting to openvino")
    models = {kind: f"{Path(file).stem}.xml" for kind, file in exported.models.items()}
    core = openvino.Core()
    for old, new in zip(exported.models.values(), models.values(), strict=True):
        if not (exported.path / new).exists():
            read = core.read_model(str(exported.path / old))
            openvino.save_model(read, str(exported.path / new), compress_to_fp16=False)
    for old in set(exported.models.values()):
        (exported.path / old).unlink()
    made = dataclasses.replace(exported, format="openvino", models=models)
    finish(made)
    return made


def _compare(exported: Exported, folder: Path) -> None:
    """Refuse files of OpenVINO that do not give the vectors of torch."""
    torch_encoder, encoder = TransformerEncoder(folder, device="cpu"), EngineEncoder(exported.path)
    worst = 0.0
    for kind in KINDS:
        expected = torch_encoder.encode(TEXTS, kind=kind)
        scale = max(float(np.linalg.norm(expected, axis=1).max()), 1e-12)
        worst = max(worst, float(np.abs(encoder.encode(TEXTS, kind=kind) - expected).max()) / scale)
    if not worst <= LARGEST:
        raise UserError(
            f"OpenVINO's vectors differ from torch by {worst:.1g}, and {LARGEST:g} is allowed",
            where=str(folder),
            fix="take --format onnx",
        )
    exported.notes["largest_difference"] = worst
