"""``embedtune suggest``: what to label next, as a file to fill in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedtune.cli.options import Json, Model, Roles, Seed, Sources, Task, parse_roles, parse_sources
from embedtune.cli.output import Output, shorten
from embedtune.cli.progress import StageProgress, watch

if TYPE_CHECKING:
    from embedtune.suggest.rows import Row


def suggest(
    data: Sources,
    model: Model,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="The .csv or .jsonl file to write and fill in.", show_default=False
        ),
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="How many to name.")] = 20,
    pool: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Texts without labels to choose from: .txt, or rows with a text."),
    ] = None,
    task: Task = None,
    role: Roles = None,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Name the items or pairs that are most worth labelling next."""
    output = Output(json)
    from rich.table import Table
    from rich.text import Text

    from embedtune.data import read
    from embedtune.data.pool import read_pool
    from embedtune.models import open_model
    from embedtune.suggest.rows import refuse_unwritable, suggested_rows, write_rows

    refuse_unwritable(out)
    texts = None if pool is None else read_pool(pool)
    dataset = read(parse_sources(data), task=task, roles=parse_roles(role))  # type: ignore[arg-type]
    with StageProgress() as progress:
        tuned = open_model(model)
        watch(tuned, progress.stage("encode"))
        rows = suggested_rows(dataset, tuned, n, pool=texts, seed=seed)
    write_rows(out, rows)
    table = Table("", "to label", "is uncertain", "is moved", box=None)
    for rank, row in enumerate(rows, 1):
        table.add_row(str(rank), Text(_shown(row)), f"{row.uncertainty:.2f}", f"{row.moved:.2f}")
    output.show(table)
    output.say(f"{out}: {len(rows)} rows; fill in the empty column, and add them to {' '.join(data)}")
    output.write({"out": out, "model": model, "task": dataset.task, "rows": [_plain(row) for row in rows]})


def _shown(row: Row) -> str:
    return shorten(" ↔ ".join(str(cell) for cell in row.cells.values() if cell not in (None, "")), 120)


def _plain(row: Row) -> dict[str, Any]:
    return {**row.cells, "uncertainty": row.uncertainty, "moved": row.moved}
