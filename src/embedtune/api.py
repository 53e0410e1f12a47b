"""The whole flow on one page: read, encode, tune, judge, and hand back what is better."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.artifact import Tuned
from embedtune.collect import HELD_OUT, Collected, collect
from embedtune.data import read
from embedtune.data.dataset import Dataset
from embedtune.data.join import join_test
from embedtune.encoders import load_encoder
from embedtune.errors import DataError, UserError
from embedtune.judging.comparison import Gain, Judged, Side, gain_of
from embedtune.judging.estimate import TOLERATED, wrong_share
from embedtune.judging.labelled import Labelled
from embedtune.judging.metrics import parse_metric
from embedtune.judging.verdict import BY_CHANCE, FEWEST, Evaluation, Evidence, Verdict, decide
from embedtune.models import open_model
from embedtune.search import top_k
from embedtune.settings import settings_of
from embedtune.transforms import Identity
from embedtune.tuners import TUNERS
from embedtune.tuners.auto import Choice, choose
from embedtune.tuners.base import Budget
from embedtune.tuners.ladder_retrieval import ladder
from embedtune.types import Encoder, Transform, Vectors

FURTHER = ("ndcg@10", "mrr@10", "recall@10", "recall@100", "map")
"""Metrics that are reported beside the one that decides."""

NEIGHBOURS = 10
"""Documents whose change says how much of the map has moved."""

Progress = Callable[[str, int, int], None]


def fine_tune(
    *,
    base_model: str | Encoder | dict[str, Any],
    data: Any,
    method: str = "auto",
    budget: str | float | None = None,
    test: str = HELD_OUT,
    seed: int = 0,
    metric: str = "ndcg@10",
    task: Any = None,
    roles: dict[str, str | None] | None = None,
    force: bool = False,
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
    metric : str
        What decides, for example ``"ndcg@10"``, ``"mrr@10"`` or ``"recall@100"``.
    task, roles
        Passed to :func:`embedtune.data.read`.
    force : bool
        Hand back the tuned map even where the verdict advises against it.
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
    parse_metric(metric)
    if method != "auto":
        TUNERS[method]  # an unknown method is told before any work
    clock = _Clock(started)

    dataset = read(data, task=task, roles=roles)
    if test not in (*dataset.splits, HELD_OUT, "none"):
        if not Path(test).exists():
            raise DataError(
                f"{test!r} is neither a split of the data nor a file",
                fix=f"choose from {', '.join(dataset.splits)}, or give a path",
            )
        dataset, test = join_test(dataset, read(test, task=task, roles=roles)), HELD_OUT
    clock.stop("read")

    encoder = load_encoder(base_model)
    found = collect(dataset, encoder, test=test, seed=seed, progress=progress)
    clock.stop("encode")

    choice: Choice | None = None
    transform: Transform = Identity()
    pool = found.train
    if len(found.train) >= FEWEST:
        pool = found.train.pooled(seed)
        choice = choose(pool, ladder=ladder, method=method, metric=metric, seed=seed, budget=limit)
        transform = choice.fit(seed, limit)
    clock.stop("tune")

    verdict = _judge(dataset, found, pool, choice, transform, metric, seed, clock)
    shipped = transform if verdict.decision == "tune" or force else Identity()
    return Tuned(
        encoder,
        shipped,
        verdict=verdict,
        metrics={"metric": metric, "base": asdict(verdict.base), "tuned": asdict(verdict.tuned)},
        data={
            "fingerprint": dataset.fingerprint,
            "task": dataset.task,
            "counts": {
                "queries": len(dataset.queries),
                "documents": len(dataset.documents),
                "judgements": len(dataset.qrels),
            },
        },
        seed=seed,
        settings=settings_of(method=method, metric=metric, test=test, force=force),
    )


def evaluate(
    data: Any,
    *,
    model: Tuned | str | Path | Encoder,
    against: Tuned | str | Path | Encoder | None = None,
    split: str = HELD_OUT,
    metric: str = "ndcg@10",
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
    metric : str
        What is compared.
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
    judged, other = open_model(model), None if against is None else open_model(against)
    if split not in dataset.splits:
        if len(dataset.splits) != 1:
            raise DataError(
                f"there is no split called {split!r}", fix=f"choose from {', '.join(dataset.splits)}"
            )
        split = dataset.splits[0]
    scores = {}
    found = _test_only(dataset, judged.encoder, split, seed, progress)
    names = _metrics(metric)
    scores["tuned"] = found[0].evaluate(judged.transform, names)
    if other is None:
        scores["base"] = found[0].evaluate(Identity(), names)
    else:
        compared = _test_only(dataset, other.encoder, split, seed, progress)[0]
        scores["base"] = compared.evaluate(other.transform, names)
    result = Judged(scores["base"], scores["tuned"], found[2], found[0].groups, found[1], seed)
    gain = result.gain() or Gain(0.0, (0.0, 0.0), 1.0, 0)
    return Evaluation(
        dataset.task,
        metric,
        result.side("base"),
        result.side("tuned"),
        gain.gain,
        gain.ci95,
        gain.p_value,
        result.strata(),
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


class _Clock:
    """Seconds spent in each stage."""

    def __init__(self, started: float) -> None:
        self.last, self.seconds = started, {}  # type: float, dict[str, float]

    def stop(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage] = round(now - self.last, 3)
        self.last = now


def _judge(
    dataset: Dataset,
    found: Collected,
    pool: Labelled,
    choice: Choice | None,
    transform: Transform,
    metric: str,
    seed: int,
    clock: _Clock,
) -> Verdict:
    """Put the evidence together: on the test split where there is one, else out of fold."""
    folded = _folded(choice, found, seed)
    corrected = choice.corrected(seed) if choice else None
    wrong = wrong_share(choice.far) if choice and choice.far is not None else None
    judged, where = folded, "out of fold"
    if found.test is not None:
        names, where = _metrics(metric), "test"
        judged = Judged(
            found.test.evaluate(Identity(), names),
            found.test.evaluate(transform, names),
            found.test_seen,
            found.test.groups,
            found.test_texts,
            seed,
        )
    test = judged.gain() if judged and found.test is not None else None
    base = judged.base[judged.metric] if judged else np.zeros(0)
    base_gain = gain_of(base, judged.groups, seed) if judged else None
    difference = choice.shown.scores - choice.folded.base if choice else np.zeros(0)
    decision, reasons, needed = decide(
        Evidence(
            chosen=choice is not None and choice.chosen.candidate is not None,
            folded=corrected,
            folded_strata=folded.strata() if folded else {},
            test=test,
            test_strata=judged.strata() if judged and test else {},
            base=float(base.mean()) if len(base) else 0.0,
            base_low=base_gain.ci95[0] if base_gain else 0.0,
            spread=float(difference.std()) if len(difference) > 1 else 0.35,
            labels=len(found.train),
            stopped=bool(choice and choice.stopped),
            wrong=wrong or 0.0,
        )
    )
    if wrong is not None and TOLERATED < wrong < BY_CHANCE:
        share = f"about {wrong:.0%} of the labels look drawn by chance; the gain is that of the others"
        reasons = [*reasons, share]
    if choice and choice.stopped:
        if len(choice.tried) > 1:
            reasons = [*reasons, "the time budget ended: some candidates were not tried"]
        else:  # nothing is known of the labels
            reasons, needed = ["the time budget ended: nothing could be tried, so the base is kept"], None
    gain = test or corrected or Gain(0.0, (0.0, 0.0), 1.0, 0)
    nobody = Side(None, None, None, 0, 0, 0)
    clock.stop("judge")
    return Verdict(
        dataset.task,
        metric,
        judged.side("base") if judged else nobody,
        judged.side("tuned") if judged else nobody,
        gain.gain,
        gain.ci95,
        gain.p_value,
        judged.strata() if judged else {},
        judged.examples(best=True) if judged else [],
        judged.examples(best=False) if judged else [],
        judged_on=where,
        decision=decision,
        reasons=reasons,
        method=choice.shown.name if choice else "identity",
        strength=choice.shown.strength if choice and choice.shown.candidate else 0.0,
        labels=len(found.train),
        labels_needed=needed,
        out_of_fold=None if corrected is None else _plain(corrected),
        wrong_labels=None if wrong is None else round(wrong, 4),
        moved=_moved((found.test or found.train).queries, pool, transform, seed),
        candidates=_candidates(choice),
        seconds=clock.seconds,
        stopped=bool(choice and choice.stopped),
    )


def _folded(choice: Choice | None, found: Collected, seed: int) -> Judged | None:
    """Give the out-of-fold scores of what is shown, on the rows that stand for traffic."""
    if choice is None:
        return None
    fold, metric = choice.folded, choice.folded.metric
    counted = fold.weight() > 0
    return Judged(
        {metric: fold.base[counted]},
        {metric: choice.shown.scores[counted]},
        fold.strata["seen"][counted],
        fold.groups[counted],
        [found.train_texts[row] for row in fold.row[counted]],
        seed,
    )


def _candidates(choice: Choice | None) -> list[dict[str, Any]]:
    if choice is None:
        return []
    return [
        {
            "method": tried.name,
            "strength": tried.strength if tried.candidate else 0.0,
            "score": round(tried.mean, 6),
            "harms": tried.harms,
            "chosen": tried is choice.chosen,
        }
        for tried in choice.tried
    ]


def _moved(queries: Vectors, pool: Labelled, transform: Transform, seed: int) -> dict[str, float]:
    """Share of the nearest documents of up to 300 queries, in the pool, that another took the place of."""
    if isinstance(transform, Identity) or not len(queries):
        return {"neighbours_changed": 0.0}
    rng = np.random.default_rng(seed)
    some = queries[np.sort(rng.choice(len(queries), min(len(queries), 300), replace=False))]
    documents = np.asarray(pool.documents, np.float32)
    before = top_k(some, documents, NEIGHBOURS)[0]
    after = top_k(transform.queries(some), transform.documents(documents, pool.document_ids), NEIGHBOURS)[0]
    kept = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(before, after, strict=True)]
    return {"neighbours_changed": round(1 - float(np.mean(kept)), 4)}


def _test_only(
    dataset: Dataset, encoder: Encoder, split: str, seed: int, progress: Progress | None
) -> tuple[Labelled, list[str], Any]:
    """Give the queries of one split, their texts, and which of their documents have training queries."""
    if len(dataset.splits) > 1 and set(dataset.splits) - {split, HELD_OUT}:
        found = collect(dataset, encoder, test=split, seed=seed, progress=progress)
        if found.test is not None:
            return found.test, found.test_texts, found.test_seen
    found = collect(dataset, encoder, test="none", seed=seed, progress=progress)
    return found.train, found.train_texts, None  # what the model was trained on is not known


def _metrics(metric: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((metric, *FURTHER)))


def _plain(gain: Gain) -> dict[str, Any]:
    return {"gain": gain.gain, "ci95": list(gain.ci95), "p_value": gain.p_value, "n": gain.n}
