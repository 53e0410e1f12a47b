"""``embedtune demo``: patients' words against clinical terms, before and after tuning."""

from __future__ import annotations

import json as jsons
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedtune.cli.options import Budget, Json, Seed
from embedtune.cli.output import Output, shorten
from embedtune.cli.progress import StageProgress
from embedtune.cli.tune import saved_line
from embedtune.cli.verdict import show_verdict
from embedtune.errors import OutputExists

if TYPE_CHECKING:
    from rich.text import Text

    from embedtune.cli.showcase import Showcase, Side
    from embedtune.data import Dataset

BASE = "all-MiniLM-L6-v2"
FOLDER = Path("embedtune-demo")
WIDTH = 60
"""Characters of a document that are shown."""
NEXT = """
next, on data of your own, a file with the columns query and positive:
  embedtune check pairs.csv
  embedtune tune pairs.csv --base all-MiniLM-L6-v2 --out tuned
  embedtune search pairs.csv --model tuned "a query\""""


def demo(
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The folder to make; the demo replaces only what it made itself."),
    ] = FOLDER,
    budget: Budget = None,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """See a medical search improve on real data.

    Clinical terms of the Human Phenotype Ontology are searched in patients' own words.
    """
    output = Output(json)
    from embedtune.api import fine_tune
    from embedtune.cli.showcase import showcase
    from embedtune.data import demo as ontology
    from embedtune.data.describe import describe

    dataset = ontology.load()
    _refuse_foreign(out, dataset)
    output.say(ontology.attribution())
    output.say()
    output.say(str(describe(dataset)))
    with StageProgress() as progress:
        tuned = fine_tune(base_model=BASE, data=dataset, budget=budget, seed=seed, progress=progress)
    show_verdict(output, tuned.verdict)
    searches = showcase(tuned, dataset)
    _show_searches(output, searches)
    tuned.save(out, overwrite=True)
    output.say()
    output.say(saved_line(tuned.verdict.decision, str(out)))
    output.say(NEXT)
    output.write({**tuned.verdict.to_dict(), "out": out, "searches": asdict(searches)})


def _refuse_foreign(folder: Path, dataset: Dataset) -> None:
    """Let the demo replace only a folder that it made itself.

    Raises
    ------
    OutputExists
        When something else is there.
    """
    if not os.path.lexists(folder):
        return
    try:
        manifest = jsons.loads((folder / "manifest.json").read_bytes())
        own = manifest["format"] == "embedtune" and manifest["data"]["fingerprint"] == dataset.fingerprint
    except (OSError, ValueError, KeyError, TypeError):
        own = False
    if not own:
        raise OutputExists(
            "this was not made by the demo, so it is not overwritten",
            where=str(folder),
            fix="choose another folder with --out",
        )


def _show_searches(output: Output, shown: Showcase) -> None:
    """Show the searches side by side."""
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(Column("patients say", width=20), "before", "after", show_lines=True)
    for search in shown.searches:
        cells = (_cell(side, search.answer) for side in (search.before, search.after))
        table.add_row(Text(search.query), *cells)
    output.say()
    output.say(
        f"of the held-out queries, {shown.better:,} find the right term earlier, {shown.same:,} at the same "
        f"place, {shown.worse:,} later; shown are {shown.rule}:"
    )
    output.show(table)


def _cell(side: Side, answer: str) -> Text:
    """Give the first documents with the right ones marked, and the right one where it is deeper."""
    from rich.text import Text

    cell = Text(no_wrap=True, overflow="ellipsis")
    for number, (text, right) in enumerate(zip(side.texts, side.right, strict=True), 1):
        mark, style = ("✓", "green") if right else (" ", "")
        cell.append(f"{mark} {number} {shorten(text, WIDTH)}\n", style=style)
    if not any(side.right):
        cell.append(f"✓ {side.place:,} {shorten(answer, WIDTH)}", style="green dim")
    cell.rstrip()
    return cell
