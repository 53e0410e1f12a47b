"""A static model on torch: the table of its tokens' vectors is what is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from embedtune.encoders.static import StaticEncoder
from embedtune.manifest import write_json
from embedtune.transforms.files import save_tensors
from embedtune.weights.spread import Team
from embedtune.weights.texts import Rows, Texts, Tokens
from embedtune.weights.tower import Tell

_TYPES = "sentence_transformers.models."


class StaticTower:
    """The token table of a static model.

    The table is brought to a mean square of 1, so that one step size fits every model, and is saved in its
    own units. Only the rows of tokens that the texts have are trained, so that a step costs those; all
    others stay where they are.

    Parameters
    ----------
    encoder : StaticEncoder
        The base.
    """

    def __init__(self, encoder: StaticEncoder) -> None:
        self.encoder = encoder
        self._unit = max(float(np.sqrt(np.mean(encoder.table**2))), 1e-12)
        self.rows = np.arange(0)
        """Rows of the model's table that the texts have, ascending, (u,)."""
        self.table = nn.Parameter(torch.empty(0, encoder.dimension))
        self.tokens = Tokens.of([])
        self.per_token = 8.0 * encoder.dimension
        self.team: Team | None = None  # one process is fast enough

    def trained(self) -> dict[str, nn.Parameter]:
        """Give the rows that are trained."""
        return {"table": self.table}

    def read(self, texts: Texts, folder: Path, tell: Tell | None = None) -> None:
        """Tokenise the texts as the encoder does, and take the rows of their tokens."""
        lists = [row for rows in self.encoder._token_rows([text for _, text in texts.items]) for row in rows]
        tokens = Tokens.of(lists)
        ids = np.clip(tokens.ids, 0, len(self.encoder.table) - 1)
        self.rows, place = np.unique(ids, return_inverse=True)
        self.tokens = replace(tokens, ids=place.astype(np.int32))
        self.table = nn.Parameter(torch.from_numpy(self.encoder.table[self.rows] / np.float32(self._unit)))

    def __call__(self, rows: Rows) -> torch.Tensor:
        """Give the vectors of texts, float32 (n, d); zeros for a text without any known token."""
        lengths = self.tokens.lengths[rows]
        ids = np.concatenate([self.tokens[row] for row in rows] or [np.empty(0, np.int32)]).astype(np.int64)
        tokens = torch.from_numpy(ids)
        starts = torch.from_numpy(np.cumsum(lengths) - lengths)
        vectors = nn.functional.embedding_bag(tokens, self.table, starts, mode="mean")
        if self.encoder.similarity == "cosine":
            return nn.functional.normalize(vectors, dim=1)
        return vectors * self._unit

    def follow(self, start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], strength: float) -> None:
        """Set the table on the way from the base's (0) to the trained one (1)."""
        with torch.no_grad():
            self.table.copy_(torch.lerp(start["table"], end["table"], strength))

    def save(self, folder: Path) -> None:
        """Write a sentence-transformers folder of ``StaticEmbedding``, whatever the base's own form is.

        Where the base leaves unknown tokens out, their row is zero: it adds nothing to a direction. A
        limit of tokens is not kept: texts are read to their end.
        """
        table = self.encoder.table.copy()
        table[self.rows] = self.table.detach().numpy() * np.float32(self._unit)
        unknown = self.encoder._unknown
        if unknown is not None:
            table[unknown] = 0
        unit = self.encoder.similarity == "cosine" or self.encoder.files.normalize
        inside = folder / "0_StaticEmbedding"
        inside.mkdir(parents=True, exist_ok=True)
        save_tensors({"embedding.weight": table}, inside / "model.safetensors")
        (inside / "tokenizer.json").write_bytes(_plain_tokenizer(self.encoder.files.tokenizer))
        kinds = ["StaticEmbedding", "Normalize"] if unit else ["StaticEmbedding"]
        modules: list[dict[str, Any]] = [
            {"idx": number, "name": str(number), "path": f"{number}_{kind}", "type": f"{_TYPES}{kind}"}
            for number, kind in enumerate(kinds)
        ]
        if unit:
            (folder / "1_Normalize").mkdir(exist_ok=True)
        write_json(modules, folder / "modules.json")
        settings: dict[str, Any] = {"prompts": {}, "similarity_fn_name": self.encoder.similarity}
        version = {"sentence_transformers": "3.2.0", "transformers": "4.6.1", "pytorch": "1.8.1"}
        write_json({"__version__": version, **settings}, folder / "config_sentence_transformers.json")


def _plain_tokenizer(file: Path) -> bytes:
    """Give a tokenizer without padding and truncation, which sentence-transformers would apply."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    text: str = tokenizer.to_str()
    return text.encode()
