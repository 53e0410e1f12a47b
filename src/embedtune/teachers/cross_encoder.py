"""A teacher that reads query and document together: slow, and asked about the base's candidates alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.data.dataset import Dataset
from embedtune.encoders.cache import VectorCache
from embedtune.encoders.cached import CachedEncoder
from embedtune.encoders.hashes import folder_hash
from embedtune.encoders.hub import hub_folder
from embedtune.encoders.transformer import _quiet, gathered
from embedtune.errors import ModelNotFound, UserError
from embedtune.extras import need, require
from embedtune.teachers.base import Candidates, Progress, Rows, Scores
from embedtune.types import Content, Kind, Similarity, Vectors

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

DEPTH = 20
"""The base's nearest documents that are scored for a query."""

BATCH = 32
"""Pairs that go through the model at once."""

BETWEEN = "\x1f"
"""Between query and document where a pair is one string; in a text it becomes a space."""

FILES = (".json", ".safetensors", ".bin", ".txt", ".model")
"""Endings of the files that decide what a model says."""


class PairScorer:
    """A cross-encoder of sentence-transformers, as an encoder of pairs with one dimension: the logit.

    So it shares the cache of vectors: each chunk of pairs is kept as soon as it is scored, and a run that
    was broken off goes on where it stopped.
    """

    content: Content = "text"
    dimension = 1
    similarity: Similarity = "dot"
    max_tokens: int | None = None

    def __init__(self, folder: Path, name: str) -> None:
        require("sentence_transformers", extra="local", who="a cross-encoder")
        if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
            what = "this folder holds no cross-encoder: there is no config.json"
            raise ModelNotFound(what, where=str(folder), fix="give the folder of one, or its name on the hub")
        self.folder, self.name = folder, name
        files = [path for path in folder.rglob("*") if path.suffix in FILES and path.is_file()]
        self.fingerprint = hashlib.sha256(f"pairs 1 {folder_hash(folder, files)}".encode()).hexdigest()

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Give the logits of pairs, float32 (n, 1).

        Raises
        ------
        UserError
            When the model has several outputs a pair, or an output is not finite.
        """
        return gathered(self.encode_parts(items, kind=kind), len(items), 1)

    def encode_parts(
        self, items: Sequence[str], *, kind: Kind = "document"
    ) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
        """Give the same batch by batch, the longest pairs first: rows of ``items``, and their logits."""
        torch: Any = need("torch", extra="local", who="a cross-encoder")
        order = np.argsort([-len(item) for item in items], kind="stable")
        for start in range(0, len(items), BATCH):
            rows = order[start : start + BATCH]
            pairs: Any = [tuple(items[row].split(BETWEEN, 1)) for row in rows.tolist()]
            logits = np.asarray(
                self._model.predict(
                    pairs, batch_size=BATCH, show_progress_bar=False, activation_fn=torch.nn.Identity()
                ),
                np.float32,
            )
            if not np.isfinite(logits).all():
                fix = "take another cross-encoder"
                raise UserError(f"{self.name} gives scores that are no numbers", fix=fix)
            yield rows, logits.reshape(-1, 1)

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Give None: pairs are not counted."""
        return None

    @cached_property
    def _model(self) -> CrossEncoder:
        library: Any = need("sentence_transformers", extra="local", who="a cross-encoder")
        with _quiet():
            try:
                model: CrossEncoder = library.CrossEncoder(str(self.folder), local_files_only=True)
            except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise ModelNotFound(
                    f"the cross-encoder cannot be loaded: {reason}",
                    where=str(self.folder),
                    fix="get its files again",
                ) from error
        if model.num_labels != 1:
            raise UserError(
                f"{self.name} gives {model.num_labels} outputs a pair, and a teacher of order gives one",
                fix="take a cross-encoder for ranking, such as cross-encoder/ms-marco-MiniLM-L6-v2",
            )
        return model


class CrossEncoderTeacher:
    """Scores of a cross-encoder for the base's nearest documents.

    Parameters
    ----------
    name : str
        A folder, or a name on the hub.
    depth : int
        Documents a query.
    cache : VectorCache, optional
        Where scores are kept; the cache of vectors unless given.

    Raises
    ------
    ModelNotFound
        When there is no such model.
    """

    kind: ClassVar[str] = "cross-encoder"

    def __init__(self, name: str, *, depth: int = DEPTH, cache: VectorCache | None = None) -> None:
        self.name, self.depth = name, depth
        folder = Path(name).expanduser()
        if not name:
            raise ModelNotFound("the name of the cross-encoder is empty", fix="write cross-encoder:NAME")
        if not folder.is_dir():
            if name.startswith((".", "/", "~")):
                raise ModelNotFound("there is no such folder", where=name, fix="check the path")
            folder = hub_folder(
                name if "/" in name else f"cross-encoder/{name}", hint="check the name of the cross-encoder"
            )
        else:
            self.name = folder.resolve().name
        self._scorer = CachedEncoder(PairScorer(folder, self.name), cache or VectorCache())

    def score(
        self, dataset: Dataset, rows: Rows, candidates: Candidates, progress: Progress | None = None
    ) -> Scores:
        """Score the base's nearest documents of each query, and those that are judged relevant for it.

        Raises
        ------
        UserError
            When queries or documents are images.
        """
        if dataset.images:
            raise UserError(f"the data has images, and {self.name} reads texts", fix="take another teacher")
        near = candidates(rows, min(self.depth, len(dataset.documents)))
        asked = dataset.relevance()[rows].tocoo()
        query = np.r_[np.repeat(rows, near.shape[1]), rows[asked.row]].astype(np.int64)
        document = np.r_[near.ravel(), asked.col].astype(np.int64)
        texts, others = dataset.query_texts, dataset.document_texts
        pairs = [
            f"{texts[q].replace(BETWEEN, ' ')}{BETWEEN}{others[d]}"
            for q, d in zip(query.tolist(), document.tolist(), strict=True)
        ]
        if progress is not None:
            self._scorer.progress = lambda done, total: progress("ask the teacher", done, total)
        score = self._scorer.encode(pairs)[:, 0].astype(np.float64)
        return Scores.of(query, document, score, np.arange(len(query)) >= near.size)
