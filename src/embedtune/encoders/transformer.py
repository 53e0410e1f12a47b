"""Text models that sentence-transformers runs: batches of like length, prompts, torch only when needed."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from embedtune.encoders.device import named_device
from embedtune.encoders.model_folder import ModelFiles, ModelFolder
from embedtune.encoders.tokens import TokenCounter
from embedtune.encoders.windows import later_windows
from embedtune.errors import ModelNotFound, UserError
from embedtune.extras import need, require
from embedtune.types import Content, Kind, Similarity, Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

VERSION = 1
"""Raised when a change of this file changes the vectors, so that cached ones are not taken for new ones."""

BATCH_TOKENS, CORE_TOKENS = 8192, 1024
"""Tokens of a batch, padding included, on a GPU; and on a processor for each thread of torch: what the caches
of a core hold. There 8192 take twice the time (192 texts of 38 tokens, one thread)."""

BATCH_TEXTS = 512
"""Texts of a batch at most."""


class TransformerEncoder:
    """A sentence-transformers model from a local folder.

    Dimension, limit, similarity, prompts and fingerprint are read from its files; torch is imported
    and the weights are read when the first text is encoded.

    Parameters
    ----------
    folder : str or pathlib.Path
        The model's folder: one with ``modules.json``, or a bare transformer with ``config.json``,
        which gets mean pooling, as sentence-transformers does it.
    name : str, optional
        What to call it in messages and manifests; the folder's name unless given.
    query_prompt, document_prompt : str, optional
        Put before each query or document, instead of the model's own prompts.
    max_tokens : int, optional
        Tokens read of a text, at most as many as the model can; the model's own limit unless given.
    similarity : {"cosine", "dot"}, optional
        Instead of the model's own.
    device : str, optional
        What torch calls the device; that of ``EMBEDTUNE_DEVICE``, or the best one present, unless given.
    batch_tokens : int, optional
        Tokens of a batch, padding included; what suits the device unless given.

    Raises
    ------
    MissingExtra
        When sentence-transformers is not installed.
    ModelNotFound
        When the folder holds no model.
    """

    content: Content = "text"

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_tokens: int | None = None,
        similarity: Similarity | None = None,
        device: str | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        self._check_installed()
        self.folder: Path | None = Path(folder)
        self.name = name or self.folder.name
        self._files = self._read_files(self.folder)
        self.similarity: Similarity = similarity or self._files.similarity
        self.prompts = self._files.prompts
        for kind, prompt in (("query", query_prompt), ("document", document_prompt)):
            if prompt is not None:
                self.prompts[kind] = prompt
        self.max_tokens = _limit(max_tokens, self._files.max_tokens)
        self._device = device
        self._batch_tokens = batch_tokens
        self._counter = TokenCounter.of(self._files.tokenizer_file)

    def _check_installed(self) -> None:
        require("sentence_transformers", extra="local", who="encoder 'transformer'")

    def _read_files(self, folder: Path) -> ModelFiles:
        return ModelFolder.read(folder)

    @cached_property
    def dimension(self) -> int:
        """Width of the vectors."""
        width = self._files.dimension
        return self._forward(["a"], "document").shape[1] if width is None else width

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the model's files, prompts, limit, similarity and the version of this code."""
        parts = self._identity()
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _identity(self) -> dict[str, Any]:
        return {
            "content": self._files.content_hash(),
            "prompts": self.prompts,
            "max_tokens": self.max_tokens,
            "similarity": self.similarity,
            "version": VERSION,
        }

    def prompt_key(self, kind: Kind) -> str:
        """Give what tells the vectors of one kind from those of the other: prompt and route."""
        return f"{kind if self._files.routed else ''}\n{self.prompts[kind]}"

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Give float32 vectors (n, d) in the order of ``items``; unit length if similarity is cosine.

        Texts of like length share a batch, so the padding is small; which texts are encoded together,
        and in which order, changes a vector by float error only (1e-6).
        """
        return gathered(self.encode_parts(items, kind=kind), len(items), self.dimension)

    def encode_parts(
        self, items: Sequence[str], *, kind: Kind = "document"
    ) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
        """Give the same batch by batch, each when it is asked for: rows of ``items``, and their vectors."""
        texts = list(items)
        if not texts:
            return
        for rows in self._batches(self._lengths(texts, kind)):
            vectors = self._forward([texts[row] for row in rows], kind)
            yield rows, unit_rows(vectors) if self.similarity == "cosine" else vectors

    def count_tokens(self, texts: Sequence[str], *, kind: Kind = "document") -> NDArray[np.int64] | None:
        """Give the tokens of each text with its prompt and the special ones, before truncation.

        None where the model has no fast tokenizer.
        """
        return self._counter.count(texts, prompt=self.prompts[kind]) if self._counter else None

    def later_windows(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
        """Cut what is not read of documents into windows that can be read, and give the row of each.

        See :func:`embedtune.encoders.windows.later_windows`. There are no windows where the model has no
        limit, or no fast tokenizer.
        """
        if self._counter is None or self.max_tokens is None:
            return [], np.empty(0, np.int64)
        return later_windows(texts, self._counter, self.max_tokens, prompt=self.prompts["document"])

    def _lengths(self, texts: Sequence[str], kind: Kind) -> NDArray[np.int64]:
        """Tokens that the model will read of each text, or an estimate from its characters."""
        counted = self.count_tokens(texts, kind=kind)
        if counted is None:
            counted = np.array([len(text) // 4 + 2 for text in texts], np.int64)
        return np.minimum(counted, self.max_tokens) if self.max_tokens else counted

    def _batches(self, lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Cut the texts, longest first, into batches bounded by padded tokens and by texts."""
        order, most = np.argsort(-lengths, kind="stable"), self._batch_tokens or self._fitting()
        start = 0
        while start < len(order):
            longest = max(int(lengths[order[start]]), 1)
            end = start + min(max(most // longest, 1), BATCH_TEXTS)
            yield order[start:end]
            start = end

    def _fitting(self) -> int:
        """Give the tokens of a batch that suit the model's device."""
        import torch

        on_gpu = self._model.device.type != "cpu"
        return BATCH_TOKENS if on_gpu else min(CORE_TOKENS * torch.get_num_threads(), BATCH_TOKENS)

    def _forward(self, texts: list[str], kind: Kind) -> Vectors:
        run = self._model.encode_query if kind == "query" else self._model.encode_document
        vectors = run(texts, prompt=self.prompts[kind], batch_size=len(texts), show_progress_bar=False)
        return np.asarray(vectors, np.float32)

    @cached_property
    def _model(self) -> SentenceTransformer:
        library: Any = need("sentence_transformers", extra="local", who="encoder 'transformer'")
        device = named_device(self._device)
        with _quiet():
            try:
                model: SentenceTransformer = library.SentenceTransformer(
                    str(self.folder), device=None if device is None else str(device), local_files_only=True
                )
            except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise ModelNotFound(
                    f"the model cannot be loaded: {reason}", where=str(self.folder), fix="get its files again"
                ) from error
        if self.max_tokens is not None:
            model.max_seq_length = self.max_tokens
        return model


def gathered(parts: Iterable[tuple[NDArray[np.int64], Vectors]], n: int, width: int) -> Vectors:
    """Put what comes batch by batch, rows and their vectors, into one float32 array (n, width)."""
    vectors = np.empty((n, width), np.float32)
    for rows, found in parts:
        vectors[rows] = found
    return vectors


def unit_rows(vectors: Vectors) -> Vectors:
    """Bring rows to unit length; rows of zeros stay so."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    made = np.zeros_like(vectors)
    np.divide(vectors, norms, out=made, where=norms > 0)
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing its own progress bars on the terminal."""
    transformers_logging: Any = importlib.import_module("transformers.utils.logging")
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _limit(asked: int | None, own: int | None) -> int | None:
    """Give the limit to use: the one asked for, if the model can."""
    if asked is None:
        return own
    if asked < 1 or (own is not None and asked > own):
        raise UserError(
            f"max_tokens is {asked}", fix=f"choose from 1 to {own}" if own else "choose 1 or more"
        )
    return asked
