"""Tune pre-trained embeddings to a task, judge honestly, ship the result."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedtune.api import fine_tune
    from embedtune.artifact.tuned import Tuned, load
    from embedtune.data.dataset import Dataset
    from embedtune.evaluation import evaluate
    from embedtune.judging.verdict import Verdict
    from embedtune.stores.applying import apply

_HOMES = {
    "Dataset": "embedtune.data.dataset",
    "Tuned": "embedtune.artifact.tuned",
    "Verdict": "embedtune.judging.verdict",
    "apply": "embedtune.stores.applying",
    "evaluate": "embedtune.evaluation",
    "fine_tune": "embedtune.api",
    "load": "embedtune.artifact.tuned",
}

__all__ = ["Dataset", "Tuned", "Verdict", "__version__", "apply", "evaluate", "fine_tune", "load"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import embedtune`` costs nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("embedtune")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'embedtune' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
