"""Another tuner, on vectors that say all of long documents, not only what the base reads of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.transforms import ReadOnDeltas, then
from embedtune.tuners.base import Tuner
from embedtune.types import Transform


@dataclass(frozen=True)
class ReadOn:
    """Moves long documents towards what the base did not read of them, and fits another tuner on that.

    A model reads a few hundred tokens; of many papers, manuals and tickets that is less than a half, and a
    conclusion comes last. The rest, read in windows that each begin with the document's own beginning, is
    mixed with the first window. Stored vectors move by what was known of each document when the map was
    fitted; documents that come later are read on where their texts are at hand, see
    :class:`~embedtune.transforms.ReadOnDeltas`.

    Parameters
    ----------
    tuner : Tuner
        What is fitted to the moved vectors.
    share : float
        Weight of the mean of the later windows, in units of that of the first.
    """

    tuner: Tuner
    share: float = 0.5

    name: ClassVar[str] = "read on"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval",)
    needs: ClassVar[str] = "vectors"

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Transform:
        """Fit the tuner; to the vectors as they are where there is nothing unread."""
        unread = train.unread
        if unread is None or not len(unread.documents):
            return self.tuner.fit(train, seed=seed, budget=budget)
        below = ReadOnDeltas.of(
            [train.document_ids[row] for row in unread.documents],
            np.asarray(train.documents[unread.documents], np.float32),
            unread.vectors,
            share=self.share,
            normalise=train.cosine,
        )
        return then(below, self.tuner.fit(train.mapped(below), seed=seed, budget=budget))
