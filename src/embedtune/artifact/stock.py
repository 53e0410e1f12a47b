"""The artifact as a folder that stock ``SentenceTransformer(folder)`` loads, without embedtune.

The base's files stay at the root, where servers look for them; the map becomes a bias-free ``Dense`` right
after the base's pooling, or a ``Router`` where queries and documents differ. Module types are written under
their oldest names, which every version reads.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from embedtune.encoders.model_folder import CONTENT, IGNORED, ModelFolder, read_json
from embedtune.encoders.static import is_static_folder
from embedtune.manifest import write_json
from embedtune.transforms import Identity, ItemDeltas, Linear, then
from embedtune.transforms.chain import parts_of
from embedtune.transforms.codes import Rounding
from embedtune.transforms.files import save_tensors
from embedtune.types import Encoder, Transform, Vectors

Loader = Literal["exact", "without item deltas", "none"]

ORIGINALS = "base"
"""Sub-folder with the base's own version of the files that the artifact changes."""

_TYPES = "sentence_transformers.models."
_STOCK = {
    "Transformer",
    "Pooling",
    "Dense",
    "Normalize",
    "Router",
    "StaticEmbedding",
    "LayerNorm",
    "Dropout",
}
_CHANGED = {
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
}
_PICKLED = {".bin", ".pt"}


@dataclass(frozen=True)
class Stock:
    """What was written: how sentence-transformers sees it, why not if not, and where the base's files are."""

    loader: Loader
    why: str = ""
    routed: bool = False
    """Whether queries must be encoded with ``encode_query``, for they take another route than documents."""
    base_files: dict[str, str] = field(default_factory=dict)
    """Path in the base's folder -> path in the artifact; empty where the base is not in it."""


def write_stock(encoder: Encoder, transform: Transform, out: Path) -> Stock:
    """Write base and map into ``out``, an empty folder, or say why that cannot be done."""
    folder: Path | None = getattr(encoder, "folder", None)
    if (
        folder is None
        or encoder.content != "text"
        or getattr(encoder, "images", False)
        or not (is_static_folder(folder) or _is_transformer(folder))
    ):
        return Stock("none", "the base is not a sentence-transformers folder")
    base = ModelFolder.read(folder)
    files = _base_files(base.path)
    linear, complete = _linear_of(transform)
    why = _obstacle(base, files, transform if linear is None else linear)
    if linear is None or why:
        return Stock("none", why or "a transform has no module in sentence-transformers")
    places = _copy_base(base, files, out)
    modules = _modules(base, encoder, linear, out)
    write_json(
        [{"idx": i, "name": str(i), **module} for i, module in enumerate(modules)],
        out / "modules.json",
    )
    _write_settings(base, encoder, out, routed=modules[-1]["type"].endswith("Router"))
    return Stock(
        "exact" if complete else "without item deltas",
        routed=isinstance(linear, Linear) and linear.sides != "shared",
        base_files=places,
    )


def write_tuned_base(encoder: Encoder, out: Path) -> dict[str, str]:
    """Copy a base whose weights were tuned, which is nowhere else, where :func:`write_stock` has not.

    Returns
    -------
    dict of str
        As :attr:`Stock.base_files`; empty for a base that is found by its name.
    """
    folder: Path | None = getattr(encoder, "folder", None)
    if folder is None or getattr(encoder, "tuned_from", None) is None:
        return {}
    places = {}
    for inside in _base_files(folder):
        place = PurePosixPath(ORIGINALS) / inside
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / inside, out / place)
        (out / place).chmod(0o644)
        places[str(inside)] = str(place)
    return places


def _linear_of(transform: Transform) -> tuple[Linear | Identity | None, bool]:
    """Give what new documents get, as one linear map (None where it is not one), and whether that is all.

    Rounding to codes is left out: it is what is done to vectors when they are stored.
    """
    parts = parts_of(transform)
    rest: Transform = Identity()
    for part in parts:
        if not isinstance(part, (ItemDeltas, Rounding)):
            rest = then(rest, part)
    complete = not any(isinstance(part, ItemDeltas) for part in parts)
    return (rest if isinstance(rest, (Linear, Identity)) else None), complete


def _is_transformer(folder: Path) -> bool:
    config = read_json(folder / "config.json", missing={})
    return "model_type" in config and config["model_type"] != "model2vec"


def _obstacle(base: ModelFolder, files: list[PurePosixPath], map_: Transform) -> str:
    """Say what keeps stock sentence-transformers from loading base and map; empty where nothing does."""
    foreign = [
        m["type"]
        for m in base.modules
        if "." in m["type"] and not m["type"].startswith("sentence_transformers.")
    ]
    if foreign or "auto_map" in read_json(base.path / "config.json", missing={}):
        return "the base needs remote code"
    if any(path.suffix in _PICKLED for path in files):
        return "the base's weights are pickled; convert them to safetensors"
    if any(
        PurePosixPath(str(m.get("path", ""))).is_absolute() or ".." in str(m.get("path", ""))
        for m in base.modules
    ):
        return "the base has modules outside its folder"
    if isinstance(map_, Linear) and base.settings.get("truncate_dim"):
        return "the base truncates its vectors before the map"
    return ""


def _base_files(folder: Path) -> list[PurePosixPath]:
    """List the files that make the model: weights once, configurations, tokenizer; no exports."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = PurePosixPath(path.relative_to(folder).as_posix())
        hidden = any(part.startswith(".") or part in IGNORED for part in inside.parts)
        twice = path.suffix in _PICKLED and path.with_name("model.safetensors").is_file()
        wanted = path.suffix in CONTENT | {".jinja"} and path.name != "data_config.json"
        if wanted and not hidden and not twice and path.is_file():
            found.append(inside)
    return found


def _copy_base(base: ModelFolder, files: list[PurePosixPath], out: Path) -> dict[str, str]:
    places = {}
    for inside in files:
        place = (
            PurePosixPath(ORIGINALS) / inside
            if inside.name in _CHANGED and len(inside.parts) == 1
            else inside
        )
        for target in {place, inside}:
            (out / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base.path / inside, out / target)
            (out / target).chmod(0o644)
        places[str(inside)] = str(place)
    return places


def _modules(
    base: ModelFolder, encoder: Encoder, linear: Linear | Identity, out: Path
) -> list[dict[str, Any]]:
    """Give the entries of ``modules.json``, and write the new modules' folders."""
    body = [_renamed(module) for module in base.modules]
    if body and body[-1]["type"] == "MeanPooling":  # a bare transformer: write down what was understood
        body[-1] = {"path": "1_Pooling", "type": f"{_TYPES}Pooling"}
        (out / "1_Pooling").mkdir()
        pooling = {
            "word_embedding_dimension": encoder.dimension,
            "pooling_mode_mean_tokens": True,
        }
        write_json(
            {**pooling, "pooling_mode_cls_token": False},
            out / "1_Pooling" / "config.json",
        )
    ends_unit = body[-1]["type"].endswith(".Normalize")
    unit = ["Normalize"] if ends_unit or encoder.similarity == "cosine" else []
    if isinstance(linear, Identity):
        return body if ends_unit or not unit else [*body, _entry(len(body), "Normalize")]
    if ends_unit:
        body = body[:-1]
    # W normalise(e) and W e point the same way, so only a map that keeps lengths needs a Normalize before it
    mapped = ["Dense", "Normalize"] if linear.normalise else [*unit, "Dense"]
    if linear.sides == "shared" and linear.query is not None:
        added = [_entry(len(body) + i, kind) for i, kind in enumerate(mapped)]
        for entry in added:
            if entry["type"].endswith(".Dense"):
                _write_dense(linear.query, out / entry["path"])
        return [*body, *added]
    router = _entry(len(body), "Router")
    routes = {
        "query": unit if linear.query is None else mapped,
        "document": unit if linear.document is None else mapped,
    }
    _write_router(
        routes,
        {"query": linear.query, "document": linear.document},
        out / router["path"],
    )
    return [*body, router]


def _entry(position: int, kind: str) -> dict[str, Any]:
    return {"path": f"{position}_{kind}", "type": f"{_TYPES}{kind}"}


def _renamed(module: dict[str, Any]) -> dict[str, Any]:
    """Give a module of the base under the oldest name of its type."""
    kind = str(module["type"]).rpartition(".")[2]
    entry = {key: value for key, value in module.items() if key not in ("idx", "name")}
    return {**entry, "type": f"{_TYPES}{kind}" if kind in _STOCK else module["type"]}


def _write_dense(matrix: Vectors, folder: Path) -> None:
    folder.mkdir(parents=True)
    width_out, width_in = matrix.shape
    config = {
        "in_features": width_in,
        "out_features": width_out,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    write_json(config, folder / "config.json")
    save_tensors({"linear.weight": np.asarray(matrix)}, folder / "model.safetensors")


def _write_router(routes: dict[str, list[str]], matrices: dict[str, Vectors | None], folder: Path) -> None:
    folder.mkdir()
    structure = {
        side: [f"{side}_{i}_{kind}" for i, kind in enumerate(kinds)] for side, kinds in routes.items()
    }
    names = [name for route in structure.values() for name in route]
    config = {
        "types": {name: f"{_TYPES}{name.rpartition('_')[2]}" for name in names},
        "structure": structure,
        "parameters": {"default_route": "document", "allow_empty_key": True},
    }
    write_json(config, folder / "router_config.json")
    for side, matrix in matrices.items():
        for name in structure[side]:
            if matrix is not None and name.endswith("_Dense"):
                _write_dense(matrix, folder / name)


def _write_settings(base: ModelFolder, encoder: Encoder, out: Path, *, routed: bool) -> None:
    """Write prompts, similarity and limit, as the encoder used them."""
    own: dict[str, str] = getattr(encoder, "prompts", base.prompts)
    settings = {
        "default_prompt_name": None,
        **base.settings,
        "__version__": {
            "sentence_transformers": "5.0.0" if routed else "2.0.0",
            "transformers": "4.6.1",
            "pytorch": "1.8.1",
        },
        "prompts": {**(base.settings.get("prompts") or {}), **own},
        "similarity_fn_name": encoder.similarity,
    }
    write_json(settings, out / "config_sentence_transformers.json")
    if encoder.max_tokens != base.max_tokens:
        limit = out / "sentence_bert_config.json"
        write_json(
            {**read_json(limit, missing={}), "max_seq_length": encoder.max_tokens},
            limit,
        )
