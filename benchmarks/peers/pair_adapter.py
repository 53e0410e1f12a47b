"""A linear layer on both sides, trained on scored pairs as sentence-transformers trains a model on them.

The two losses that its documentation names for such pairs, on cached vectors in place of a model:
``CosineSimilarityLoss`` (mean squared error of the cosine to the score, brought to 0 to 1) and
``CoSENTLoss`` (scale 20). Starts at the identity; Adam, learning rate 1e-3, batches of 32, at most 20
passes; the pass with the best Spearman on dev is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from embedtune.types import Vectors

PASSES, BATCH, RATE, SCALE = 20, 32, 1e-3, 20.0

Pairs = tuple[Vectors, Vectors, Any]
"""Left (n, d), right (n, d), scores (n,)."""


def fit_cosine(train: Pairs, dev: Pairs, seed: int) -> Callable[[Vectors], Vectors]:
    """Mean squared error of the cosine."""
    return _fit(train, dev, seed, cosent=False)


def fit_cosent(train: Pairs, dev: Pairs, seed: int) -> Callable[[Vectors], Vectors]:
    """Order of every two pairs of a batch."""
    return _fit(train, dev, seed, cosent=True)


def _fit(train: Pairs, dev: Pairs, seed: int, *, cosent: bool) -> Callable[[Vectors], Vectors]:
    import torch
    from torch.nn.functional import cosine_similarity, mse_loss

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    left, right = (torch.from_numpy(np.asarray(x, np.float32)) for x in train[:2])
    low, high = float(np.min(train[2])), float(np.max(train[2]))
    score = torch.from_numpy(((np.asarray(train[2]) - low) / (high - low)).astype(np.float32))
    weight = torch.eye(left.shape[1], requires_grad=True)
    adam = torch.optim.Adam([weight], lr=RATE)
    best, kept = -1.0, np.eye(left.shape[1], dtype=np.float32)
    for _ in range(PASSES):
        found = weight.detach().numpy().copy()
        reached = spearmanr(cosines(lambda x, w=found: x @ w.T, dev), dev[2])[0]
        if reached > best:
            best, kept = reached, found
        for rows in np.array_split(rng.permutation(len(score)), -(-len(score) // BATCH)):
            similarity = cosine_similarity(left[rows] @ weight.T, right[rows] @ weight.T)
            if cosent:
                gap = SCALE * (similarity[:, None] - similarity[None])
                gap = gap - (score[rows][:, None] >= score[rows][None]).float() * 1e12
                loss = torch.logsumexp(torch.cat([torch.zeros(1), gap.flatten()]), 0)
            else:
                loss = mse_loss(similarity, score[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return lambda x: x @ kept.T


def cosines(fitted: Callable[[Vectors], Vectors], pairs: Pairs) -> Any:
    """Cosine of each mapped pair, (n,)."""
    a, b = fitted(pairs[0]), fitted(pairs[1])
    return np.einsum("ij,ij->i", a, b) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
