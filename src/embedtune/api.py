"""The whole flow on one page: read, encode, tune, judge, and hand back what is better."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from embedtune.artifact.reference import Reference
from embedtune.artifact.settings import settings_of
from embedtune.artifact.tuned import Tuned
from embedtune.collect import HELD_OUT
from embedtune.data import read
from embedtune.data.dataset import Dataset
from embedtune.data.join import join_test
from embedtune.data.pairs import made_labels, pairs_from_structure
from embedtune.data.slices import as_names
from embedtune.data.written import QueryWriter
from embedtune.encoders import load_encoder
from embedtune.encoders.pace import Unfinished
from embedtune.errors import DataError, UserError
from embedtune.judging.keeping import Keep, checked_share
from embedtune.judging.labelled import MAP_AT_ONCE, POOL
from embedtune.judging.slices import slices_of
from embedtune.judging.verdict import Verdict
from embedtune.memory import check_memory, give_back, limited
from embedtune.sizes import Dims, checked_dims, widths, with_sizes
from embedtune.steps.asked import (
    check_method,
    check_metric,
    check_slices,
    name_of,
    seconds,
    settings_in,
)
from embedtune.steps.chosen import Chosen, choose_of_all
from embedtune.steps.decision import Clock, bounds, classifier, judge
from embedtune.steps.parts import Sliced
from embedtune.steps.prepared import prepare
from embedtune.steps.sameness import check_sameness, threshold_of
from embedtune.steps.unencoded import without_vectors
from embedtune.teachers import open_teacher
from embedtune.training.budget import Budget
from embedtune.transforms import Identity
from embedtune.tuners.base import Tuner
from embedtune.types import Encoder
from embedtune.weights.methods_base import Method
from embedtune.weights.processes import join
from embedtune.weights.reach import check_base, check_checkpoint, rung_of, with_distil

Progress = Callable[[str, int, int], None]


@limited
def fine_tune(
    *,
    base_model: str | Encoder | dict[str, Any],
    data: Any,
    method: str | Tuner | Method = "auto",
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
    method : str, Tuner or Method
        ``"auto"`` tries several and chooses; or the name of one, see :data:`embedtune.tuners.TUNERS`
        for those that map vectors, and :data:`embedtune.weights.RUNGS` for those that change the
        model's weights; or one with settings of its own, ``LinearTuner(sides="both")`` or
        ``Full(passes=3)``. ``"auto"`` changes weights only where a budget is given and suffices.
    budget : str or float, optional
        Time for everything: ``"10m"``, ``"90s"``, or seconds. Without one, as long as it takes. Where it ends
        before the texts have vectors the base is kept, and another run goes on with the cache.
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
        Hand back the tuned map even where the verdict advises against it; the base where none was fitted.
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
        :meth:`Tuned.same` is to reach; see :func:`embedtune.steps.sameness.threshold_of`.
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
    named = name_of(method)
    rung = rung_of(method, layers)  # an unknown method is told before any work
    rung = with_distil(rung, distil, taught=teacher is not None)
    kept = None if checkpoint is None else Path(checkpoint).expanduser()
    check_checkpoint(kept, weights=rung is not None or budget is not None, resume=resume)
    keep, dims, slices = checked_share(keep), checked_dims(dims, most_bytes), as_names(slices)
    if rung is not None and keep is not None:
        what = f"keep is for maps, and method {named!r} tunes weights"
        raise UserError(what, fix="leave one of them out")
    clock = Clock(started)
    knows = None if teacher is None else open_teacher(teacher)
    if queries and knows is None:
        raise UserError("queries without labels are for a teacher", fix="give one, or leave them out")

    dataset = _labels(data, unlabelled, writer, task, roles, slices, progress)
    dataset, test = _with_test(dataset, test, task=task, roles=roles, slices=slices)
    check_method(dataset, method)
    checked_dims(dims, most_bytes, dataset.task)
    check_metric(dataset, metric)
    check_slices(dataset, slices)
    check_sameness(dataset, same_at, precision)
    give_back(len(dataset.documents))
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
    settings = partial(
        settings_of,
        method=named,
        test=test,
        force=force,
        method_settings=settings_in(method),
        slices=list(slices),
        keep=keep,
        same_at=same_at,
        precision=precision,
        dims=dims,
        most_bytes=most_bytes,
        layers=layers,
        teacher=None if knows is None else knows.name,
        distil=distil,
    )
    try:
        prepared = prepare(
            dataset,
            encoder,
            test=test,
            seed=seed,
            budget=limit,
            clock=clock,
            teacher=knows,
            queries=queries,
            scores_serve=rung is not None and rung.distil > 0,
            climbing=method == "auto" or rung is not None,
            keeping=keep is not None,
        )
    except Unfinished as late:
        verdict = without_vectors(
            dataset, encoder, late.pace, test=test, metric=metric, budget=limit, clock=clock
        )
        facts = _facts(given, dataset, verdict.labels)
        made_with = settings(metric=verdict.metric)
        return Tuned(
            base, verdict=verdict, metrics=_figures(verdict), data=facts, seed=seed, settings=made_with
        )
    dataset, found, probes = prepared.dataset, prepared.found, prepared.probes
    give_back(len(dataset.documents))
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
    notes = [note for note in (best.note, prepared.untaught) if note is not None]
    stopped = verdict.stopped or prepared.untaught is not None
    verdict = replace(verdict, reasons=[*verdict.reasons, *notes], stopped=stopped)
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
    head = classifier(best.found, best.choice, shipped, seed, limit)
    verdict = replace(verdict, reasons=[*verdict.reasons, *bounds(best.found.train, head)])
    return Tuned(
        base if best.encoder is encoder else best.encoder,
        shipped,
        verdict=verdict,
        metrics=_figures(verdict),
        data=_facts(given, dataset, found.labels),
        seed=seed,
        head=head,
        reference=Reference.of(best.found.train, dataset.task, seed),
        threshold=threshold_of(
            best.found, best.choice if better else None, same_at=same_at, precision=precision, seed=seed
        ),
        settings=settings(metric=deciding),
    )


def _figures(verdict: Verdict) -> dict[str, Any]:
    """Give what the manifest says of both sides."""
    return {"metric": verdict.metric, "base": asdict(verdict.base), "tuned": asdict(verdict.tuned)}


def _facts(given: Dataset, dataset: Dataset, labels: int) -> dict[str, Any]:
    """Give what the manifest says of the data: as it was given, and with the labels that were made."""
    counts = {
        "queries": len(dataset.queries),
        "documents": len(dataset.documents),
        "judgements": labels if dataset.task != "retrieval" else len(dataset.qrels),
    }
    facts = {"fingerprint": given.fingerprint, "task": dataset.task, "counts": counts}
    return facts | ({"made": made} if (made := made_labels(dataset)) else {})


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
