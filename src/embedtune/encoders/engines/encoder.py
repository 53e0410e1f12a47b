"""The encoder of a model that an engine runs: as with torch, but torch is needed once, to export it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.encoders.engines.exported import Exported, is_export, read_export
from embedtune.encoders.engines.kept import kept_export
from embedtune.encoders.engines.sessions import Feed, Session
from embedtune.encoders.engines.table import ENGINES, INT8, TOLERANCES, check_engine
from embedtune.encoders.model_folder import ModelFiles, ModelFolder
from embedtune.encoders.tokens import TokenCounter, load_tokenizer
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import UserError
from embedtune.extras import require
from embedtune.types import Kind, Vectors

VERSION = 1
"""Raised when a change of this room changes the vectors."""

BATCH_TOKENS = 512
"""Tokens of a batch, padding included: what a core's cache holds; at 8192 a core is 40 % slower."""

STEP = 8
"""Tokens to a multiple of which texts are padded in int8, where the model's limit is one too."""


class EngineEncoder(TransformerEncoder):
    """A text model that an engine other than torch runs.

    The model is exported when its first text is encoded, unless the cache has its export from before;
    without that export torch and sentence-transformers must be there. With the export they need not be.

    Parameters
    ----------
    folder : str or pathlib.Path
        A sentence-transformers folder, or one that ``embedtune export`` wrote.
    engine : str, optional
        A name of :data:`~embedtune.encoders.engines.table.ENGINES` but ``"torch"``; for an export the one
        it was made for, unless given.
    batch_tokens : int
        Tokens of a batch, padding included.
    **options
        As for :class:`~embedtune.encoders.transformer.TransformerEncoder`; ``device`` is not among them.

    Raises
    ------
    MissingExtra
        When what runs the engine is not installed.
    ModelNotFound, ArtifactError
        When the folder holds no model, or a damaged export.
    UserError
        When the processor cannot run the engine, or the export is not made for it.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        engine: str | None = None,
        batch_tokens: int = BATCH_TOKENS,
        **options: Any,
    ) -> None:
        if "device" in options:
            raise UserError(f"engine {engine!r} runs on the processor", fix="leave the device out")
        self._asked = engine
        super().__init__(folder, batch_tokens=batch_tokens, **options)

    def _check_installed(self) -> None:
        require("tokenizers", extra="fast", who="encoding without torch")

    def _read_files(self, folder: Path) -> ModelFiles:
        files: Exported | ModelFolder = read_export(folder) if is_export(folder) else ModelFolder.read(folder)
        if isinstance(files, Exported):
            self.engine = self._asked or files.engines[0]
            if self.engine not in files.engines:
                raise UserError(
                    f"engine {self.engine!r} does not run this export ({files.format}, {files.precision})",
                    where=str(folder),
                    fix=f"choose from {', '.join(files.engines)}",
                )
            self.precision: str = files.precision
        else:
            if self._asked is None:
                raise TypeError("a sentence-transformers folder needs the name of an engine")
            self.engine, self.precision = self._asked, "f32"
        check_engine(self.engine)
        return files

    @property
    def probe_tolerance(self) -> float:
        """Largest difference of a coordinate from float32 that still counts as the same vector."""
        return TOLERANCES.get(INT8 if self._in_int8 else self.engine, 1e-4)

    @property
    def _in_int8(self) -> bool:
        """Whether products are in int8: by the export's fixed scales, or by the engine's own."""
        return self.precision == "int8" or self.engine == INT8

    def _identity(self) -> dict[str, Any]:
        engine = {"name": self.engine, "precision": self.precision, "version": VERSION}
        return {**super()._identity(), "engine": {**engine, "step": self._step} if self._step else engine}

    @property
    def _step(self) -> int | None:
        """Give what the length of every batch is a multiple of, so that it is never over the model's limit.

        In int8 a text's vector would otherwise depend on its batch after all: with other padding, sums in
        attention round otherwise in their last bit, that turns a rounding to int8, and layer by layer others
        (a cosine of 0.9997). So each text is padded to a length of its own, and shares a batch with those
        of the same: its vector is then the same. None where it does not matter.
        """
        return math.gcd(self.max_tokens or 1, STEP) if self._in_int8 else None

    @cached_property
    def exported(self) -> Exported:
        """The model's export: the folder itself, or the one in the cache, made now if it is not there.

        Raises
        ------
        MissingExtra
            When it must be made, and torch, sentence-transformers or onnx is not installed.
        UserError
            When the model has no export that gives the vectors of torch.
        """
        if isinstance(self._files, Exported):
            return self._files
        if self.folder is None:
            raise TypeError("a model without a folder cannot be exported")
        return kept_export(self.folder, self._files.content_hash(), self.name)

    @cached_property
    def _tokenized(self) -> Callable[[list[str]], Feed]:
        return feeds(self.exported, self.max_tokens, step=self._step)

    def _lengths(self, texts: Sequence[str], kind: Kind) -> NDArray[np.int64]:
        if self._counter is None and self._step:  # the model's folder has none that is fast; the export has
            self._counter = TokenCounter.of(self.exported.tokenizer_file)
        return super()._lengths(texts, kind)

    def _batches(self, lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        if self._step is None:
            yield from super()._batches(lengths)
            return
        padded = -(-lengths // self._step) * self._step
        for rows in super()._batches(padded):
            yield from np.split(rows, np.flatnonzero(np.diff(padded[rows])) + 1)

    @cached_property
    def _sessions(self) -> dict[str, Session]:
        opener = ENGINES.load(self.engine)
        return {
            name: opener(self.exported.path / name) for name in dict.fromkeys(self.exported.models.values())
        }

    def _forward(self, texts: list[str], kind: Kind) -> Vectors:
        prompt = self.prompts[kind]
        feed = self._tokenized([prompt + text for text in texts])
        return self._sessions[self.exported.models[kind]](feed)


class ExportEncoder(EngineEncoder):
    """An export as a base of its own, as ``load_encoder(folder)`` opens it.

    Its ``folder`` is None: it has no weights that an artifact could carry, or that could be tuned.
    """

    def __init__(self, folder: str | Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.folder = None


def feeds(
    exported: Exported, max_tokens: int | None, *, step: int | None = None
) -> Callable[[list[str]], Feed]:
    """Give what turns texts, prompts included, into the inputs of an exported model.

    They are padded to the longest of them, or to the next multiple of ``step``.
    """
    tokenizer = load_tokenizer(exported.tokenizer_file, who="encoding without torch", extra="fast")
    padding = exported.padding
    tokenizer.enable_padding(
        direction=padding["side"],
        pad_id=padding["id"],
        pad_type_id=padding["type"],
        pad_to_multiple_of=step,
    )
    if max_tokens:
        tokenizer.enable_truncation(max_tokens, direction=padding["truncation"])
    parts = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}

    def feed(texts: Sequence[str]) -> Feed:
        encodings = tokenizer.encode_batch(list(texts))
        return {
            name: np.array([getattr(one, parts[name]) for one in encodings], np.int64)
            for name in exported.inputs
        }

    return feed
