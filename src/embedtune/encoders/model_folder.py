"""What the files of a sentence-transformers folder say about the model, without loading it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open

from embedtune.encoders.hashes import folder_hash
from embedtune.errors import ModelNotFound, UserError
from embedtune.types import Similarity

HIDDEN_SIZES = ("hidden_size", "d_model", "dim", "n_embd", "embedding_size")
"""Names under which transformer configurations keep the width of their last layer."""

CONTENT = {".json", ".safetensors", ".bin", ".txt", ".model", ".pt"}
"""Files of a model folder that can change its output."""

IGNORED = {"onnx", "openvino"}
"""Folders with exports of the same weights for other runtimes."""


class ModelFiles(Protocol):
    """What an encoder asks of a model's files, without running the model."""

    @property
    def dimension(self) -> int | None:
        """Width of the vectors; None where only the model itself can tell."""
        ...

    @property
    def similarity(self) -> Similarity:
        """What the vectors are compared by."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """Tokens that are read of a text; None where there is no limit."""
        ...

    @property
    def prompts(self) -> dict[str, str]:
        """What is put before queries and documents."""
        ...

    @property
    def routed(self) -> bool:
        """Whether queries and documents take different ways through the model."""
        ...

    @property
    def tokenizer_file(self) -> Path | None:
        """The fast tokenizer, ``tokenizer.json``, if there is one."""
        ...

    def content_hash(self) -> str:
        """Give the sha256 of every file that can change the output."""
        ...


@dataclass(frozen=True)
class ModelFolder:
    """A sentence-transformers model on disk.

    Parameters
    ----------
    path : pathlib.Path
        Its folder.
    modules : list of dict
        ``modules.json``; a bare transformer has the two modules that sentence-transformers gives it.
    settings : dict
        ``config_sentence_transformers.json``.
    """

    path: Path
    modules: list[dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """Read the folder's small files.

        Raises
        ------
        ModelNotFound
            When it holds neither ``modules.json`` nor ``config.json``.
        UserError
            When one of them is not JSON.
        """
        if (path / "modules.json").is_file():
            modules = read_json(path / "modules.json")
        elif (path / "config.json").is_file():
            modules = [{"path": "", "type": "Transformer"}, {"path": "", "type": "MeanPooling"}]
        else:
            raise ModelNotFound(
                "this folder holds no model: neither modules.json nor config.json",
                where=str(path),
                fix="give the folder that sentence-transformers saved",
            )
        return cls(path, modules, read_json(path / "config_sentence_transformers.json", missing={}))

    def kinds(self) -> list[str]:
        """Give the modules' class names, in order."""
        return [str(module.get("type", "")).rpartition(".")[2] for module in self.modules]

    def module_path(self, module: dict[str, Any]) -> Path:
        """Give the folder of one module."""
        return self.path / str(module.get("path", ""))

    @property
    def dimension(self) -> int | None:
        """Width of the model's vectors; None where only loading the model can tell."""
        width: int | None = None
        for kind, module in zip(self.kinds(), self.modules, strict=True):
            width = _width(kind, self.module_path(module), width)
        cut = self.settings.get("truncate_dim")
        return min(width, int(cut)) if width is not None and cut else width

    @property
    def similarity(self) -> Similarity:
        """What the model's vectors are compared by: cosine unless it says dot.

        Raises
        ------
        UserError
            When the model was made for a distance.
        """
        name = self.settings.get("similarity_fn_name") or "cosine"
        if name in ("dot", "dot_score", "dot_product"):
            return "dot"
        if name != "cosine":
            raise UserError(
                f"the model compares by {name!r}; cosine and dot are supported",
                where=str(self.path / "config_sentence_transformers.json"),
                fix="pass similarity='cosine' if its vectors can be normalised",
            )
        return "cosine"

    @property
    def max_tokens(self) -> int | None:
        """Tokens that the model reads of a text, special ones included; None where there is no limit."""
        if "Transformer" not in self.kinds():
            return None
        base = self.module_path(self.modules[self.kinds().index("Transformer")])
        explicit = read_json(base / "sentence_bert_config.json", missing={}).get("max_seq_length")
        if explicit:
            return int(explicit)
        limits = [
            read_json(base / "tokenizer_config.json", missing={}).get("model_max_length"),
            read_json(base / "config.json", missing={}).get("max_position_embeddings"),
        ]
        known = [int(limit) for limit in limits if limit and 0 < limit < 10**9]
        return min(known) if known else None

    @property
    def prompts(self) -> dict[str, str]:
        """What is put before queries and documents, as ``encode_query`` and ``encode_document`` do."""
        given = self.settings.get("prompts") or {}
        return {kind: given.get(kind) or "" for kind in ("query", "document")}

    @property
    def routed(self) -> bool:
        """Whether queries and documents take different ways through the model."""
        return any(kind in ("Router", "Asym") for kind in self.kinds())

    @property
    def tokenizer_file(self) -> Path | None:
        """The fast tokenizer, ``tokenizer.json``, if there is one."""
        for kind, module in zip(self.kinds(), self.modules, strict=True):
            file = self.module_path(module) / "tokenizer.json"
            if kind in ("Transformer", "StaticEmbedding") and file.is_file():
                return file
        return None

    def content_hash(self) -> str:
        """Give the sha256 of every file that can change the output."""
        return folder_hash(self.path, self._content_files())

    def _content_files(self) -> Iterator[Path]:
        for path in self.path.rglob("*"):
            inside = path.relative_to(self.path)
            if path.suffix not in CONTENT or IGNORED & set(inside.parts) or not path.is_file():
                continue
            if path.name == "data_config.json" or any(part.startswith(".") for part in inside.parts):
                continue
            if path.suffix in (".bin", ".pt") and path.with_name("model.safetensors").is_file():
                continue  # the same weights once more; safetensors are the ones that are loaded
            yield path


def read_json(path: Path, *, missing: Any = None) -> Any:
    """Read a JSON file; ``missing`` is the answer where there is none.

    Raises
    ------
    UserError
        When it is not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return missing
    except ValueError as error:
        raise UserError(f"not JSON: {error}", where=str(path), fix="get the model's files again") from None


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Read names and shapes of a safetensors file's tensors from its header.

    Raises
    ------
    ModelNotFound
        When it is not such a file, or not a whole one.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelNotFound(f"cannot be read: {error}", where=str(path), fix="get its files again") from None


def _width(kind: str, folder: Path, width: int | None) -> int | None:
    """Give the width after one module, from its files and the width before it."""
    if kind == "Transformer":
        config = read_json(folder / "config.json", missing={})
        config = {**config, **(config.get("text_config") or {})}
        return next((int(config[name]) for name in HIDDEN_SIZES if config.get(name)), None)
    if kind == "StaticEmbedding" and (folder / "model.safetensors").is_file():
        shapes = tensor_shapes(folder / "model.safetensors")
        return next((shape[1] for name, shape in shapes.items() if name.startswith("embedding")), None)
    if kind in ("MeanPooling", "Normalize", "Dropout"):
        return width
    config = read_json(folder / "config.json", missing={})
    if kind == "Pooling":
        single = config.get("embedding_dimension") or config.get("word_embedding_dimension")
        named = config.get("pooling_mode")
        old = sum(bool(on) for name, on in config.items() if name.startswith("pooling_mode_"))
        return (
            int(single) * ((1 if isinstance(named, str) else len(named)) if named else max(old, 1))
            if single
            else None
        )
    if kind == "Dense":
        return int(config["out_features"]) if "out_features" in config else None
    if kind == "LayerNorm":
        return width
    if kind == "Router":
        return _router_width(folder, width)
    return None


def _router_width(folder: Path, width: int | None) -> int | None:
    """Give the width after a router: that of its document route."""
    config = read_json(folder / "router_config.json", missing={})
    routes = config.get("structure", {})
    route = routes.get("document", next(iter(routes.values()), []))
    for name in route:
        width = _width(str(config["types"][name]).rpartition(".")[2], folder / name, width)
    return width
