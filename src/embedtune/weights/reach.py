"""Whether weights are tuned at all: the method, the base that it fits, enough labels. Nothing heavy here."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedtune.artifact.probes import uncached
from embedtune.errors import MissingExtra, UserError
from embedtune.extras import require
from embedtune.tuners import TUNERS
from embedtune.tuners.auto import Choice
from embedtune.tuners.base import Tuner
from embedtune.types import Encoder
from embedtune.weights import RUNGS
from embedtune.weights.asked import Asked, Kept, Reached
from embedtune.weights.methods import Full, Layers, Lora, Method, Table
from embedtune.weights.room import refuse_too_large

FEWEST = 100
"""Labels below which no weights are trained."""


def rung_of(method: str | Tuner | Method, layers: int | None) -> Method | None:
    """Give the method that changes weights, if ``method`` is one or names one.

    Raises
    ------
    UserError
        When there is no such method, or layers are counted for another.
    """
    if not isinstance(method, str):
        if layers is not None:
            fix = "leave layers out, or give the method by its name"
            raise UserError(f"layers are among the settings of {method.name!r}", fix=fix)
        return method if isinstance(method, Method) else None
    if layers is not None and method != "layers":
        raise UserError(f"layers are counted for method 'layers', not {method!r}", fix="take method 'layers'")
    if method in RUNGS:
        made: Method = RUNGS.load(method)()
        return made if layers is None else replace(made, layers=layers)
    if method != "auto" and method not in TUNERS:
        try:
            TUNERS[method]
        except UserError as error:
            raise UserError(error.what, fix=f"{error.fix}, {', '.join(RUNGS)}") from None
    return None


def with_distil(method: Method | None, distil: float | None, *, taught: bool) -> Method | None:
    """Give the method that follows a teacher's scores with a share of its loss.

    Raises
    ------
    UserError
        When the share is none from 0 to 1, or there is no teacher, or no method that tunes weights.
    """
    if not taught and (distil is not None or (method is not None and method.distil)):
        raise UserError("distil is for a teacher's scores, and there is no teacher", fix="name one")
    if distil is None:
        return method
    if method is None:
        fix = f"take method {', '.join(RUNGS)}, or leave distil out: its labels train in any case"
        raise UserError("only methods that tune weights follow a teacher's scores", fix=fix)
    return replace(method, distil=distil)


def check_checkpoint(folder: Path | None, *, weights: bool, resume: bool) -> None:
    """Refuse to go on from nothing, and to begin anew where an unfinished training is kept.

    Raises
    ------
    UserError
        When either is asked for.
    """
    kept = _holds_state(folder)
    if resume and not kept:
        where = None if folder is None else str(folder)
        raise UserError("there is no checkpoint to go on from", where=where, fix="run without --resume")
    if kept and not resume and weights:
        raise UserError(
            "an unfinished training is kept here", where=str(folder), fix="go on with --resume, or delete it"
        )


def _holds_state(folder: Path | None) -> bool:
    """Say whether a training is kept in a folder; told here without torch, which checkpoints need."""
    return folder is not None and (folder / "state.json").is_file()


def reach(asked: Asked, method: Method | None, choice: Choice | None) -> Reached | str | None:
    """Tune weights, where that is possible.

    Parameters
    ----------
    asked : Asked
        Data, base, and what was made of them.
    method : Method, optional
        The one that is forced; without it the cheapest for the base and, once that has come to its end and
        time is left, a dearer one.
    choice : Choice, optional
        What was chosen without weights; None where a method is forced.

    Returns
    -------
    Reached, str or None
        Why not, in a line, where nothing was gained or, unless a method is forced, the time does not
        suffice. Where labels are too few too, if a method is forced; else None, as where the base has no
        weights to tune.
    """
    labels, made = asked.found.labels, asked.found.made
    if labels < FEWEST or made:
        why = "made labels train none" if made else f"{FEWEST} labels are needed, and there are {labels}"
        return None if method is None else f"no weights were tuned: {why}"
    one = method or _fitting(asked, (Layers(), Table()))
    if one is None:
        return None
    from embedtune.weights.flow import tune_weights

    reached = tune_weights(one, asked, choice)
    if method is None and not reached.late:
        reached = _further(asked, choice, reached)
    if asked.checkpoint is not None:
        shutil.rmtree(asked.checkpoint, ignore_errors=True)
    return reached.note if isinstance(reached, Kept) else reached


def _further(asked: Asked, choice: Choice | None, reached: Reached | Kept) -> Reached | Kept:
    """Train more of the weights, once the cheapest method has come to the end of its steps or gains no more.

    Where its curve still rises, more time for it is worth more than another method. That of the dearer one
    must suffice for all of its steps.
    """
    dearer = _fitting(asked, (Full(), Lora()))
    if dearer is None:
        return reached
    from embedtune.weights.flow import tune_weights

    place = asked.checkpoint and asked.checkpoint / dearer.name
    own = replace(asked, checkpoint=place, resume=asked.resume and _holds_state(place))
    found = tune_weights(dearer, own, choice, below=reached)
    if isinstance(found, Kept):
        return replace(reached, note=f"{reached.note}; {dearer.name}: {found.note}")
    return found


def _fitting(asked: Asked, methods: tuple[Method, ...]) -> Method | None:
    """Give the first that can tune the base and fits into memory; None where there is none, or no time."""
    if asked.budget.left <= 0 or asked.dataset.task not in Method.tasks:
        return None
    for method in methods:
        try:
            check_base(method, asked.encoder)
        except (UserError, MissingExtra):
            continue
        return method
    return None


def check_base(method: Method | None, encoder: Encoder) -> None:
    """Refuse a base whose weights the method cannot change; None changes none.

    Raises
    ------
    UserError
        Names the methods that can.
    """
    if method is None:
        return
    from embedtune.encoders.static import StaticEncoder
    from embedtune.encoders.transformer import TransformerEncoder

    inner: Any = uncached(encoder)
    static = isinstance(inner, StaticEncoder)
    transformer = inner.__class__ is TransformerEncoder and not getattr(inner, "images", False)
    if not static and not transformer:
        what = "are precomputed" if encoder.content == "id" else "come from a model that is not tuned here"
        raise UserError(
            f"method {method.name!r} changes weights, and the vectors of {encoder.name} {what}",
            fix="take auto or one of the methods that map vectors, such as linear",
        )
    if (method.base == "static") != static:
        own = "table" if static else "layers, lora or full"
        kind = "a static model" if static else "a transformer"
        raise UserError(f"method {method.name!r} is not for {kind} as {encoder.name} is", fix=f"take {own}")
    require("torch", extra="weights", who=f"method {method.name!r}")
    if method.name == "lora":
        require("peft", extra="weights", who="method 'lora'")
    refuse_too_large(method, encoder)
