"""One step's gradients: every text once through the model, in parts where memory asks for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from embedtune.errors import UserError
from embedtune.weights.device import fitting, ran_out
from embedtune.weights.material.base import Step
from embedtune.weights.methods_base import Method
from embedtune.weights.parts import Parts
from embedtune.weights.texts import Rows
from embedtune.weights.tower import Tower


@dataclass
class Memory:
    """How much goes through the model at once."""

    tokens: int
    """Tokens of a part, padding included."""
    whole: float
    """Bytes of activations up to which a step is done in one go."""

    @classmethod
    def of(cls, tower: Tower, method: Method) -> Memory:
        """Give what the settings say, or more on a GPU that has room."""
        return cls(*fitting(tower, method.tokens, method.memory))


def gradients(tower: Tower, step: Step, memory: Memory) -> float:
    """Leave the gradient of a step's loss in the trained weights, which must have none; give the loss.

    A small step runs through the model once. A larger one, by gradient caching: first all vectors
    without a graph, then the loss and its gradient by each vector, then each part once more with a graph,
    through which its vectors' gradients go. The gradient is the same; memory holds one part. Where
    several processes train, each has its share of the parts, and the loss is that of all vectors.

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
            if not ran_out(error):
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


def encoded(tower: Tower, rows: Rows, tokens: int) -> torch.Tensor:
    """Give the vectors of distinct texts, float32 (n, d), without a graph, ``tokens`` of them at a time.

    When memory runs out, half as many.
    """
    while True:
        try:
            run, place = _run(tower, rows, tokens, whole=0.0, graph=False)
            vectors = run.forward()
            if vectors is None:
                raise ValueError("there is no text")
            return vectors[place.to(vectors.device)]
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error) or len(tower.tokens.batches(rows, tokens)) == len(rows):
                raise
            tokens = max(tokens // 2, 1)


def _gradients(tower: Tower, step: Step, memory: Memory) -> float:
    run, place = _run(tower, step.rows, memory.tokens, memory.whole)
    vectors = run.forward()
    if vectors is None:
        raise ValueError("a step has no text")
    with run.together():
        vectors.requires_grad_(True)
        loss = step.loss(vectors[place.to(vectors.device)])
        (wanted,) = torch.autograd.grad(loss, vectors)
    run.backward(wanted)
    return float(loss.detach())


def _run(
    tower: Tower, rows: Rows, tokens: int, whole: float, *, graph: bool = True
) -> tuple[Parts, torch.Tensor]:
    """Cut texts into parts; give them, and where among them each row is."""
    team = tower.team
    parts = tower.tokens.batches(rows, tokens)
    lengths = tower.tokens.lengths
    padded = sum(int(lengths[part].max(initial=1)) * len(part) for part in parts)
    if team is not None:  # so that everyone has something to do
        tokens = min(tokens, max(-(-padded // team.size), int(lengths[rows].max(initial=1))))
        parts = tower.tokens.batches(rows, tokens)
    joined = np.concatenate(parts)
    order = np.argsort(joined)
    place = torch.from_numpy(order[np.searchsorted(joined[order], rows)])
    share = 1 if team is None else team.size
    kept = graph and padded * tower.per_token <= whole * share
    if team is None:
        return Parts(tower, parts, whole=kept), place
    from embedtune.weights.spread_parts import SpreadParts

    return SpreadParts.begun(tower, team, parts, whole=kept, graph=graph), place
