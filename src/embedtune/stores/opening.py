"""What is applied to a store: a tuned model, or a bridge from one model's vectors to another's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.artifact.deferred import DeferredEncoder
from embedtune.artifact.tuned import Tuned
from embedtune.data.dataset import Dataset
from embedtune.encoders import load_encoder
from embedtune.errors import ArtifactError, DataError, ModelNotFound, UserError
from embedtune.models import open_model
from embedtune.types import Encoder, Similarity, Vectors


@dataclass(frozen=True)
class Applicable:
    """A map of stored vectors, and the models before and after it."""

    model: Tuned
    """Whose base made the stored vectors, and whose transform maps them."""
    bridge: Mapping[str, Any] | None = None
    """What a bridge's manifest says of the new model; None for a tuned model."""
    new: Tuned | None = None
    """The model that queries are encoded by after a bridge, where it was named."""
    where: str = ""

    @property
    def searched(self) -> Similarity:
        """How vectors are compared once they are mapped."""
        found: Similarity = self.bridge["similarity"] if self.bridge else self.model.similarity
        return found

    def queries(self, dataset: Dataset, rows: NDArray[np.int64]) -> tuple[Vectors | None, Vectors]:
        """Encode some of the data's queries as they are asked before the switch and after it.

        The former are None where the model that came before a bridge cannot encode them.

        Raises
        ------
        ArtifactError
            When the model that comes after a bridge cannot be found, or is another one.
        """
        if self.bridge is None:
            base = self.model.encoder.encode(_items(dataset, self.model, rows), kind="query")
            return base, self.model.transform.queries(base)
        model = self._after()
        after = model.encode_queries(_items(dataset, model, rows))
        width = self.model.transform.documents(np.zeros((0, self.model.encoder.dimension), np.float32)).shape[
            1
        ]
        if after.shape[1] != width:
            raise ArtifactError(
                f"the new model gives {after.shape[1]} dimensions, and the bridge leads to {width}",
                where=self.where,
                fix="name the model that it was learned for, with --new",
            )
        try:
            return self.model.encoder.encode(_items(dataset, self.model, rows), kind="query"), after
        except (ArtifactError, DataError):  # stored vectors of documents alone, or a model that is gone
            return None, after

    def _after(self) -> Tuned:
        """Give the model that a bridge leads to."""
        described = dict(self.bridge or {})
        if self.new is None and described.get("tuned"):
            raise ArtifactError(
                f"the bridge leads to a tuned model of {described['name']}, which is not part of it",
                where=self.where,
                fix="name its folder with --new, or leave --data out",
            )
        found = self.new or Tuned(_found(described, self.where, "new"))
        if found.encoder.fingerprint != described["fingerprint"]:
            raise _another("new", described["name"], self.where)
        return found


def open_map(model: Tuned | str | Path, new: Tuned | str | Path | None = None) -> Applicable:
    """Open what is to be applied.

    Parameters
    ----------
    model : Tuned, str or pathlib.Path
        A tuned model or its folder, or the folder of a bridge: then a model whose base is the old one, found
        by its name once it is needed.
    new : Tuned, str or pathlib.Path, optional
        For a bridge: the model that it leads to, where its name alone does not find it.

    Raises
    ------
    UserError
        When ``new`` is given and ``model`` is no bridge.
    ArtifactError
        When the folder is damaged.
    """
    from embedtune.migration.files import is_bridge, load_bridge

    if isinstance(model, Tuned) or not is_bridge(Path(model).expanduser()):
        if new is not None:
            raise UserError("--new is for bridges", where=str(model), fix="leave it out")
        return Applicable(open_model(model))
    saved = load_bridge(model)
    where, old = str(saved.folder), saved.manifest["old"]

    def opened() -> Encoder:
        encoder = _found(old, where, "old")
        if encoder.fingerprint != old["fingerprint"]:
            raise _another("old", old["name"], where)
        return encoder

    by_id = old.get("content", "id" if str(old["name"]).startswith("vectors") else "text")
    entry = {**old, "max_tokens": None, "content": by_id}
    tuned = Tuned(DeferredEncoder(entry, old["similarity"], opened), saved.transform)
    return Applicable(tuned, saved.manifest["new"], None if new is None else open_model(new), where)


def _items(dataset: Dataset, model: Tuned, rows: NDArray[np.int64]) -> list[str]:
    items = dataset.query_ids if model.encoder.content == "id" else dataset.items("query")
    return [items[row] for row in rows]


def _found(described: Mapping[str, Any], where: str, which: str) -> Encoder:
    """Find a bridge's model by its name."""
    try:
        return load_encoder(described["name"])
    except (ModelNotFound, DataError) as error:
        raise ArtifactError(
            f"the {which} model {described['name']!r} of the bridge was not found ({error.what})",
            where=where,
            fix="run where it is found by that name",
        ) from None


def _another(which: str, name: str, where: str) -> ArtifactError:
    return ArtifactError(
        f"the {which} model {name!r} is not the one that the bridge was learned with",
        where=where,
        fix="use the version that it was learned with",
    )
