"""``embedtune evaluate``: judge a model on a dataset, against another one."""

from __future__ import annotations

from typing import Annotated

import typer

from embedtune.cli.options import Data, Json, Metric, Model, Roles, Seed, Task, parse_roles
from embedtune.cli.output import Output
from embedtune.cli.progress import StageProgress


def evaluate(
    data: Data,
    model: Model,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="DIR_OR_MODEL", help="The model to compare with; a tuned model's own base if left out."
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="The split that is judged.")] = "test",
    seed: Seed = 0,
    metric: Metric = "ndcg@10",
    task: Task = None,
    role: Roles = None,
    json: Json = None,
) -> None:
    """Judge a model on a dataset, against another.

    With 95 % intervals, on documents seen and not seen in training.
    """
    output = Output(json)
    from embedtune.api import evaluate as judge
    from embedtune.data import read

    dataset = read(data, task=task, roles=parse_roles(role))  # type: ignore[arg-type]
    with StageProgress() as progress:
        result = judge(
            dataset,
            model=model,
            against=against,
            split=split,
            metric=metric,
            seed=seed,
            progress=progress,
        )
    output.say(result.text())
    output.write(result.to_dict())
