"""One step's gradients: every text once through the model, in parts where memory asks for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from embedtune.errors import UserError
from embedtune.weights.material.base import Step
from embedtune.weights.tower import Tower

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "defaultcpuallocator")
"""What torch says where memory has run out."""


@dataclass
class Memory:
    """How much goes through the model at once."""

    tokens: int
    """Tokens of a part, padding included."""
    whole: float
    """Bytes of activations up to which a step is done in one go."""


def gradients(tower: Tower, step: Step, memory: Memory) -> float:
    """Leave the gradient of a step's loss in the trained weights, which must have none; give the loss.

    A small step runs through the model once. A larger one, by gradient caching: first all vectors
    without a graph, then the loss and its gradient by each vector, then each part once more with a graph,
    through which its vectors' gradients go. The gradient is the same; memory holds one part.

    When memory runs out the parts are halved, and the step begins anew.

    Raises
    ------
    UserError
        When not even one text fits.

    References
    ----------
    Gao, Zhang, Han and Callan 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited
    Setup (arXiv:2101.06983), section 3.
    """
    while True:
        try:
            return _gradients(tower, step, memory)
        except (MemoryError, RuntimeError) as error:
            said = str(error).lower()
            if not isinstance(error, MemoryError) and not any(words in said for words in OUT_OF_MEMORY):
                raise
            if memory.whole == 0 and len(tower.tokens.batches(step.rows, memory.tokens)) == len(step.rows):
                raise UserError(
                    "memory runs out with a single text",
                    fix="give texts fewer tokens (max_tokens), or free some",
                ) from None
            memory.tokens, memory.whole = max(memory.tokens // 2, 1), 0.0
        for parameter in tower.trained().values():
            parameter.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _gradients(tower: Tower, step: Step, memory: Memory) -> float:
    parts = tower.tokens.batches(step.rows, memory.tokens)
    joined = np.concatenate(parts)
    order = np.argsort(joined)
    place = torch.from_numpy(order[np.searchsorted(joined[order], step.rows)])  # of each row among the parts
    padded = sum(int(tower.tokens.lengths[part].max(initial=1)) * len(part) for part in parts)
    if padded * tower.per_token <= memory.whole:
        vectors = torch.cat([tower(part) for part in parts])
        loss = step.loss(vectors[place.to(vectors.device)])
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())
    with torch.no_grad():
        vectors = torch.cat([tower(part) for part in parts])
    vectors.requires_grad_(True)
    loss = step.loss(vectors[place.to(vectors.device)])
    (wanted,) = torch.autograd.grad(loss, vectors)
    start = 0
    for part in parts:
        torch.autograd.backward(tower(part), wanted[start : start + len(part)])
        start += len(part)
    return float(loss.detach())
