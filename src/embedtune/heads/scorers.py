"""What gives a head its logits: a regression, the vote of the training items, or both; and each as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import log_softmax

from embedtune.judging.logistic import Logistic
from embedtune.judging.voting import Voters
from embedtune.training.items import LabelledItems
from embedtune.types import Vectors

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Both:
    """A regression and a vote, whose opinions count alike.

    Parameters
    ----------
    regression, vote : Logistic and Voters
        For the same classes.
    temperatures : (float, float)
        Their logits are divided by these, so that neither is surer than it may be.

    References
    ----------
    The mean of the logarithms is the logarithmic opinion pool: Genest and Zidek 1986, Combining
    Probability Distributions (Statistical Science 1), section 2.
    """

    regression: Logistic
    vote: Voters
    temperatures: tuple[float, float]

    def logits(self, x: Vectors) -> Values:
        """Give each class's logit for each row of ``x`` (n, d), (n, C)."""
        parts = (self.regression.logits(x), self.vote.logits(x))
        return pooled(parts, self.temperatures, single=self.vote.single)


Scorer = Logistic | Voters | Both


def pooled(logits: Sequence[Values], temperatures: Sequence[float], *, single: bool) -> Values:
    """Give the mean of what several logits (n, C), each over its temperature, say of each class, (n, C).

    Logarithms of probabilities or, with several classes an item, of odds.
    """
    scaled = [one / temperature for one, temperature in zip(logits, temperatures, strict=True)]
    return np.asarray(np.mean([log_softmax(one, axis=1) for one in scaled] if single else scaled, axis=0))


def classes_of(scorer: Scorer) -> int:
    """Count the classes that there are logits for."""
    if isinstance(scorer, Both):
        return classes_of(scorer.vote)
    return len(scorer.items.classes) if isinstance(scorer, Voters) else len(scorer.weights)


def width_of(scorer: Scorer) -> int:
    """Count the dimensions of the vectors that it takes."""
    if isinstance(scorer, Both):
        return width_of(scorer.vote)
    return int((scorer.items.vectors if isinstance(scorer, Voters) else scorer.weights).shape[1])


def scorer_state(scorer: Scorer) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Give the tensors (for safetensors) and the settings (for JSON)."""
    if isinstance(scorer, Both):
        parts = [scorer_state(one) for one in (scorer.regression, scorer.vote)]
        settings = {"temperatures": [float(one) for one in scorer.temperatures]}
        return parts[0][0] | parts[1][0], settings | parts[0][1] | parts[1][1]
    if isinstance(scorer, Logistic):
        tensors: dict[str, NDArray[Any]] = {"weights": scorer.weights, "bias": scorer.bias}
        if scorer.back is None:
            return tensors, {}
        return tensors | {"back": scorer.back}, {"unit": bool(scorer.unit)}
    items = scorer.items
    indices, indptr = (np.asarray(x, np.int64) for x in (items.labels.indices, items.labels.indptr))
    own = {"scale": float(scorer.scale), "similarity": items.similarity}
    return {"vectors": items.vectors, "indices": indices, "indptr": indptr}, own


def scorer_from_state(
    tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], classes: Sequence[str], *, single: bool
) -> Scorer:
    """Rebuild what :func:`scorer_state` gave.

    Raises
    ------
    KeyError, TypeError, ValueError, IndexError
        When something is missing, or does not belong together.
    """
    regression, vote = None, None
    if "weights" in tensors:
        back, unit = tensors.get("back"), bool(settings.get("unit", True))
        regression = Logistic(tensors["weights"], tensors["bias"], single, back, unit)
        if back is not None and back.shape != (regression.weights.shape[1],) * 2:
            raise ValueError(f"back {back.shape} does not fit weights {regression.weights.shape}")
        if regression.weights.ndim != 2 or regression.bias.shape != (len(classes),):
            raise ValueError(
                f"weights {regression.weights.shape} and bias {regression.bias.shape} do not fit"
            )
    if regression is None or "vectors" in tensors:
        x, indices = tensors["vectors"], tensors["indices"]
        ones = np.ones(len(indices), np.float32)
        labels = csr_matrix((ones, indices, tensors["indptr"]), shape=(len(x), len(classes)))
        labels.check_format(full_check=True)
        items = LabelledItems(x, labels, list(classes), settings["similarity"])
        vote = Voters(items, float(settings["scale"]), single)
    if regression is None or vote is None:
        return regression or vote  # type: ignore[return-value]  # one of them is there
    if regression.weights.shape[1] != vote.items.vectors.shape[1]:
        raise ValueError(f"weights {regression.weights.shape} do not fit vectors {vote.items.vectors.shape}")
    first, second = (float(one) for one in settings["temperatures"])
    if not (0 < first < np.inf and 0 < second < np.inf):
        raise ValueError(f"temperatures {first} and {second} are out of range")
    return Both(regression, vote, (first, second))
