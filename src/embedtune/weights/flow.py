"""Tuned weights beside adapters: train on one part, judge all on the other, by the same rules.

Training weights is too long to be done once a fold. So one part of the labels is held out, and both sides
are judged on it: adapters on the base's vectors, and adapters on the vectors of weights that were trained
on the rest. Held-out rows inside that rest say when training stops and how far the weights are followed.
"""

from __future__ import annotations

import functools
import logging
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedtune.artifact.probes import uncached
from embedtune.collect import collect
from embedtune.collect.of_documents import with_of_documents
from embedtune.encoders import load_encoder
from embedtune.encoders.tokens import reading_lengths
from embedtune.errors import UserError
from embedtune.judging.folded import Candidate
from embedtune.judging.labelled import Labelled
from embedtune.training.budget import Budget
from embedtune.transforms import Identity
from embedtune.tuners.auto import Choice, Tried, choose, harmed, simplest
from embedtune.tuners.identity import IdentityTuner
from embedtune.types import Encoder
from embedtune.weights.asked import Asked, Kept, Reached
from embedtune.weights.material.base import TooFew, divided
from embedtune.weights.methods_base import Method

if TYPE_CHECKING:
    from embedtune.weights.checkpoint import Checkpoint

RUNG = 3
"""What it takes to ship weights: another model that encodes everything anew."""

SHARE, MOST = 0.2, 800
"""Share of the labels that is held out, and how many at most."""

CHOOSING = 0.15
"""Share of the time left that choosing adapters on the base's vectors may take; the same again is kept for
those on tuned weights, and twice that for the final fit and the verdict."""

SAMPLE = 64
"""Texts that are encoded to see how long all of them will take."""

log = logging.getLogger(__name__)


def tune_weights(
    method: Method, asked: Asked, choice: Choice | None = None, *, below: Reached | Kept | None = None
) -> Reached | Kept:
    """Train weights, put adapters on top, and say whether that is better than adapters on the base.

    Parameters
    ----------
    method : Method
        What is trained, and how.
    asked : Asked
        Data, base, and what was made of them.
    choice : Choice, optional
        What was chosen without weights: it stays where it is as good. Without it weights are forced: the
        best of them is shown, and only the verdict may refuse it.
    below : Reached or Kept, optional
        What a cheaper method came to: that stays where it is as good, and all steps must fit into the time.

    Returns
    -------
    Reached or Kept
        The latter where nothing was gained or the time does not suffice.

    Raises
    ------
    UserError
        When weights are forced, and the time does not suffice.
    """
    from embedtune.weights.work import checkpoint_of

    kept = checkpoint_of(method, asked)
    if kept is not None and asked.resume:
        kept.load()  # one that does not fit is refused before any work
    try:
        return _tune(method, asked, choice, kept, below)
    except TooFew as few:
        return Kept(f"no weights were tuned: {few}")


def _tune(
    method: Method,
    asked: Asked,
    choice: Choice | None,
    kept: Checkpoint | None,
    below: Reached | Kept | None,
) -> Reached | Kept:
    from embedtune.weights.device import for_device
    from embedtune.weights.plan import TooLittleTime
    from embedtune.weights.train import train
    from embedtune.weights.work import material_of, tower_of

    seed, budget = asked.seed, asked.budget
    round_ = divided(asked.pool, SHARE, MOST, seed)
    pool = replace(asked.pool, fixed=(round_,))
    own: dict[str, Any] = {"ladder": asked.ladder, "method": "auto", "metric": asked.metric, "seed": seed}
    folder = Path(tempfile.mkdtemp(prefix="embedtune-")) if kept is None else kept.folder
    try:
        encoding = _encoding(asked) if budget.deadline is not None else 0.0
        _enough(budget.left, encoding)
        if below is None or below.choice is None:
            started = time.monotonic()
            plain = choose(pool, **own, budget=_until(budget, budget.left * (1 - CHOOSING)))
            adapters = time.monotonic() - started
        else:
            plain, adapters = below.choice, below.adapters
        material = material_of(method, asked, round_)
        tower = tower_of(method, asked.encoder)
        reserve = 3 * adapters + encoding
        first = len(material.texts) if method.layers else len(np.unique(material.judged))
        _enough(budget.left, reserve + encoding * first / _texts(asked))
        method = for_device(method, tower)
        tower.read(material.texts, folder, functools.partial(budget.tell, "run the frozen layers"))
        trained = train(
            tower,
            material,
            method,
            seed=seed,
            budget=budget,
            reserve=reserve,
            checkpoint=kept,
            resume=asked.resume,
            forced=choice is None,
            whole=below is not None,
        )
        log.info("weights (%s): %s", method.name, asdict(trained.history))
        if not trained.strength:
            note = "tuned weights gained nothing on rows held out of their training"
            return Kept(note, plain, adapters, trained.history.late)
        encoder = _saved(tower.save, asked.encoder, method)
    except TooLittleTime as late:
        if choice is None:
            raise UserError(str(late), where="budget", fix="give more time, or take method auto") from None
        return Kept(f"no weights were tuned: {late}" if below is None else str(late))
    finally:
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)
    found = collect(asked.dataset, encoder, test=asked.test, progress=budget.progress)
    found = with_of_documents(found, asked.dataset, encoder, _until(budget, 2 * adapters))
    tuned_pool = replace(like(found.train, pool), fixed=(round_,))
    label = f"{method.name} × {trained.strength:g}"
    weights = choose(tuned_pool, **own, budget=_until(budget, 2 * adapters))
    joined = _joined(plain, weights, label, forced=choice is None)
    best, other = (max(one.tried[1:], key=lambda t: t.mean, default=one.tried[0]) for one in (weights, plain))
    score = f"{max(best.mean, weights.tried[0].mean):.3f}"
    if below is None:
        held = f"on the {len(round_.held)} rows held out"
        note = f"{held}, tuned weights reach {score}, and {other.mean:.3f} without"
        refused = f"{note}: not better by more than chance"
    else:
        note = f"{below.note}; {method.name} reach {score}"
        refused = f"{score}, not better"
    if joined is None:
        return Kept(refused, plain, adapters, trained.history.late)
    found = replace(found, train=_fixed(found.train, tuned_pool))
    return Reached(encoder, found, tuned_pool, joined, note, trained.history.late, adapters)


def like(problem: Any, pool: Any) -> Any:
    """Cut a problem's collection to that of a pool, where the pool is smaller."""
    if not isinstance(problem, Labelled) or len(problem.documents) == len(pool.documents):
        return problem
    position = {name: i for i, name in enumerate(problem.document_ids)}
    columns = np.array([position[name] for name in pool.document_ids], np.int64)
    return replace(
        pool,
        queries=problem.queries,
        documents=np.ascontiguousarray(problem.documents[columns], np.float32),
        fixed=(),
        pseudo=problem.pseudo and problem.pseudo.among(columns, len(problem.documents)),
        unread=problem.unread and problem.unread.among(columns, len(problem.documents)),
    )


def _fixed(train: Any, pool: Any) -> Any:
    """Give the training rows the round that their weights were judged by."""
    return train if isinstance(train, Labelled) else replace(train, fixed=pool.fixed)


def _joined(plain: Choice, weights: Choice, label: str, *, forced: bool) -> Choice | None:
    """Judge adapters on the base and on tuned weights together; None where the former are as good.

    The scores of both are of the same held-out rows; what they gain on is the base.
    """
    folded = weights.folded
    own = folded.base
    folded.base = plain.folded.base
    alone = Candidate(label, IdentityTuner(), (1.0,), RUNG, fitted=[Identity() for _ in folded.rounds])
    alone.scores = own[None]
    for tried in weights.tried:
        if tried.candidate is not None and tried.candidate.rung < RUNG:
            tried.candidate.rung = RUNG
            tried.candidate.name = f"{label} + {tried.candidate.name}"
    own_tried = [
        replace(tried, candidate=tried.candidate or alone, harms=harmed(folded, tried.scores))
        for tried in weights.tried
    ]
    rivals: list[Tried] = plain.tried
    everything = rivals + own_tried
    among = [rivals[0], *own_tried] if forced else everything
    harmless = [tried for tried in among if tried.harms is None]
    chosen = harmless[simplest(folded, harmless)]
    if not forced and not any(chosen is tried for tried in own_tried):
        return None
    return Choice(
        folded,
        everything if not forced else among,
        harmless,
        chosen,
        plain.stopped or weights.stopped,
        refits=False,
        rivals=[] if not forced else rivals[1:],
    )


def _saved(save: Callable[[Path], None], base: Encoder, method: Method) -> Encoder:
    """Write the tuned model into a folder that lives as long as its encoder, and open it."""
    inner: Any = uncached(base)
    folder = Path(tempfile.mkdtemp(prefix="embedtune-"))
    try:
        save(folder)
        name = f"{base.name}+{method.name}"
        if method.base == "static":
            encoder = load_encoder(f"static:{folder}", name=name, similarity=base.similarity)
        else:
            encoder = load_encoder(
                f"transformer:{folder}",
                name=name,
                query_prompt=inner.prompts["query"],
                document_prompt=inner.prompts["document"],
                max_tokens=base.max_tokens,
                similarity=base.similarity,
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    opened: Any = uncached(encoder)
    opened.tuned_from = {"name": base.name, "fingerprint": base.fingerprint}
    opened.origin = base
    weakref.finalize(opened, shutil.rmtree, folder, True)
    return encoder


def _until(budget: Budget, before: float) -> Budget:
    """Give a budget that ends some seconds before another does."""
    return budget if budget.deadline is None else replace(budget, deadline=budget.deadline - before)


def _encoding(asked: Asked) -> float:
    """Seconds that encoding all of the dataset anew will take, from a few of its texts.

    By characters, up to the model's limit: a few texts say how fast it reads, not how long the others are.
    """
    inner: Any = uncached(asked.encoder)
    texts = list(dict.fromkeys(asked.dataset.document_texts + asked.dataset.query_texts))
    length = reading_lengths(texts, inner.max_tokens)
    rows = np.random.default_rng(0).choice(len(texts), min(len(texts), SAMPLE), replace=False)
    inner.encode([texts[row] for row in rows[:2]])
    began = time.monotonic()
    inner.encode([texts[row] for row in rows])
    return float((time.monotonic() - began) * length.sum() / length[rows].sum())


def _texts(asked: Asked) -> int:
    return max(len(asked.dataset.documents) + len(asked.dataset.queries), 1)


def _enough(left: float, needed: float) -> None:
    """Raise TooLittleTime where what has to be done besides training takes all that is left."""
    from embedtune.weights.plan import TooLittleTime

    if needed > left:
        raise TooLittleTime(
            f"tuning weights would take {needed:.0f} s at least, and {max(left, 0):.0f} s are left"
        )
