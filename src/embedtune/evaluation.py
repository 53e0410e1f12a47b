"""Judge a model, tuned or not, on labelled data, beside another one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.artifact.reading import read_on
from embedtune.artifact.tuned import Tuned
from embedtune.collect import HELD_OUT, Collected, collect
from embedtune.collect.encode import by_id
from embedtune.data import read
from embedtune.data.dataset import Dataset
from embedtune.data.slices import as_names
from embedtune.encoders import load_encoder
from embedtune.errors import DataError, MissingExtra, UserError
from embedtune.judging.comparison import Gain
from embedtune.judging.labelled import Labelled
from embedtune.judging.slices import slice_gains, slices_of
from embedtune.judging.verdict import Evaluation
from embedtune.models import open_model
from embedtune.steps.asked import check_metric, check_slices
from embedtune.steps.decision import on_test
from embedtune.steps.parts import spots_of
from embedtune.transforms import Identity
from embedtune.types import Encoder, Transform

Progress = Callable[[str, int, int], None]


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
    check_slices(dataset, slices)
    check_metric(dataset, metric)
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
    before: tuple[Collected, Transform] = found, Identity()
    if other is not None:
        compared = _judging(dataset, other.encoder, split, progress)
        before = _read_on(compared, dataset, other), other.transform
    after = _read_on(found, dataset, judged), judged.transform
    result = on_test(before, after, metric, seed)
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


def _read_on(found: Collected, dataset: Dataset, model: Tuned) -> Collected:
    """Read documents that the model does not know as :meth:`Tuned.encode_documents` does."""
    judged = found.test
    if not isinstance(judged, Labelled) or by_id(model.encoder, "document"):
        return found
    documents = read_on(
        judged.documents,
        dataset.items("document"),
        judged.document_ids,
        encoder=model.encoder,
        transform=model.transform,
    )
    return replace(found, test=replace(judged, documents=documents))
