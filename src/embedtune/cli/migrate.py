"""``embedtune migrate``: from stored vectors to another model, without encoding everything anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedtune.cli.api_options import NO_API, ApiOptions, with_api_options
from embedtune.cli.options import Data, Json, Metric, Out, Roles, Seed, Task, parse_roles
from embedtune.cli.output import Output
from embedtune.cli.progress import StageProgress
from embedtune.duration import duration


@with_api_options
def migrate(
    data: Data,
    old: Annotated[
        str,
        typer.Option(
            metavar="URL_OR_MODEL",
            help="Where stored vectors are: a store's URL or vectors:FOLDER; or the model that made them.",
            show_default=False,
        ),
    ],
    new: Annotated[
        str,
        typer.Option(
            metavar="MODEL_OR_DIR",
            help="The model to move to, or a tuned model's folder.",
            show_default=False,
        ),
    ],
    out: Out,
    sample: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=10, help="Documents to encode anew; the learning curve decides if none."
        ),
    ] = None,
    traffic: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV, JSONL or Parquet of id and count: what is asked for most."),
    ] = None,
    metric: Metric = None,
    seed: Seed = 0,
    task: Task = None,
    role: Roles = None,
    api: ApiOptions = NO_API,
    json: Json = None,
) -> None:
    """Learn a map from stored vectors to another model's, and be told whether to use it.

    Says what share of full re-embedding's quality the map keeps, and advises: bridge, re-embed, or
    bridge now and re-embed the rest in the order that is saved.
    """
    output = Output(json)
    from embedtune.data import read
    from embedtune.folders import refuse_existing
    from embedtune.migration import migrate as learn
    from embedtune.migration import save_bridge
    from embedtune.migration.traffic import read_traffic
    from embedtune.models import open_model

    refuse_existing(out)
    counts = None if traffic is None else read_traffic(traffic)
    dataset = read(data, task=task, roles=parse_roles(role))  # type: ignore[arg-type]
    with StageProgress() as progress:
        found = learn(
            old=old,
            new=open_model(new, **api.given()),
            data=dataset,
            sample=sample,
            traffic=counts,
            metric=metric or "ndcg@10",
            seed=seed,
            progress=progress,
        )
    save_bridge(found, out)
    report = found.to_dict()
    output.say(f"advice: {report['advice']}")
    for reason in report["reasons"]:
        output.say(f"  {reason}")
    low, high = found.neighbours.ci95
    output.say(
        f"  nearest neighbours kept: {found.neighbours.share:.1%} ({low:.1%} to {high:.1%}), "
        f"by {found.method} from {found.sampled:,} of {found.documents:,} documents"
    )
    took = report["seconds"]
    output.say(
        f"  mapping everything takes about {duration(took['bridge'])}, re-embedding everything about "
        f"{duration(took['re_embed'])} at the speed of the sample (near nothing where it was in the cache)"
    )
    if (cost := report["cost"]) is not None:
        output.say(
            f"  the bridge has cost about {cost['bridge']:.4g} {cost['currency']}, and re-embedding "
            f"everything costs at most about {cost['re_embed']:.4g}"
        )
    output.say(f"saved the bridge, and the order of re-embedding: {out}")
    output.write({**report, "out": out})
