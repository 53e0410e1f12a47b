"""The whole flow on one page: read, encode, tune, judge, and hand back what is better."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.artifact import Tuned
from embedtune.collect import HELD_OUT, Collected, collect
from embedtune.data import read
from embedtune.data.dataset import Dataset
from embedtune.data.join import join_test
from embedtune.data.pairs import pairs_from_structure
from embedtune.decision import Clock, classifier, judge, on_test
from embedtune.encoders import load_encoder
from embedtune.errors import DataError, UserError
from embedtune.judging.classified import MULTI, SINGLE
from embedtune.judging.comparison import Gain
from embedtune.judging.correlation import CORRELATIONS
from embedtune.judging.metrics import parse_metric
from embedtune.judging.verdict import FEWEST, Evaluation
from embedtune.models import open_model
from embedtune.settings import settings_of
from embedtune.transforms import Identity
from embedtune.tuners import TUNERS
from embedtune.tuners.auto import Choice, choose
from embedtune.tuners.base import Budget
from embedtune.tuners.ladders import LADDERS
from embedtune.types import Encoder, Transform

Progress = Callable[[str, int, int], None]


def fine_tune(
    *,
    base_model: str | Encoder | dict[str, Any],
    data: Any,
    method: str = "auto",
    budget: str | float | None = None,
    test: str = HELD_OUT,
    seed: int = 0,
    metric: str | None = None,
    task: Any = None,
    roles: dict[str, str | None] | None = None,
    force: bool = False,
    unlabelled: bool = False,
    from_store: str | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Tune a base model to data, judge the result, and give the better of the two.

    Parameters
    ----------
    base_model : str, Encoder or dict
        A folder, the name of an installed or hub model, ``vectors:FOLDER``, an encoder, or
        ``{"queries": (ids, array), "documents": (ids, array)}``.
    data : path, list of dicts, DataFrame, Arrow table or Dataset
        Whatever :func:`embedtune.data.read` reads.
    method : str
        ``"auto"`` tries several and chooses; or the name of one, see :data:`embedtune.tuners.TUNERS`.
    budget : str or float, optional
        Time for everything: ``"10m"``, ``"90s"``, or seconds. Without one, as long as it takes.
    test : str
        The split that judges and is never trained on; ``"none"`` trains on all; or a file laid out
        like ``data``. Where data has no split ``"test"``, the verdict is given out of fold.
    seed : int
        Same inputs, seed and version give the same result, unless the budget ends the work.
    metric : str, optional
        What decides. By default ``"ndcg@10"`` for retrieval; for classification ``"accuracy"`` of the
        vote of neighbours (``"f1"`` with several classes an item); ``"spearman"`` for similarity, and
        ``"recall@20"`` for recommendation.
    task, roles
        Passed to :func:`embedtune.data.read`.
    force : bool
        Hand back the tuned map even where the verdict advises against it.
    unlabelled : bool
        ``data`` is a collection without labels: learn from its structure, see
        :func:`embedtune.data.pairs.pairs_from_structure`. Made labels judge nothing: without real
        queries (``test``) the base is kept, unless ``force``.
    from_store : str, optional
        URL of a store that has the documents' vectors: they are read there by id, and only queries are
        encoded. See :func:`embedtune.stores.open_store`.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    Tuned
        With ``.verdict``. Its transform is the identity unless the verdict is ``"tune"``, or ``force``.

    Raises
    ------
    UserError
        When the data, the model or a setting is not as it must be.

    Examples
    --------
    >>> from embedtune import fine_tune
    >>> rows = [{"text": "diabetes symptoms", "label": "medical_query"},
    ...         {"text": "how to reset my password", "label": "support"}]
    >>> tuned = fine_tune(base_model="all-MiniLM-L6-v2", data=rows)  # doctest: +SKIP
    >>> tuned.verdict.decision  # doctest: +SKIP
    'do not tune: too few labels to tell'
    """
    started = time.monotonic()
    limit = Budget(None if budget is None else started + seconds(budget), progress)
    if method != "auto":
        TUNERS[method]  # an unknown method is told before any work
    clock = Clock(started)

    dataset = pairs_from_structure(data) if unlabelled else read(data, task=task, roles=roles)
    if test not in (*dataset.splits, HELD_OUT, "none"):
        if not Path(test).exists():
            raise DataError(
                f"{test!r} is neither a split of the data nor a file",
                fix=f"choose from {', '.join(dataset.splits)}, or give a path",
            )
        dataset, test = join_test(dataset, read(test, task=task, roles=roles)), HELD_OUT
    _checked_method(dataset, method)
    if metric is not None:
        _checked_metric(dataset, metric)
    clock.stop("read")

    base = load_encoder(base_model)
    encoder = base if from_store is None else _stored(from_store, base, dataset, progress)
    found = collect(dataset, encoder, test=test, progress=progress)
    clock.stop("encode")

    choice: Choice | None = None
    transform: Transform = Identity()
    pool, deciding = found.train, metric or found.metrics[0]
    if found.labels >= FEWEST:
        pool = found.train.pooled(seed)
        ladder = LADDERS[dataset.task]
        choice = choose(pool, ladder=ladder, method=method, metric=deciding, seed=seed, budget=limit)
        transform = choice.fit(seed, limit)
    clock.stop("tune")

    verdict = judge(dataset, found, pool, choice, transform, deciding, seed, clock, limit)
    keep = verdict.decision == "tune" or force
    shipped = transform if keep else Identity()
    head = classifier(found, choice if keep else None, shipped, seed)
    return Tuned(
        base,
        shipped,
        verdict=verdict,
        metrics={"metric": deciding, "base": asdict(verdict.base), "tuned": asdict(verdict.tuned)},
        data={
            "fingerprint": dataset.fingerprint,
            "task": dataset.task,
            "counts": {
                "queries": len(dataset.queries),
                "documents": len(dataset.documents),
                "judgements": found.labels if dataset.task != "retrieval" else len(dataset.qrels),
            },
        },
        seed=seed,
        head=head,
        settings=settings_of(method=method, metric=deciding, test=test, force=force),
    )


def evaluate(
    data: Any,
    *,
    model: Tuned | str | Path | Encoder,
    against: Tuned | str | Path | Encoder | None = None,
    split: str = HELD_OUT,
    metric: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge a model on a split of labelled data, against another one.

    Parameters
    ----------
    data : path, list of dicts, DataFrame, Arrow table or Dataset
        Whatever :func:`embedtune.data.read` reads.
    model : Tuned, Encoder, str or pathlib.Path
        What is judged; a name or path is loaded, an artifact's folder as an artifact.
    against : Tuned, Encoder, str or pathlib.Path, optional
        What it is compared with; the model's own base unless given.
    split : str
        The judgements that count. Where the data has but one split, that one is taken.
    metric : str, optional
        What is compared; the task's own by default, see :func:`fine_tune`.
    seed : int
        Seed of interval and test.
    progress : callable, optional
        Called with (stage, done, total).

    Raises
    ------
    DataError
        When there is no such split.
    """
    dataset = read(data)
    if metric is not None:
        _checked_metric(dataset, metric)
    judged, other = open_model(model), None if against is None else open_model(against)
    if split not in dataset.splits:
        if len(dataset.splits) != 1:
            raise DataError(
                f"there is no split called {split!r}", fix=f"choose from {', '.join(dataset.splits)}"
            )
        split = dataset.splits[0]
    found = _judging(dataset, judged.encoder, split, progress)
    metric = metric or found.metrics[0]
    result = on_test(found, Identity(), judged.transform, metric, seed)
    if other is not None:
        compared = _judging(dataset, other.encoder, split, progress)
        result = replace(result, base=on_test(compared, other.transform, Identity(), metric, seed).base)
    gain = result.gain() or Gain(0.0, (0.0, 0.0), 1.0, 0)
    return Evaluation(
        dataset.task,
        metric,
        result.side("base"),
        result.side("tuned"),
        gain.gain,
        gain.ci95,
        gain.p_value,
        result.gains(),
        result.examples(best=True),
        result.examples(best=False),
        judged_on=f"split '{split}'",
    )


def seconds(budget: str | float) -> float:
    """Read a time such as ``"10m"``, ``"90s"``, ``"1.5h"``, or a number of seconds.

    Raises
    ------
    UserError
        When it is no time, or not above zero.

    Examples
    --------
    >>> seconds("10m")
    600.0
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", str(budget))
    value = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if value <= 0:
        raise UserError(
            f"the budget {budget!r} is no time above zero", fix="write for example '10m' or '90s'"
        )
    return value


def _stored(url: str, base: Encoder, dataset: Dataset, progress: Progress | None) -> Encoder:
    """Give the base with the documents' vectors from a store."""
    from embedtune.stores.stored import StoredEncoder

    return StoredEncoder.of(url, base, dataset, progress=progress)


def _judging(dataset: Dataset, encoder: Encoder, split: str, progress: Progress | None) -> Collected:
    """Give the rows of one split as those that judge.

    Where there is but that split, what the model was trained on is not known, and no stratum is told.
    """
    if set(dataset.splits) - {split, HELD_OUT}:
        found = collect(dataset, encoder, test=split, progress=progress)
        if found.test is not None:
            return found
    if dataset.task == "recommendation":
        raise DataError(
            "interactions are judged on what comes after them, and there is no split of that",
            where=dataset.source,
            fix="add the later interactions as split 'test'",
        )
    found = collect(dataset, encoder, test="none", progress=progress)
    rows = np.arange(len(found.train))
    return replace(
        found,
        test=found.train,
        test_texts=found.train_texts,
        test_rows=rows,
        test_train=found.train.everything,
    )


def _checked_metric(dataset: Dataset, metric: str) -> None:
    """Refuse a metric that the task does not have, before any work."""
    if dataset.task in ("retrieval", "recommendation"):
        parse_metric(metric)
        return
    known = {"classification": (*SINGLE, *MULTI), "similarity": tuple(CORRELATIONS)}[dataset.task]
    if metric not in known:
        raise UserError(
            f"there is no metric called {metric!r} for {dataset.task}",
            fix=f"choose from {', '.join(dict.fromkeys(known))}",
        )


def _checked_method(dataset: Dataset, method: str) -> None:
    """Refuse a method that is not for the task, before any work."""
    if method == "auto" or dataset.task in TUNERS.load(method).tasks:
        return
    fitting = [name for name in TUNERS if dataset.task in TUNERS.load(name).tasks]
    raise UserError(
        f"method {method!r} is not for {dataset.task}", fix=f"choose from auto, {', '.join(fitting)}"
    )
