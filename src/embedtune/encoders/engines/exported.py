"""A folder with an exported model: ``export.json`` says what is in it, with a checksum for every file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from embedtune.encoders.hashes import file_hash
from embedtune.errors import ArtifactError
from embedtune.types import Kind, Similarity

NAME = "export.json"
FORMAT = "embedtune-export"
FORMAT_VERSION = 1
TOKENIZER = "tokenizer.json"
AGAIN = "export the model again"

Format = Literal["onnx", "openvino"]
Precision = Literal["f32", "int8"]

RUNS: dict[tuple[str, str], tuple[str, ...]] = {
    ("onnx", "f32"): ("onnx", "openvino", "openvino-bf16", "openvino-int8"),
    ("openvino", "f32"): ("openvino", "openvino-bf16", "openvino-int8"),
    ("openvino", "int8"): ("openvino",),
}
"""Engines that run each format and precision; the first is taken where none is asked for."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What is known of an exported model without running it.

    It has what :class:`~embedtune.encoders.model_folder.ModelFolder` says of a model, so that encoders
    need not know which of the two they read.
    """

    path: Path = field(default=Path())
    """Its folder; not part of the manifest."""
    name: str
    format: Format
    precision: Precision
    dimension: int
    similarity: Similarity
    max_tokens: int | None
    own_prompts: dict[str, str]
    models: dict[str, str]
    """The file that queries and the file that documents go through."""
    inputs: list[str]
    padding: dict[str, Any]
    """``id``, ``type`` and ``side`` of padding, and the ``truncation`` side."""
    source: str
    """sha256 of the files of the model that was exported."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What was measured at export."""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of every file but the manifest and the README."""

    @property
    def prompts(self) -> dict[str, str]:
        """What is put before queries and documents."""
        return {kind: self.own_prompts.get(kind, "") for kind in ("query", "document")}

    @property
    def routed(self) -> bool:
        """Whether queries and documents go through different models."""
        return self.models["query"] != self.models["document"]

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer."""
        return self.path / TOKENIZER

    def content_hash(self) -> str:
        """Give what tells this model's vectors from another's.

        In float32 that is the model it was made from, as every export of it gives the same vectors; in
        int8 it is the files, as each calibration gives another model.
        """
        if self.precision == "f32":
            return self.source
        return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()

    def model_file(self, kind: Kind) -> Path:
        """Give the file that texts of one kind go through."""
        return self.path / self.models[kind]

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that can run it, the one it was made for first."""
        return RUNS.get((self.format, self.precision), ())

    def to_dict(self) -> dict[str, Any]:
        """Give the manifest."""
        plain = {key: value for key, value in asdict(self).items() if key != "path"}
        plain["prompts"] = plain.pop("own_prompts")
        return {"format_name": FORMAT, "format_version": FORMAT_VERSION, **plain}


def is_export(folder: Path) -> bool:
    """Say whether a folder holds an export, whole or damaged."""
    return (folder / NAME).is_file()


def read_export(folder: Path) -> Exported:
    """Read the manifest of an export and compare every file with its checksum.

    Raises
    ------
    ArtifactError
        When the folder holds no export, a newer one, or a damaged one.
    """
    path = folder / NAME
    try:
        read = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(
            f"this is not an export: it has no {NAME}", where=str(folder), fix="check the path"
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"the manifest cannot be read ({error})", where=str(path), fix=AGAIN) from None
    if not isinstance(read, dict) or read.pop("format_name", None) != FORMAT:
        raise ArtifactError("the manifest is not that of an export", where=str(path), fix="check the path")
    version = read.pop("format_version", None)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ArtifactError(
            f"the export has format version {version}, this embedtune reads up to {FORMAT_VERSION}",
            where=str(path),
            fix="upgrade embedtune",
        )
    try:
        found = Exported(path=folder, own_prompts=dict(read.pop("prompts")), **read)
        needed = {TOKENIZER, *(found.models[kind] for kind in ("query", "document"))}
        outside = [name for name in found.files if _is_outside(name)]
        if outside or needed - set(found.files) or not found.engines:
            raise KeyError(min([*outside, *(needed - set(found.files))], default=found.format))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArtifactError(f"the manifest is incomplete ({error})", where=str(path), fix=AGAIN) from None
    for name, expected in sorted(found.files.items()):
        file = folder / name
        if not file.is_file():
            raise ArtifactError("the file is missing", where=str(file), fix=AGAIN)
        if file_hash(file) != expected:
            raise ArtifactError("the file is damaged: its checksum is wrong", where=str(file), fix=AGAIN)
    return found


def _is_outside(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts
