"""A linear adapter as LlamaIndex's ``EmbeddingAdapterFinetuneEngine`` trains it, in torch, on cached vectors.

What that engine does (package ``llama-index-finetuning``, ``embeddings/adapter.py`` and
``embeddings/adapter_utils.py``) and what is done here:

================  ============================================  =====================================
what              LlamaIndex                                    ``linear, query`` / ``linear, both``
================  ============================================  =====================================
adapter           ``nn.Linear(d, d)``, no bias, identity start  the same
mapped            queries                                       queries / both sides, with one matrix
loss              softmax over the batch's documents,           the same
                  cosine x 20
optimiser         AdamW, gradient norm clipped at 1, warm-up    AdamW at a constant rate, no clipping
                  over 10 % of the steps, then linearly to 0
learning rate     2e-5                                          1e-3
batch             10                                            128
epochs            1                                             30
epoch kept        the last                                      the best of the 30 by nDCG@10 on dev
pairs             first positive of each query                  every (query, positive)
order             as in the file, each epoch                    shuffled, each epoch
vectors           every batch embedded again, every epoch       embedded once
================  ============================================  =====================================

Each difference is in the peer's favour: with its own defaults the matrix scarcely leaves the identity.
``linear, as shipped`` keeps every default but the number of epochs (30).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.judging.metrics import evaluate_ranks
from embedtune.search import positive_ranks
from embedtune.types import Vectors

Maps = tuple[Callable[[Vectors], Vectors], Callable[[Vectors], Vectors]]


@dataclass(frozen=True)
class Settings:
    """How an adapter is trained."""

    both: bool = False
    """Map documents too, with the same matrix."""
    learning_rate: float = 1e-3
    epochs: int = 30
    batch: int = 128
    scale: float = 20.0
    clip_and_decay: bool = False
    """Clip the gradient's norm at 1, warm the rate up, then let it fall to 0; else a constant rate."""
    keep_best: bool = True
    """Keep the epoch with the best nDCG@10 on dev; else the last."""
    all_positives: bool = True
    """Train on every positive; else on the first of each query."""
    shuffle: bool = True


AS_SHIPPED = Settings(
    learning_rate=2e-5, batch=10, clip_and_decay=True, keep_best=False, all_positives=False, shuffle=False
)
"""The engine's own defaults, but for 30 epochs."""


def fit_query(queries: Vectors, documents: Vectors, train: csr_matrix, dev: csr_matrix, seed: int) -> Maps:
    """Fit a matrix for queries."""
    return fit(queries, documents, train, dev, seed, Settings())


def fit_both(queries: Vectors, documents: Vectors, train: csr_matrix, dev: csr_matrix, seed: int) -> Maps:
    """Fit one matrix for queries and documents."""
    return fit(queries, documents, train, dev, seed, Settings(both=True))


def fit_as_shipped(
    queries: Vectors, documents: Vectors, train: csr_matrix, dev: csr_matrix, seed: int
) -> Maps:
    """Fit a matrix for queries with LlamaIndex's defaults, for 30 epochs."""
    return fit(queries, documents, train, dev, seed, AS_SHIPPED)


def fit(
    queries: Vectors, documents: Vectors, train: csr_matrix, dev: csr_matrix, seed: int, settings: Settings
) -> Maps:
    """Fit an adapter by ``settings`` and give its maps, to unit length."""
    matrix = _train(queries, documents, train, dev, seed, settings)

    def map_documents(x: Vectors) -> Vectors:
        return _unit(x @ matrix.T) if settings.both else x

    return lambda x: _unit(x @ matrix.T), map_documents


def _train(
    queries: Vectors, documents: Vectors, train: csr_matrix, dev: csr_matrix, seed: int, settings: Settings
) -> Vectors:
    import torch

    torch.manual_seed(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # its products are small: a second thread costs more than it brings
    try:
        best, best_score = np.eye(queries.shape[1], dtype=np.float32), -1.0
        for matrix in _epochs(queries, documents, train, seed, settings):
            if not settings.keep_best:
                best = matrix
                continue
            score = _dev_score(queries, documents, dev, matrix, settings.both)
            if score > best_score:
                best, best_score = matrix, score
        return best
    finally:
        torch.set_num_threads(threads)


def _epochs(
    queries: Vectors, documents: Vectors, train: csr_matrix, seed: int, settings: Settings
) -> Iterator[Vectors]:
    """Train, and give the matrix after every epoch."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    rng = np.random.default_rng(seed)
    pairs = _pairs(train, settings)
    known_queries, known_documents = torch.tensor(queries), torch.tensor(documents)
    weight = torch.nn.Parameter(torch.eye(queries.shape[1]))
    optimiser = torch.optim.AdamW([weight], lr=settings.learning_rate)
    steps = -(-len(pairs) // settings.batch) * settings.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps, settings))
    for _ in range(settings.epochs):
        order = rng.permutation(len(pairs)) if settings.shuffle else np.arange(len(pairs))
        for start in range(0, len(pairs), settings.batch):
            chosen = pairs[order[start : start + settings.batch]]
            asked, answers = known_queries[chosen[:, 0]] @ weight.T, known_documents[chosen[:, 1]]
            if settings.both:
                answers = answers @ weight.T
            scores = normalize(asked) @ normalize(answers).T * settings.scale
            loss = cross_entropy(scores, torch.arange(len(chosen)))
            torch.autograd.backward(loss)
            if settings.clip_and_decay:
                torch.nn.utils.clip_grad_norm_([weight], 1.0)
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
        yield weight.detach().numpy().copy()


def _pairs(train: csr_matrix, settings: Settings) -> NDArray[np.int64]:
    """(query, document) rows of the training pairs."""
    rows = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    pairs = np.stack([rows, train.indices], axis=1).astype(np.int64)
    first = np.r_[True, np.diff(rows) != 0]
    return pairs if settings.all_positives else pairs[first]


def _rate(step: int, steps: int, settings: Settings) -> float:
    """Share of the learning rate: up over the first tenth of the steps, then down to 0; or constant."""
    if not settings.clip_and_decay:
        return 1.0
    warm = int(steps * 0.1)
    return step / max(1, warm) if step < warm else max(0.0, (steps - step) / max(1, steps - warm))


def _dev_score(queries: Vectors, documents: Vectors, dev: csr_matrix, matrix: Vectors, both: bool) -> float:
    """Mean nDCG@10 of the dev queries; 0 without any, so that the first epoch is kept."""
    rows = np.flatnonzero(np.diff(dev.indptr))
    if not len(rows):
        return 0.0
    mapped = _unit(documents @ matrix.T) if both else documents
    ranks = positive_ranks(_unit(queries[rows] @ matrix.T), mapped, dev[rows])
    return float(evaluate_ranks(ranks, dev[rows])["ndcg@10"].mean())


def _unit(x: Vectors) -> Vectors:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)
