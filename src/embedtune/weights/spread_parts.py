"""Several processes, one training: each runs its share of a step's texts through its copy of the model.

A step has the weights sent out, all vectors gathered in the first process, the loss and its gradient by each
vector taken there, that sent out, and the gradients by the weights added up there. The optimiser is the first
process's: the others have no state, so that a run can be resumed, or its memory halved, by one alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from embedtune.errors import UserError
from embedtune.weights.parts import Parts
from embedtune.weights.spread import OtherFailed, Team
from embedtune.weights.texts import Rows, Texts

if TYPE_CHECKING:
    from embedtune.weights.transformer import TransformerTower


class SpreadParts(Parts):
    """Batches of texts, each of which goes through the model of one of several processes.

    Parameters
    ----------
    tower : TransformerTower
        This process's copy of the model.
    team : Team
        The processes.
    parts : sequence of int64 arrays
        Numbers of texts, a batch each: the same in all processes.
    whole : bool
        As for :class:`~embedtune.weights.parts.Parts`.
    """

    def __init__(self, tower: TransformerTower, team: Team, parts: Sequence[Rows], *, whole: bool) -> None:
        self.team, self.all, self.graph = team, list(parts), True
        cost = [int(tower.tokens.lengths[part].max(initial=1)) * len(part) for part in parts]
        mine = shares(cost, team.size)[team.rank]
        super().__init__(tower, [self.all[number] for number in mine], whole=whole)
        starts = np.cumsum([0, *(len(part) for part in self.all)])
        places = [np.arange(starts[number], starts[number + 1]) for number in mine]
        self.count, self.width = int(starts[-1]), tower.dimension
        self.mine = torch.from_numpy(np.concatenate([*places, np.empty(0, np.int64)]).astype(np.int64))
        self.mine = self.mine.to(tower.device)

    @classmethod
    def begun(cls, tower: Any, team: Team, parts: Sequence[Rows], *, whole: bool, graph: bool) -> SpreadParts:
        """Tell the others what is coming: vectors, and with ``graph`` their gradients too."""
        precision = None if tower.autocast is None else str(tower.autocast).removeprefix("torch.")
        rows = [part.tolist() for part in parts]
        said = {"parts": rows, "whole": whole, "graph": graph, "precision": precision}
        team.underway = True
        team.say({"do": "run", **said, "compiled": tower.compiled})
        made = cls(tower, team, parts, whole=whole)
        made.graph = graph
        return made

    def forward(self) -> torch.Tensor:
        """Give all vectors in the first process; zeros for those of others elsewhere."""
        for parameter in self.tower.trained().values():
            self.team.from_first(parameter.data)
        with self.team.together():
            own = super().forward()
        vectors = torch.zeros(self.count, self.width, device=self.mine.device)
        if own is not None:
            vectors[self.mine] = own
        self.team.to_first(vectors)
        self.team.underway = self.graph
        return vectors

    def backward(self, wanted: torch.Tensor) -> None:
        """Add the gradients of all processes up in the first one."""
        wanted = wanted.contiguous()
        self.team.from_first(wanted)
        with self.team.together():
            super().backward(wanted[self.mine])
        parameters = list(self.tower.trained().values())
        used = self.team.anywhere([parameter.grad is not None for parameter in parameters])
        for parameter, anywhere in zip(parameters, used, strict=True):
            if anywhere:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                self.team.to_first(parameter.grad)
        self.team.underway = False

    def together(self) -> Any:
        """Let the others know whether the loss could be taken."""
        return self.team.together()


def shares(cost: Sequence[int], size: int) -> list[list[int]]:
    """Give each of ``size`` processes the numbers of its parts, so that their costs are alike.

    Examples
    --------
    >>> shares([5, 4, 3, 3, 1], 2)
    [[0, 3], [1, 2, 4]]
    """
    found: list[list[int]] = [[] for _ in range(size)]
    load = [0] * size
    for number in sorted(range(len(cost)), key=lambda one: -cost[one]):
        least = load.index(min(load))
        found[least].append(number)
        load[least] += cost[number]
    return [sorted(one) for one in found]


def announce(team: Team, tower: TransformerTower, texts: Texts, folder: Path) -> None:
    """Have the others load the model and read the texts."""
    encoder = tower.encoder
    team.underway = True
    team.say(
        {
            "do": "read",
            "model": str(encoder.folder),
            "max_tokens": encoder.max_tokens,
            "similarity": encoder.similarity,
            "method": tower.method.name,
            "settings": asdict(tower.method),
            "trained": {name: list(p.shape) for name, p in tower.trained().items()},
            "texts": texts.items,
            "folder": str(folder.resolve()),
        }
    )
    with team.together():
        pass


def serve(team: Team) -> None:
    """Do what the first process says, until it ends."""
    logging.disable(logging.WARNING)  # the first process says it
    tower: TransformerTower | None = None
    while True:
        try:
            said = team.hear()
            if said["do"] == "end":
                break
            if said["do"] == "read":
                tower = _loaded(team, said)
            elif tower is not None:
                _run(team, tower, said)
        except (OtherFailed, MemoryError):
            pass  # the first process knows, and says what comes next
        except UserError:
            if not team.broken:
                raise
            break  # the first process has ended, for reasons of its own
        for parameter in () if tower is None else tower.trained().values():
            parameter.grad = None
    team.release()


def _loaded(team: Team, said: dict[str, Any]) -> TransformerTower:
    from embedtune.encoders.transformer import TransformerEncoder
    from embedtune.weights import RUNGS
    from embedtune.weights.transformer import TransformerTower

    with team.together():
        encoder = TransformerEncoder(
            said["model"], max_tokens=said["max_tokens"], similarity=said["similarity"]
        )
        method = RUNGS.load(said["method"])(**said["settings"])
        tower = TransformerTower(encoder, method, team=team)
        if {name: list(p.shape) for name, p in tower.trained().items()} != said["trained"]:
            raise UserError("another model or method than the first process's", where=said["model"])
        texts = Texts(items=[(prompt, text) for prompt, text in said["texts"]])
    tower.read(texts, Path(said["folder"]))
    return tower


def _run(team: Team, tower: TransformerTower, said: dict[str, Any]) -> None:
    tower.autocast = getattr(torch, said["precision"]) if said["precision"] else None
    if said["compiled"] and not tower.compiled:
        tower.compile()
    elif tower.compiled and not said["compiled"]:
        tower.uncompile()
    parts = [np.array(rows, np.int64) for rows in said["parts"]]
    run = SpreadParts(tower, team, parts, whole=said["whole"])
    vectors = run.forward()
    if said["graph"]:
        with team.together():
            pass  # the first process takes the loss
        run.backward(torch.empty_like(vectors))
