"""Tuning the weights themselves: what trains, what is kept of it, and how it joins the adapters.

Each method is a file of settings in :mod:`embedtune.weights.methods`; torch is imported only where one runs.
"""

from __future__ import annotations

from embedtune.registry import Entry, Registry

RUNGS = Registry(
    "rung",
    {
        "layers": Entry("embedtune.weights.methods:Layers", "the top layers; what is below is computed once"),
        "lora": Entry(
            "embedtune.weights.methods:Lora", "low-rank changes of every matrix, merged at the end"
        ),
        "full": Entry("embedtune.weights.methods:Full", "all weights of a transformer"),
        "table": Entry("embedtune.weights.methods:Table", "the token table of a static model"),
    },
)
"""Methods that change weights; third parties add theirs under the entry-point group ``embedtune.rungs``."""

__all__ = ["RUNGS"]
