"""The losses of vectors, on torch: softmax over documents, order of scores, classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import normalize, softplus

NEVER = -1e9
"""Logit of what is no negative; finite, so that a row without negatives has a gradient of zero, not NaN."""


def info_nce(
    queries: torch.Tensor,
    documents: torch.Tensor,
    positive: tuple[Any, Any],
    weight: torch.Tensor,
    masked: tuple[Any, Any],
    scale: float,
) -> torch.Tensor:
    """Mean cross-entropy of each positive against all documents that are not known positives.

    The same loss as :func:`embedtune.tuners.softmax.softmax_loss`, which the adapters are trained with.

    Parameters
    ----------
    queries, documents : float32 tensors of shape (b, d) and (m, d)
        Unit length where the similarity is cosine.
    positive : (int tensor, int tensor)
        Positions (query, document) of the positives, (p,) each.
    weight : float32 tensor of shape (p,)
        Weight of each positive; a query's weights add up to 1, or to what it counts.
    masked : (int tensor, int tensor)
        Positions that are no negatives.
    scale : float
        Inverse temperature.
    """
    logits = scale * queries @ documents.T
    rows, columns = positive
    own = logits[rows, columns]
    out = torch.zeros_like(logits, dtype=torch.bool)
    out[masked] = True
    out[rows, columns] = True
    others = torch.logsumexp(logits.masked_fill(out, NEVER), dim=1)
    return (weight * softplus(others[rows] - own)).sum() / len(queries)


def cosent(similarity: torch.Tensor, score: torch.Tensor, scale: float) -> torch.Tensor:
    """Logarithm of the sum over all pairs in the wrong order of how wrong they are.

    CoSENT (Su 2022): log(1 + sum over score_i > score_j of exp(scale * (s_j - s_i))).

    Parameters
    ----------
    similarity, score : float32 tensors of shape (n,)
        Similarity of each pair's sentences, and what it should be, in order.
    scale : float
        Inverse temperature.
    """
    behind = scale * (similarity[None, :] - similarity[:, None])
    wrong = torch.where(score[:, None] > score[None, :], behind, torch.full_like(behind, NEVER))
    return torch.logsumexp(torch.cat([behind.new_zeros(1), wrong.flatten()]), dim=0)


def contrastive(vectors: torch.Tensor, alike: torch.Tensor, scale: float) -> torch.Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, equation 2).

    Parameters
    ----------
    vectors : float32 tensor of shape (n, d)
        Unit length where the similarity is cosine.
    alike : float32 tensor of shape (n, n)
        1 where two items share a class; the diagonal plays no part.
    scale : float
        Inverse temperature.
    """
    own = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    logits = (scale * vectors @ vectors.T).masked_fill(own, NEVER)
    log_share = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    alike = alike.masked_fill(own, 0.0)
    count = alike.sum(dim=1)
    each = -(alike * log_share).sum(dim=1) / count.clamp(min=1)  # 0 for items that nothing is like
    return each.sum() / (count > 0).sum().clamp(min=1)


def listwise(
    similarity: torch.Tensor, logits: torch.Tensor, scale: float, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Kullback-Leibler divergence of a teacher's softmax over each query's candidates from that of the model.

    Hinton, Vinyals and Dean 2015 (arXiv:1503.02531), section 2, over documents. What the teacher holds to be
    out of the question weighs little, however far behind it is; :func:`margins` follow that too.

    Parameters
    ----------
    similarity : float32 tensor of shape (b, k)
        Of each query and its candidates.
    logits : float32 tensor of shape (b, k)
        Logarithm of the teacher's probabilities, up to a constant a row; minus infinity where a row has
        fewer candidates.
    scale : float
        Inverse temperature of ``similarity``.
    weight : float32 tensor of shape (b,), optional
        How much each query counts.
    """
    missing = torch.isneginf(logits)
    wanted = torch.log_softmax(logits.masked_fill(missing, NEVER), dim=1)
    given = torch.log_softmax((scale * similarity).masked_fill(missing, NEVER), dim=1)
    each = (wanted.exp() * (wanted - given)).sum(dim=1)
    return (each if weight is None else weight * each).sum() / max(len(logits), 1)


def margins(
    similarity: torch.Tensor, logits: torch.Tensor, scale: float, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean squared difference of how far the first candidate is ahead of each other one.

    Margin-MSE (Hofstätter et al. 2020, arXiv:2010.02666, equation 2). It wants both margins in one unit: the
    teacher's logits are calibrated, so that they are those of probabilities, as ``scale * similarity`` is.

    Parameters
    ----------
    similarity, logits, scale, weight
        As :func:`listwise` takes them; the teacher's first choice comes first, and is there in every row.
    """
    missing = torch.isneginf(logits[:, 1:])
    wanted = (logits[:, :1] - logits[:, 1:]).masked_fill(missing, 0.0)
    given = (scale * (similarity[:, :1] - similarity[:, 1:])).masked_fill(missing, 0.0)
    each = ((given - wanted) ** 2).sum(dim=1) / (~missing).sum(dim=1).clamp(min=1)
    return (each if weight is None else weight * each).sum() / max(len(logits), 1)


def nested(
    loss: Callable[[torch.Tensor], torch.Tensor], vectors: torch.Tensor, widths: Sequence[int], *, unit: bool
) -> torch.Tensor:
    """Give the mean of a loss over the vectors' leading parts, each brought to unit length again.

    Kusupati et al. 2022, Matryoshka Representation Learning (arXiv:2205.13147), equation 1, with equal
    weights.

    Parameters
    ----------
    loss : callable
        Takes vectors (m, w) to a number.
    vectors : float32 tensor of shape (m, d)
        Unit length where the similarity is cosine.
    widths : sequence of int
        Dimensions of each part, from 1 to d.
    unit : bool
        Whether the similarity is cosine.
    """
    parts = (vectors[:, :width] for width in widths)
    return torch.stack([loss(normalize(part, dim=1) if unit else part) for part in parts]).mean()
