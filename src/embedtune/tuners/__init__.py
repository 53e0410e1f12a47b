"""Training data and vectors to a transform: one file a method, and ``auto`` that chooses."""

from __future__ import annotations

from embedtune.registry import Entry, Registry
from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.tuners.base import Tuner

TUNERS = Registry(
    "tuner",
    {
        "identity": Entry("embedtune.tuners.identity:IdentityTuner", "the base as it is"),
        "ridge": Entry("embedtune.tuners.ridge:RidgeTuner", "closed form: queries towards their documents"),
        "procrustes": Entry("embedtune.tuners.procrustes:ProcrustesTuner", "closed form: rotate the queries"),
        "low-rank": Entry("embedtune.tuners.low_rank:LowRankTuner", "residual adapter of rank 32"),
        "linear": Entry("embedtune.tuners.linear:LinearTuner", "residual linear adapter"),
        "deltas": Entry("embedtune.tuners.deltas:DeltasTuner", "a shift for each document with queries"),
        "nudge-n": Entry("embedtune.tuners.published_nudge:NudgeN", "NUDGE-N as published"),
        "nudge-m": Entry("embedtune.tuners.published_nudge:NudgeM", "NUDGE-M as published"),
        "discriminant": Entry(
            "embedtune.tuners.discriminant:DiscriminantTuner",
            "closed form: classes apart, each drawn together",
        ),
        "prototypes": Entry(
            "embedtune.tuners.prototypes:PrototypesTuner", "items towards the prototype of their class"
        ),
        "neighbours": Entry(
            "embedtune.tuners.neighbours:NeighboursTuner", "items towards neighbours of their class (NCA)"
        ),
        "pair-metric": Entry(
            "embedtune.tuners.pair_metric:PairMetricTuner", "closed form: similarity regressed on scores"
        ),
        "pair-linear": Entry(
            "embedtune.tuners.pair_linear:PairLinearTuner",
            "one matrix that puts pairs in the order of scores",
        ),
        "pooling": Entry("embedtune.tuners.factors:PoolingTuner", "how a history becomes one vector"),
        "factors": Entry(
            "embedtune.tuners.factors:FactorsTuner", "items by who chose them, content for new ones"
        ),
    },
)
"""Methods by name; third parties add theirs under the entry-point group ``embedtune.tuners``."""

__all__ = ["TUNERS", "Budget", "Tuner", "TuningData"]
