"""The whole flow on one page: read, encode, tune, judge, and hand back what is better."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.artifact import Tuned
from embedtune.chosen import Chosen, choose_of_all
from embedtune.collect import HELD_OUT, Collected, collect
from embedtune.collect.probes import probes_of
from embedtune.data import read
from embedtune.data.dataset import Dataset
from embedtune.data.join import join_test
from embedtune.data.pairs import made_labels, pairs_from_structure
from embedtune.data.slices import as_names, slice_values
from embedtune.data.written import QueryWriter
from embedtune.decision import Clock, classifier, judge, on_test
from embedtune.encoders import load_encoder
from embedtune.errors import DataError, MissingExtra, UserError
from embedtune.judging.classified import MULTI, SINGLE
from embedtune.judging.comparison import Gain
from embedtune.judging.correlation import CORRELATIONS
from embedtune.judging.keeping import Keep, checked_share
from embedtune.judging.labelled import MAP_AT_ONCE, POOL
from embedtune.judging.metrics import parse_metric
from embedtune.judging.slices import slice_gains, slices_of
from embedtune.judging.verdict import FEWEST, Evaluation
from embedtune.memory import check_memory, limited
from embedtune.models import open_model
from embedtune.parts import Sliced, spots_of
from embedtune.reference import Reference
from embedtune.sameness import check_sameness, threshold_of
from embedtune.settings import settings_of
from embedtune.sizes import Dims, checked_dims, widths, with_sizes
from embedtune.teachers import open_teacher
from embedtune.teachers.teach import teach
from embedtune.transforms import Identity
from embedtune.tuners import TUNERS
from embedtune.tuners.base import Budget
from embedtune.types import Encoder
from embedtune.weights import RUNGS
from embedtune.weights.processes import join
from embedtune.weights.reach import check_base, check_checkpoint, rung_of, with_distil

Progress = Callable[[str, int, int], None]


@limited
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
    slices: Sequence[str] = (),
    writer: QueryWriter | None = None,
    teacher: Any = None,
    queries: Sequence[str] | str | Path = (),
    distil: float | None = None,
    keep: float | None = None,
    same_at: float | None = None,
    precision: float | None = None,
    dims: Dims = None,
    most_bytes: int | None = None,
    layers: int | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    from_store: str | None = None,
    memory: str | float | None = None,
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
        ``"auto"`` tries several and chooses; or the name of one, see :data:`embedtune.tuners.TUNERS`
        for those that map vectors, and :data:`embedtune.weights.RUNGS` for those that change the
        model's weights. ``"auto"`` changes weights only where a budget is given and suffices.
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
    slices : sequence of str
        Columns by whose values the result is given too, ``["department"]``: no value of many rows may
        lose. A Dataset must have been read with them.
    writer : QueryWriter, optional
        With ``unlabelled``: has a language model write queries for each text instead, see
        :class:`embedtune.data.written.QueryWriter`; ``writer.estimate(data)`` says what that costs.
    teacher : str, path, Encoder, mapping or Teacher, optional
        For retrieval: what knows more than the base and labels queries that have no judgement. A larger
        model or an API, as ``base_model`` takes them, ``"cross-encoder:NAME"``, or a file of scores; see
        :func:`embedtune.teachers.open_teacher`. Its labels train and never judge.
    queries : sequence of str, or path
        With ``teacher``: texts of more queries without labels, or a file of them.
    distil : float, optional
        With ``teacher`` and a method that tunes weights: share of the loss, from 0 to 1, that follows the
        teacher's scores of several documents a query, of labelled queries too; 0 unless given.
    keep : float, optional
        Share, from 0 to 1, of the neighbours of some 300 general sentences that the map has to keep, or of
        items of the data where the base reads no texts. Each candidate is followed only so far before it is
        judged; 1 lets nothing move.
    same_at, precision : float, optional
        For scored pairs: the score from which a pair is the same, and the precision that the threshold of
        :meth:`Tuned.same` is to reach; see :func:`embedtune.sameness.threshold_of`.
    dims : "auto" or int, optional
        Smaller vectors, for retrieval: ``"auto"`` judges the full, half, quarter and eighth number of
        dimensions, each as float32, int8, int4 and bits, and takes the smallest within noise of the full
        tuned vectors; a number tries that one alone. See :mod:`embedtune.sizes`. With a method that tunes
        weights, these are trained so that their leading dimensions serve alone (Matryoshka).
    most_bytes : int, optional
        Bytes that a document's vector may have; ``dims="auto"`` where dims is not given.
    layers : int, optional
        For method ``"layers"``: how many are trained, from the top; 2 unless given.
    checkpoint : path, optional
        A folder in which the training of weights keeps its state while it runs.
    resume : bool
        Go on from the state in ``checkpoint``: the result is that of a run without a break.
    from_store : str, optional
        URL of a store that has the documents' vectors: they are read there by id, and only queries are
        encoded. See :func:`embedtune.stores.open_store`.
    memory : str or float, optional
        What may be resident, ``"2GB"`` or bytes. A run that would take more is refused before anything is
        encoded. Vectors from a store or a folder stay on disk, and are read in parts that fit.
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
    join()
    started = time.monotonic()
    limit = Budget(None if budget is None else started + seconds(budget), progress)
    rung = rung_of(method, layers)  # an unknown method is told before any work
    rung = with_distil(rung, distil, taught=teacher is not None)
    kept = None if checkpoint is None else Path(checkpoint).expanduser()
    check_checkpoint(kept, weights=rung is not None or budget is not None, resume=resume)
    keep, dims, slices = checked_share(keep), checked_dims(dims, most_bytes), as_names(slices)
    if rung is not None and keep is not None:
        what = f"keep is for maps, and method {method!r} tunes weights"
        raise UserError(what, fix="leave one of them out")
    clock = Clock(started)
    knows = None if teacher is None else open_teacher(teacher)
    if queries and knows is None:
        raise UserError("queries without labels are for a teacher", fix="give one, or leave them out")

    dataset = _labels(data, unlabelled, writer, task, roles, slices, progress)
    dataset, test = _with_test(dataset, test, task=task, roles=roles, slices=slices)
    _checked_method(dataset, method)
    checked_dims(dims, most_bytes, dataset.task)
    _checked_metric(dataset, metric)
    _checked_slices(dataset, slices)
    check_sameness(dataset, same_at, precision)
    clock.stop("read")

    base = load_encoder(base_model)
    given = dataset
    encoder = base if from_store is None else _stored(from_store, base, dataset, progress)
    narrower = widths(dims, encoder.dimension)  # too many are told before the work
    check_base(rung, encoder)
    sizes_of = len(dataset.documents), len(dataset.queries)
    check_memory(encoder, *sizes_of, pool=POOL, at_once=MAP_AT_ONCE)
    if rung is not None and dims is not None:  # leading dimensions that serve alone, see embedtune.sizes
        rung = replace(rung, matryoshka=tuple(dict.fromkeys([encoder.dimension, *narrower])))
    if knows is not None:
        training = [name for name in dataset.splits if test == "none" or name not in (test, HELD_OUT)]
        dataset = teach(
            dataset,
            knows,
            encoder=encoder,
            training=training,
            queries=queries,
            scores_serve=bool(distil),
            progress=progress,
        )
    found = collect(dataset, encoder, test=test, progress=progress)
    probes = None
    if found.labels >= FEWEST:
        probes = probes_of(dataset, encoder, seed=seed, needed=keep is not None, progress=progress)
    clock.stop("encode")

    deciding = metric or found.metrics[0]
    parts = Sliced(*(slices_of(dataset, slices, rows) for rows in (found.train_from, found.test_from)))
    best = choose_of_all(
        dataset,
        encoder,
        found,
        method=method,
        rung=rung,
        weights_too=method == "auto"
        and budget is not None
        and keep is None
        and dims is None
        and from_store is None,
        metric=deciding,
        test=test,
        seed=seed,
        budget=limit,
        slices=parts.train,
        keep=Keep(keep, probes) if probes and keep is not None else None,
        checkpoint=kept,
        resume=resume,
    )
    transform = best.choice.fit(seed, limit) if best.choice else Identity()
    clock.stop("tune")

    verdict = judge(
        dataset,
        best.found,
        best.pool,
        best.choice,
        transform,
        deciding,
        seed,
        clock,
        limit,
        slices=parts,
        probes=None if best.before else probes,
        keep=keep,
        before=best.before,
    )
    if best.note is not None:
        verdict = replace(verdict, reasons=[*verdict.reasons, best.note])
    better = verdict.decision == "tune" or force
    shipped = transform if better else Identity()
    if dims is not None:
        sizes = dims, most_bytes
        shipped, verdict = with_sizes(
            best.found, best.choice, shipped, verdict, *sizes, seed, clock, limit,
            before=best.before, better=better,
        )  # fmt: skip
    if not better and best.before is not None:
        best = Chosen(encoder, *best.before)
    head = classifier(best.found, best.choice, shipped, seed, progress)
    return Tuned(
        base if best.encoder is encoder else best.encoder,
        shipped,
        verdict=verdict,
        metrics={"metric": deciding, "base": asdict(verdict.base), "tuned": asdict(verdict.tuned)},
        data={
            "fingerprint": given.fingerprint,
            "task": dataset.task,
            "counts": {
                "queries": len(dataset.queries),
                "documents": len(dataset.documents),
                "judgements": found.labels if dataset.task != "retrieval" else len(dataset.qrels),
            },
            **({"made": made} if (made := made_labels(dataset)) else {}),
        },
        seed=seed,
        head=head,
        reference=Reference.of(best.found.train, dataset.task, seed),
        threshold=threshold_of(
            best.found, best.choice if better else None, same_at=same_at, precision=precision, seed=seed
        ),
        settings=settings_of(
            method=method,
            metric=deciding,
            test=test,
            force=force,
            slices=list(slices),
            keep=keep,
            same_at=same_at,
            precision=precision,
            dims=dims,
            most_bytes=most_bytes,
            layers=layers,
            teacher=None if knows is None else knows.name,
            distil=distil,
        ),
    )


def evaluate(
    data: Any,
    *,
    model: Tuned | str | Path | Encoder,
    against: Tuned | str | Path | Encoder | None = None,
    split: str = HELD_OUT,
    metric: str | None = None,
    seed: int = 0,
    slices: Sequence[str] = (),
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
        What it is compared with; the model's own base unless given. Where the weights were tuned and the
        model that they come from is not found by its name, that is the tuned weights without a map.
    split : str
        The judgements that count. Where the data has but one split, that one is taken.
    metric : str, optional
        What is compared; the task's own by default, see :func:`fine_tune`.
    seed : int
        Seed of interval and test.
    slices : sequence of str
        Columns by whose values the result is given too, see :func:`fine_tune`.
    progress : callable, optional
        Called with (stage, done, total).

    Raises
    ------
    DataError
        When there is no such split.
    """
    slices = as_names(slices)
    dataset = read(data, slices=slices)
    _checked_slices(dataset, slices)
    _checked_metric(dataset, metric)
    judged = open_model(model)
    other = _origin(judged) if against is None else open_model(against)
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
        result = result.against(on_test(compared, Identity(), other.transform, metric, seed))
    gain = result.gain() or Gain(0.0, (0.0, 0.0), 1.0, 0)
    parts = slices_of(dataset, slices, found.test_from)
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
        slices=slice_gains(result, {name: mask & result.whole for name, mask in parts.items()}),
        weak_spots=spots_of(dataset, found, result, None),
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


def _origin(model: Tuned) -> Tuned | None:
    """Give the model that tuned weights come from, where it can be found."""
    origin = getattr(model.encoder, "tuned_from", None)
    if origin is None:
        return None
    known: Encoder | None = getattr(model.encoder, "origin", None)  # of a model tuned in this process
    if known is not None:
        return Tuned(known)
    with contextlib.suppress(UserError, MissingExtra):
        encoder = load_encoder(origin["name"])
        return Tuned(encoder) if encoder.fingerprint == origin["fingerprint"] else None
    return None


def _labels(
    data: Any,
    unlabelled: bool,
    writer: QueryWriter | None,
    task: Any,
    roles: dict[str, str | None] | None,
    slices: Sequence[str],
    progress: Progress | None,
) -> Dataset:
    """Read the data; make labels where it has none. What is made has no columns to slice by."""
    if not unlabelled:
        if writer is not None:
            raise UserError("writer is for data without labels", fix="pass unlabelled=True too")
        return read(data, task=task, roles=roles, slices=slices)
    if writer is None:
        return pairs_from_structure(data)
    return writer.dataset(data, progress=partial(progress, "write queries") if progress else None)


def _with_test(
    dataset: Dataset, test: str, *, task: Any, roles: dict[str, str | None] | None, slices: Sequence[str]
) -> tuple[Dataset, str]:
    """Read what judges, where that is a file; give the name of the split that judges."""
    if test in (*dataset.splits, HELD_OUT, "none"):
        return dataset, test
    if not Path(test).exists():
        raise DataError(
            f"{test!r} is neither a split of the data nor a file",
            fix=f"choose from {', '.join(dataset.splits)}, or give a path",
        )
    return join_test(dataset, read(test, task=task, roles=roles, slices=slices)), HELD_OUT


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
        test_from=found.train_from,
    )


def _checked_slices(dataset: Dataset, slices: Sequence[str]) -> None:
    """Refuse a column that cannot be used, before any work."""
    for name in slices:
        slice_values(dataset, name)


def _checked_metric(dataset: Dataset, metric: str | None) -> None:
    """Refuse a metric that the task does not have, before any work."""
    if metric is None:
        return
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
    tables = (TUNERS, RUNGS)
    if method == "auto" or any(method in t and dataset.task in t.load(method).tasks for t in tables):
        return
    fitting = [name for table in tables for name in table if dataset.task in table.load(name).tasks]
    raise UserError(
        f"method {method!r} is not for {dataset.task}", fix=f"choose from auto, {', '.join(fitting)}"
    )
