"""A classifier on top of an artifact's vectors, as arrays: calibrated, and able to abstain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError, VectorError
from embedtune.heads.calibration import confidence, probabilities
from embedtune.heads.scorers import Scorer, classes_of, scorer_from_state, scorer_state, width_of
from embedtune.transforms.blocks import as_block
from embedtune.types import Vectors

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Head:
    """Classes and their probabilities for vectors.

    Parameters
    ----------
    scorer : Logistic, Voters or Both
        What gives logits (n, C): a regression, the training items themselves, or both, of vectors as the
        artifact's transform gives them.
    classes : sequence of str
        Names of the C classes.
    single : bool
        Whether every item has exactly one class: probabilities then add up to 1. Otherwise each class
        has a probability of its own, and a prediction any number of classes.
    temperature : float
        Logits are divided by it, so that probabilities are as often right as they say.
    threshold : float
        With several classes an item, the least probability of a predicted class.
    curve : float64 array of shape (2, p)
        Confidence, falling, and accuracy of all out-of-fold predictions of at least that confidence.
    """

    scorer: Scorer
    classes: Sequence[str]
    single: bool = True
    temperature: float = 1.0
    threshold: float = 0.5
    curve: Values | None = None
    cut: bool = False
    """Whether time ended before all kinds had been tried, or fitted to the end; this is not saved."""

    def __post_init__(self) -> None:
        given = classes_of(self.scorer)
        if given != len(self.classes):
            raise VectorError(f"logits of {given} classes for the names of {len(self.classes)}")

    @property
    def width(self) -> int:
        """Dimensions of the vectors that it takes."""
        return width_of(self.scorer)

    def predict_proba(self, x: Vectors) -> Values:
        """Give the calibrated probability of each class.

        Parameters
        ----------
        x : float32 array of shape (n, d)
            Tuned vectors, unit length where the similarity is cosine.

        Returns
        -------
        float64 array of shape (n, C)
            Columns in the order of :attr:`classes`.

        Raises
        ------
        VectorError
            When the vectors have another width.
        """
        logits = self.scorer.logits(as_block(x, self.width))
        return probabilities(logits, self.temperature, self.single)

    def predict(
        self, x: Vectors, *, accuracy: float | None = None
    ) -> list[str | None] | list[list[str] | None]:
        """Give the class of each vector, or, with several classes an item, a list of them.

        Parameters
        ----------
        x : float32 array of shape (n, d)
            As for :meth:`predict_proba`.
        accuracy : float, optional
            Abstain (None) where the confidence is below :meth:`abstain_below` of this accuracy.

        Raises
        ------
        UserError
            When no confidence gives the wished accuracy.
        """
        p = self.predict_proba(x)
        least = -1.0 if accuracy is None else self.abstain_below(accuracy)
        sure = confidence(p, self.single, self.threshold) >= least
        if self.single:
            best = p.argmax(axis=1)
            return [
                self.classes[column] if ok else None for column, ok in zip(best.tolist(), sure, strict=True)
            ]
        return [
            [self.classes[column] for column in np.flatnonzero(row >= self.threshold).tolist()]
            if ok
            else None
            for row, ok in zip(p, sure, strict=True)
        ]

    def abstain_below(self, accuracy: float) -> float:
        """Give the least confidence at which predictions were, out of fold, as accurate as wished.

        Raises
        ------
        UserError
            When ``accuracy`` is no share, or no confidence reaches it.
        """
        if not 0 < accuracy <= 1:
            raise UserError(f"accuracy is {accuracy}", fix="give a number above 0, at most 1")
        if self.curve is None or not self.curve.shape[1]:
            raise UserError("this head was not calibrated out of fold, so it cannot abstain")
        reached = np.flatnonzero(self.curve[1] >= accuracy)
        if not len(reached):
            raise UserError(
                f"no confidence gives an accuracy of {accuracy:.3g}; the highest out of fold is "
                f"{self.curve[1].max():.3f}",
                fix="ask for less, or label more",
            )
        return float(self.curve[0, reached[-1]])

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give the tensors (for safetensors) and the settings (for JSON)."""
        curve = np.empty((2, 0)) if self.curve is None else self.curve
        settings: dict[str, Any] = {
            "classes": list(self.classes),
            "single": bool(self.single),
            "temperature": float(self.temperature),
            "threshold": float(self.threshold),
        }
        tensors, own = scorer_state(self.scorer)
        return tensors | {"curve": curve}, settings | own

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Head:
        """Rebuild what ``state`` gave.

        Raises
        ------
        KeyError, TypeError, ValueError, IndexError
            When something is missing, or does not belong together.
        """
        classes, single = list(settings["classes"]), bool(settings["single"])
        temperature, threshold = float(settings["temperature"]), float(settings["threshold"])
        if not (temperature > 0 and np.isfinite(temperature) and np.isfinite(threshold)):
            raise ValueError(f"temperature {temperature} and threshold {threshold} are out of range")
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise ValueError("values are not finite")
        scorer = scorer_from_state(tensors, settings, classes, single=single)
        curve = tensors["curve"] if tensors["curve"].shape[1] else None
        return cls(scorer, classes, single, temperature, threshold, curve)
