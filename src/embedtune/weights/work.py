"""The heavy parts of a run, made from a method's name, a task and a base."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from embedtune.artifact.probes import uncached
from embedtune.artifact.settings import code_hash
from embedtune.judging.problem import Round
from embedtune.types import Encoder
from embedtune.weights.checkpoint import Checkpoint
from embedtune.weights.material.base import Material
from embedtune.weights.material.classification import ClassMaterial
from embedtune.weights.material.nested import Nested
from embedtune.weights.material.retrieval import RetrievalMaterial
from embedtune.weights.material.similarity import PairMaterial
from embedtune.weights.methods_base import Method
from embedtune.weights.tower import Tower

if TYPE_CHECKING:
    from embedtune.weights.asked import Asked


def tower_of(method: Method, encoder: Encoder) -> Tower:
    """Load a base's weights, ready to be trained."""
    inner: Any = uncached(encoder)
    if method.base == "static":
        from embedtune.weights.static import StaticTower

        return StaticTower(inner)
    from embedtune.weights.spread import team
    from embedtune.weights.transformer import TransformerTower

    return TransformerTower(inner, method, team=team())


def material_of(method: Method, asked: Asked, round_: Round) -> Material:
    """Give the task's steps and held-out rows."""
    material = _material_of(method, asked, round_)
    if not method.matryoshka:
        return material
    return Nested(material, method.matryoshka, unit=asked.encoder.similarity == "cosine")


def _material_of(method: Method, asked: Asked, round_: Round) -> Material:
    inner: Any = uncached(asked.encoder)
    prompts: dict[str, str] = getattr(inner, "prompts", {"query": "", "document": ""})
    dataset, pool = asked.dataset, asked.pool
    common = (method, asked.metric, asked.seed)
    if dataset.task == "classification":
        return ClassMaterial(pool, round_, asked.found.train_texts, prompts["document"], *common)
    if dataset.task == "similarity":
        return PairMaterial(pool, round_, dataset.document_texts, prompts["document"], *common)
    row = {name: number for number, name in enumerate(dataset.document_ids)}
    documents = [dataset.document_texts[row[name]] for name in pool.document_ids]
    return RetrievalMaterial(pool, round_, asked.found.train_texts, documents, prompts, *common)


def checkpoint_of(method: Method, asked: Asked) -> Checkpoint | None:
    """Give the run's checkpoint, where it is to have one."""
    if asked.checkpoint is None:
        return None
    settings = {**asdict(method), "name": method.name, "metric": asked.metric, "test": asked.test}
    settings["seed"] = asked.seed
    return Checkpoint(
        asked.checkpoint,
        {
            "version": code_hash(),
            "data": asked.dataset.fingerprint,
            "base": asked.encoder.fingerprint,
            "settings": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
        },
    )
