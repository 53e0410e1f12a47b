"""Static models: a text's vector is the mean of its tokens' rows in a table. No torch.

Three kinds of files are read, each exactly as its own library reads it:

- wordllama's table and tokenizer, from the installed package;
- model2vec folders: unknown tokens are left out, texts are cut, tokens may carry weights or share rows;
- sentence-transformers folders made of ``StaticEmbedding`` and ``Normalize``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy.sparse import csr_matrix

from embedtune.encoders.hashes import file_hash
from embedtune.encoders.model_folder import ModelFolder, read_json, tensor_shapes
from embedtune.encoders.tokens import TokenCounter, load_tokenizer
from embedtune.errors import ModelNotFound
from embedtune.types import Content, Kind, Similarity, Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VERSION = 1
"""Raised when a change of this file changes the vectors."""

BLOCK = 1024
"""Texts that are tokenized and averaged at once."""


@dataclass(frozen=True)
class StaticFiles:
    """Where a static model lies and how its library reads it."""

    weights: Path
    """safetensors with the table (v, d)."""
    tensor: str
    """The table's name in it."""
    tokenizer: Path
    """``tokenizer.json`` of the tokenizers library."""
    drop_unknown: bool = False
    """Leave unknown tokens out of the mean."""
    max_tokens: int | None = None
    """Tokens read of a text; None for all."""
    normalize: bool = True
    """Whether the model's own vectors have unit length."""
    folder: Path | None = None
    """The model's folder, where it has one."""

    @classmethod
    def of_folder(cls, folder: Path) -> StaticFiles:
        """Find the files of a model2vec or a sentence-transformers folder.

        Raises
        ------
        ModelNotFound
            When it is neither.
        """
        if is_model2vec(folder):
            config = read_json(folder / "config.json")
            return cls(
                folder / "model.safetensors",
                "embeddings",
                folder / "tokenizer.json",
                drop_unknown=True,
                max_tokens=config.get("max_length", 512),
                normalize=bool(config.get("normalize", False)),
                folder=folder,
            )
        if is_static_folder(folder):
            files = ModelFolder.read(folder)
            inside = files.module_path(files.modules[0])
            normalize = "Normalize" in files.kinds()
            tables = (inside / "model.safetensors", "embedding.weight", inside / "tokenizer.json")
            return cls(*tables, normalize=normalize, folder=folder)
        raise ModelNotFound(
            "this folder holds no static model",
            where=str(folder),
            fix="give a model2vec folder, or a sentence-transformers folder with StaticEmbedding",
        )

    @classmethod
    def of_wordllama(cls, package: Path) -> StaticFiles:
        """Find the 256 dimensions that the package ``wordllama`` carries."""
        return cls(
            package / "weights" / "l2_supercat_256.safetensors",
            "embedding.weight",
            package / "tokenizers" / "l2_supercat_tokenizer_config.json",
        )


def is_model2vec(folder: Path) -> bool:
    """Whether a folder holds a model2vec model."""
    if not all((folder / name).is_file() for name in ("config.json", "model.safetensors", "tokenizer.json")):
        return False
    said = read_json(folder / "config.json").get("model_type") == "model2vec"
    return bool(said) or "embeddings" in tensor_shapes(folder / "model.safetensors")


def is_static_folder(folder: Path) -> bool:
    """Whether a folder is a sentence-transformers model of ``StaticEmbedding``, perhaps normalised."""
    if not (folder / "modules.json").is_file():
        return False
    files = ModelFolder.read(folder)
    if files.kinds() not in (["StaticEmbedding"], ["StaticEmbedding", "Normalize"]) or any(
        files.prompts.values()
    ):
        return False
    inside = files.module_path(files.modules[0])
    return all((inside / name).is_file() for name in ("model.safetensors", "tokenizer.json"))


class StaticEncoder:
    """The mean of token vectors.

    A text without any known token gets the zero vector.

    Parameters
    ----------
    source : StaticFiles, str or pathlib.Path
        Where the model lies: a folder, or files already found.
    name : str, optional
        What to call it in messages and manifests; the folder's name unless given.
    similarity : {"cosine", "dot"}
        With cosine the vectors have unit length; with dot they are as the model gives them.

    Raises
    ------
    ModelNotFound
        When files are missing or do not fit together.
    MissingExtra
        When tokenizers is not installed.
    """

    content: Content = "text"
    cheap = True
    """Encoding is as fast as reading from a cache."""

    def __init__(
        self, source: StaticFiles | str | Path, *, name: str | None = None, similarity: Similarity = "cosine"
    ) -> None:
        self.files = source if isinstance(source, StaticFiles) else StaticFiles.of_folder(Path(source))
        self.folder: Path | None = self.files.folder
        self.name = name or (self.folder.name if self.folder else self.files.weights.stem)
        self.similarity: Similarity = similarity
        self.max_tokens = self.files.max_tokens
        shape = self._shape()
        self.dimension = int(shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of table, tokenizer, settings and the version of this code."""
        parts = {
            "weights": file_hash(self.files.weights),
            "tokenizer": file_hash(self.files.tokenizer),
            "settings": [self.files.drop_unknown, self.max_tokens, self.files.normalize, self.similarity],
            "version": VERSION,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def prompt_key(self, kind: Kind) -> str:
        """Give the same key for both kinds."""
        return ""

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Give float32 vectors (n, d) in the order of ``items``; unit length if similarity is cosine."""
        vectors = np.zeros((len(items), self.dimension), np.float32)
        start = 0
        for rows in self._token_rows(items):
            vectors[start : start + len(rows)] = self._average(rows)
            start += len(rows)
        if self.similarity == "cosine" or self.files.normalize:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            np.divide(vectors, norms, out=vectors, where=norms > 0)
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Give the tokens of each text before truncation."""
        counter = TokenCounter.of(self.files.tokenizer)
        return counter.count(texts, special=False) if counter else None

    @cached_property
    def table(self) -> Vectors:
        """The vectors of the tokens, float32 (v, d), with weights and shared rows worked in."""
        try:
            tensors = load_file(self.files.weights)
        except (SafetensorError, OSError) as error:
            raise ModelNotFound(
                f"cannot be read: {error}", where=str(self.files.weights), fix="get its files again"
            ) from None
        table = tensors[self.files.tensor].astype(np.float32)
        if "mapping" in tensors:
            table = table[tensors["mapping"]]
        if "weights" in tensors:
            table = table * tensors["weights"].astype(np.float32)[:, None]
        return np.ascontiguousarray(table)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = load_tokenizer(self.files.tokenizer, who="encoder 'static'", extra="static")
        if self.max_tokens is not None:
            tokenizer.enable_truncation(self.max_tokens)
        return tokenizer

    @cached_property
    def _unknown(self) -> int | None:
        """Number of the token that stands for unknown ones, if it is to be left out."""
        if not self.files.drop_unknown:
            return None
        model = json.loads(self._tokenizer.to_str())["model"]
        if model.get("unk_token") is not None:
            return self._tokenizer.token_to_id(model["unk_token"])
        return model.get("unk_id")  # type: ignore[no-any-return]

    @cached_property
    def _most_characters(self) -> int | None:
        """Where model2vec cuts a text before it tokenizes: the limit times the median length of a token."""
        if self.max_tokens is None:
            return None
        return self.max_tokens * int(np.median([len(token) for token in self._tokenizer.get_vocab()]))

    def _token_rows(self, texts: Sequence[str]) -> Iterator[list[list[int]]]:
        for start in range(0, len(texts), BLOCK):
            block = [text[: self._most_characters] for text in texts[start : start + BLOCK]]
            encodings = self._tokenizer.encode_batch_fast(block, add_special_tokens=False)
            rows = [encoding.ids for encoding in encodings]
            if self._unknown is not None:
                rows = [[token for token in row if token != self._unknown] for row in rows]
            yield rows

    def _average(self, rows: list[list[int]]) -> Vectors:
        lengths = np.array([len(row) for row in rows])
        tokens = np.fromiter((token for row in rows for token in row), np.int64, lengths.sum())
        np.clip(tokens, 0, len(self.table) - 1, out=tokens)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        counts = csr_matrix(
            (np.ones(len(tokens), np.float32), tokens, starts), shape=(len(rows), len(self.table))
        )
        means: Vectors = (counts @ self.table) / np.maximum(lengths, 1)[:, None].astype(np.float32)
        return means

    def _shape(self) -> list[int]:
        for path in (self.files.weights, self.files.tokenizer):
            if not path.is_file():
                raise ModelNotFound(
                    "this file of the model is missing", where=str(path), fix="get its files again"
                )
        shape = tensor_shapes(self.files.weights).get(self.files.tensor, [])
        if len(shape) != 2:
            raise ModelNotFound(
                f"there is no table {self.files.tensor!r} in it",
                where=str(self.files.weights),
                fix="get it again",
            )
        return shape
