"""``embedtune evaluate``: judge a model on a dataset, against another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from embedtune.cli.api_options import NO_API, ApiOptions, with_api_options
from embedtune.cli.options import (
    Engine,
    Json,
    Metric,
    Model,
    Roles,
    Seed,
    Slices,
    Sources,
    Task,
    engine_options,
    parse_roles,
    parse_sources,
)
from embedtune.cli.output import Output
from embedtune.cli.progress import StageProgress
from embedtune.cli.verdict import show_parts

if TYPE_CHECKING:
    from embedtune.artifact.tuned import Tuned
    from embedtune.judging.verdict import Decision, Evaluation


@with_api_options
def evaluate(
    data: Sources,
    model: Model,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="DIR_OR_MODEL", help="The model to compare with; a tuned model's own base if left out."
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="The split that is judged.")] = "test",
    seed: Seed = 0,
    metric: Metric = None,
    task: Task = None,
    role: Roles = None,
    slice: Slices = None,
    api: ApiOptions = NO_API,
    engine: Engine = None,
    json: Json = None,
) -> None:
    """Judge a model on a dataset, against another.

    With 95 % intervals, on documents seen and not seen in training.
    """
    output = Output(json)
    from embedtune.data import read
    from embedtune.evaluation import evaluate as judge
    from embedtune.models import open_models

    started = time.monotonic()
    slices = slice or ()
    dataset = read(parse_sources(data), task=task, roles=parse_roles(role), slices=slices)  # type: ignore[arg-type]
    options = engine_options(engine, dataset)
    options |= api.given()
    judged, other = open_models(model, against, options)
    was_read = time.monotonic()
    with StageProgress() as progress:
        encoding = _Encoding(progress)
        result = judge(
            dataset,
            model=judged,
            against=other,
            split=split,
            metric=metric,
            seed=seed,
            slices=slices,
            progress=encoding,
        )
    seconds = {
        "read": was_read - started,
        "encode": encoding.seconds,
        "tune": 0.0,
        "judge": time.monotonic() - was_read - encoding.seconds,
    }
    output.say(result.text())
    found = result.to_dict()
    show_parts(output, found)
    output.write(
        {
            **found,
            "verdict": _verdict(result),
            "method": _method(judged),
            "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
            "candidates": [],
        }
    )


class _Encoding:
    """Passes progress on, and adds up the seconds that texts were encoded."""

    def __init__(self, progress: Callable[[str, int, int], None]) -> None:
        self.seconds, self._progress = 0.0, progress
        self._since: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        since = self._since.setdefault(stage, now)
        if done >= total:
            self.seconds += now - since
            del self._since[stage]
        self._progress(stage, done, total)


def _verdict(result: Evaluation) -> Decision | None:
    """Say in the words of ``tune`` whether the model is better; None where the two find the same."""
    from embedtune.judging.verdict import WORTH

    low, high = result.ci95
    if low == high == 0:
        return None
    if (
        high < 0
        or any(part.harmful for part in result.strata.values())
        or any(one.harmed for one in result.slices)
    ):
        return "do not tune: worse"
    if low > 0:
        return "tune"
    return "do not tune: already good" if high < WORTH else "do not tune: too few labels to tell"


def _method(model: Tuned) -> str:
    """Give how a model was tuned; what is no tuned model has the map that changes nothing."""
    from embedtune.transforms import Identity

    if isinstance(model.transform, Identity):
        return "identity"
    told = model.verdict.get("method") if isinstance(model.verdict, Mapping) else None
    return told or "unknown"
