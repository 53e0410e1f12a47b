"""What was asked for, refused before any work where it cannot be: time, metric, method, slices."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from embedtune.data.dataset import Dataset
from embedtune.data.slices import slice_values
from embedtune.errors import UserError
from embedtune.judging.classified import MULTI, SINGLE
from embedtune.judging.correlation import CORRELATIONS
from embedtune.judging.metrics import parse_metric
from embedtune.tuners import TUNERS
from embedtune.tuners.base import Tuner
from embedtune.weights import RUNGS
from embedtune.weights.methods import Method


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


def check_slices(dataset: Dataset, slices: Sequence[str]) -> None:
    """Refuse a column that cannot be used, before any work."""
    for name in slices:
        slice_values(dataset, name)


def check_metric(dataset: Dataset, metric: str | None) -> None:
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


def check_method(dataset: Dataset, method: str | Tuner | Method) -> None:
    """Refuse a method that is not for the task, before any work."""
    tables = (TUNERS, RUNGS)
    if isinstance(method, str):
        fits = method == "auto" or any(method in t and dataset.task in t.load(method).tasks for t in tables)
    else:
        fits = dataset.task in method.tasks
    if fits:
        return
    fitting = [name for table in tables for name in table if dataset.task in table.load(name).tasks]
    raise UserError(
        f"method {name_of(method)!r} is not for {dataset.task}", fix=f"choose from auto, {', '.join(fitting)}"
    )


def name_of(method: str | Tuner | Method) -> str:
    """Give a method's name.

    Raises
    ------
    UserError
        When it is neither a name nor a method.
    """
    if isinstance(method, str):
        return method
    if isinstance(method, type) or not isinstance(method, Tuner | Method):
        raise UserError(
            f"{method!r} is no method", fix="give a name such as 'linear', or a tuner such as LinearTuner()"
        )
    return method.name


def settings_in(method: str | Tuner | Method) -> dict[str, Any] | None:
    """Give the settings of a method that was given with its own, as JSON keeps them; None for a name."""
    if isinstance(method, str) or not is_dataclass(method):
        return None
    found: dict[str, Any] = json.loads(json.dumps(asdict(method), default=repr))
    return found
