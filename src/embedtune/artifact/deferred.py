"""An encoder that is opened when its first vector is asked for, so that loading an artifact takes no time."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.artifact.probes import Probes, uncached
from embedtune.encoders import ENCODERS, CachedEncoder, Progress, load_encoder
from embedtune.encoders.api.encoder import ApiEncoder
from embedtune.encoders.load import refuse_api_options
from embedtune.errors import ArtifactError, DataError, ModelNotFound, VectorError
from embedtune.manifest import AGAIN
from embedtune.types import Content, Encoder, Kind, Similarity, Transform, Vectors


class DeferredEncoder:
    """What a manifest says of a base, and the base itself once it is needed.

    Parameters
    ----------
    entry : dict
        The manifest's ``base``.
    similarity : {"cosine", "dot"}
        The manifest's ``similarity``.
    open_base : callable
        Opens the base and makes sure that it is the right one; called once, before the first vector.
    """

    def __init__(
        self,
        entry: Mapping[str, Any],
        similarity: Similarity,
        open_base: Callable[[], Encoder],
    ) -> None:
        self.name: str = entry["name"]
        self.dimension: int = entry["dimension"]
        self.similarity = similarity
        self.fingerprint: str = entry["fingerprint"]
        self.max_tokens: int | None = entry["max_tokens"]
        self.content: Content = entry["content"]
        self.progress: Progress | None = None
        """Called with (texts done, texts in all) while texts are encoded."""
        self._open_base = open_base

    @cached_property
    def opened(self) -> Encoder:
        """The base, opened and verified."""
        return self._open_base()

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Give float32 vectors (n, d) in the order of ``items``; opens the base the first time.

        Raises
        ------
        ArtifactError
            When the base gives other vectors than when the artifact was saved.
        """
        if self.progress is not None and isinstance(self.opened, CachedEncoder):
            self.opened.progress = self.progress
        return self.opened.encode(items, kind=kind)

    def count_tokens(self, texts: Sequence[str]) -> NDArray[Any] | None:
        """Give the tokens of each text before truncation, or None where that is not known."""
        return self.opened.count_tokens(texts)

    def __getattr__(self, name: str) -> Any:
        """Give what else the opened encoder has, for example ``folder``."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.opened, name)


def describe_base(encoder: Encoder) -> dict[str, Any]:
    """Give the manifest's ``base``: what opens the same encoder again; of a path, its last part."""
    inner = uncached(encoder)
    engine = getattr(inner, "engine", None)
    return {
        "name": _portable(encoder.name),
        "kind": _kind(type(inner)),
        "content": encoder.content,
        "dimension": encoder.dimension,
        "max_tokens": encoder.max_tokens,
        "prompts": getattr(encoder, "prompts", {}),
        "fingerprint": encoder.fingerprint,
        **({"api": inner.settings()} if isinstance(inner, ApiEncoder) else {}),
        **({"engine": engine} if engine else {}),
        **_origin(inner),
    }


def _origin(inner: Any) -> dict[str, Any]:
    """Give the model that an encoder's weights were tuned from, as the manifest names it; else nothing."""
    origin: dict[str, str] | None = getattr(inner, "tuned_from", None)
    return {"tuned_from": {**origin, "name": _portable(origin["name"])}} if origin else {}


def _kind(encoder: type) -> str | None:
    """Give the name of an encoder's class in the table, or of the one that it derives from."""
    names = {entry.path: name for name, entry in ENCODERS.items()}
    found = (names.get(f"{one.__module__}:{one.__qualname__}") for one in encoder.__mro__)
    return next((name for name in found if name is not None), None)


def open_base(folder: Path, manifest: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> Encoder:
    """Open an artifact's base: from its own files where it has them, by name otherwise.

    ``options`` go to :func:`~embedtune.encoders.load_encoder`, before what the manifest says of an API.

    Raises
    ------
    ArtifactError
        When the base is not in the artifact and cannot be found by its name.
    """
    entry = manifest["base"]
    if entry.get("files"):
        asked = dict(options or {})
        refuse_api_options(entry["name"], asked)
        return _open_own_files(folder, manifest, asked)
    name, why = entry["name"], ""
    if entry["content"] != "id" or ":" in name:
        try:
            return load_encoder(name, **_api_options(entry, manifest["similarity"]) | dict(options or {}))
        except (ModelNotFound, DataError) as error:
            why = f" ({error.what})"
    raise ArtifactError(
        f"the base {name!r} is not part of the artifact, and was not found{why}",
        where=str(folder),
        fix="run where it is found by that name, or pass it: load(folder, base=…)",
    )


def _api_options(entry: Mapping[str, Any], similarity: Similarity) -> dict[str, Any]:
    """Give what opens a model of an API again, beside its name; nothing for others."""
    if entry.get("api") is None:
        return {}
    return {**entry["api"], "dimension": entry["dimension"], "similarity": similarity}


def _open_own_files(folder: Path, manifest: Mapping[str, Any], asked: Mapping[str, Any]) -> Encoder:
    entry = manifest["base"]
    options: dict[str, Any] = {
        **asked,
        "name": entry["name"],
        "similarity": manifest["similarity"],
    }
    if entry["kind"] == "transformer":
        prompts = {f"{side}_prompt": prompt for side, prompt in entry["prompts"].items()}
        options |= {**prompts, "max_tokens": entry["max_tokens"]}
    view = _view(folder, entry["files"])
    try:
        encoder = load_encoder(f"{entry['kind']}:{view}", **options)
    except BaseException:
        shutil.rmtree(view, ignore_errors=True)
        raise
    opened: Any = uncached(encoder)
    if entry.get("tuned_from"):
        opened.tuned_from = entry["tuned_from"]
    weakref.finalize(opened, shutil.rmtree, view, True)
    return encoder


def deferred_base(
    folder: Path,
    read: Mapping[str, Any],
    transform: Transform,
    base: str | Path | Encoder | None,
    options: Mapping[str, Any] | None = None,
) -> DeferredEncoder:
    """Give an artifact's base, to be opened and probed later; check now that map, probes and manifest fit.

    Raises
    ------
    ArtifactError
        When they differ in their dimensions.
    """
    probes = Probes.load(folder)
    nothing = np.zeros((0, read["base"]["dimension"]), np.float32)
    try:
        widths = {
            transform.queries(nothing).shape[1],
            transform.documents(nothing, ()).shape[1],
        }
    except VectorError as error:
        raise ArtifactError(f"the map does not fit the base: {error}", where=str(folder)) from None
    if widths != {read["dimension"]} or {probes.queries.shape[1], probes.documents.shape[1]} != widths:
        raise ArtifactError(
            "map, probes and manifest differ in their dimensions",
            where=str(folder),
            fix=AGAIN,
        )

    def opened() -> Encoder:
        encoder = (
            open_base(folder, read, options) if base is None else load_encoder(base, **dict(options or {}))
        )
        probes.verify(encoder, transform, where=str(folder))
        return encoder

    return DeferredEncoder(read["base"], read["similarity"], opened)


def _view(folder: Path, files: Mapping[str, str]) -> Path:
    """Make a temporary folder in which the base looks as it did before the map was put behind it."""
    view = Path(tempfile.mkdtemp(prefix="embedtune-"))
    for inside, place in files.items():
        link = view / inside
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            link.symlink_to((folder / place).resolve())
        except OSError:  # no right to make links
            shutil.copyfile(folder / place, link)
    return view


def _portable(name: str) -> str:
    """Give a name without the place on this machine: of a path, its last part."""
    kind, colon, rest = name.partition(":")
    if colon and kind in ENCODERS:
        return f"{kind}:{_portable(rest)}"
    path = Path(name).expanduser()
    return path.name if path.is_absolute() or name.startswith(".") or path.exists() else name
