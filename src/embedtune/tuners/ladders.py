"""The ladder of each task: what ``auto`` climbs."""

from __future__ import annotations

from embedtune.data.dataset import Task
from embedtune.tuners import (
    ladder_classification,
    ladder_recommendation,
    ladder_retrieval,
    ladder_similarity,
)
from embedtune.tuners.auto import Ladder

LADDERS: dict[Task, Ladder] = {
    "retrieval": ladder_retrieval.ladder,
    "classification": ladder_classification.ladder,
    "similarity": ladder_similarity.ladder,
    "recommendation": ladder_recommendation.ladder,
}
