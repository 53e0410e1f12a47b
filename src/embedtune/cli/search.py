"""``embedtune search``: the documents nearest to a query."""

from __future__ import annotations

from typing import Annotated

import typer

from embedtune.cli.api_options import NO_API, ApiOptions, with_api_options
from embedtune.cli.options import (
    Engine,
    Json,
    Model,
    Roles,
    Sources,
    Task,
    engine_options,
    parse_roles,
    parse_sources,
)
from embedtune.cli.output import Output, shorten
from embedtune.cli.progress import StageProgress, watch


@with_api_options
def search(
    data: Sources,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.", show_default=False)],
    model: Model,
    k: Annotated[int, typer.Option("-k", min=1, help="How many documents to show.")] = 10,
    task: Task = None,
    role: Roles = None,
    api: ApiOptions = NO_API,
    engine: Engine = None,
    json: Json = None,
) -> None:
    """Find the documents nearest to a query."""
    output = Output(json)
    from rich.table import Table
    from rich.text import Text

    from embedtune.data import read
    from embedtune.models import open_model

    with StageProgress() as progress:
        dataset = read(parse_sources(data), task=task, roles=parse_roles(role))  # type: ignore[arg-type]
        options = api.given()
        tuned = open_model(model, **engine_options(engine, dataset), **options)
        watch(tuned, progress.stage("documents"))
        hits = tuned.search(query, dataset, k)
    table = Table("", "score", "id", "text", title=Text(query), title_justify="left", box=None)
    for rank, hit in enumerate(hits, 1):
        table.add_row(str(rank), f"{hit.score:.3f}", Text(hit.id), Text(shorten(hit.text, 200)))
    output.show(table)
    output.write({"query": query, "model": model, "hits": [hit._asdict() for hit in hits]})
