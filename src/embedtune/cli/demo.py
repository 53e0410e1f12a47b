"""``embedtune demo``: patients' words against clinical terms, before and after tuning."""

from __future__ import annotations

import json as jsons
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedtune.cli.options import Budget, Json, Seed
from embedtune.cli.output import Output, shorten
from embedtune.cli.progress import StageProgress
from embedtune.cli.tune import saved_line
from embedtune.cli.verdict import show_verdict
from embedtune.errors import ArtifactError, OutputExists

if TYPE_CHECKING:
    from rich.text import Text

    from embedtune.artifact.tuned import Tuned
    from embedtune.cli.showcase import Showcase, Side
    from embedtune.data import Dataset
    from embedtune.types import Encoder

BASE = "all-MiniLM-L6-v2"
METHOD, METRIC = "auto", "ndcg@10"
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
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Tune anew, also where an earlier run's result is as good.")
    ] = False,
    json: Json = None,
) -> None:
    """See a medical search improve on real data.

    Clinical terms of the Human Phenotype Ontology are searched in patients' own words.
    A second run shows the result of the first, if data, base, seed and version are the same.
    """
    output = Output(json)
    from embedtune.cli.showcase import showcase
    from embedtune.data import demo as ontology
    from embedtune.data.describe import describe
    from embedtune.encoders import load_encoder

    started = time.monotonic()
    dataset = ontology.load()
    _refuse_foreign(out, dataset)
    output.say(ontology.attribution())
    output.say()
    output.say(str(describe(dataset)))
    encoder = load_encoder(BASE)
    saved = None if fresh else _saved(output, out, dataset, encoder, seed)
    if saved is None:
        tuned = _tune(dataset, encoder, budget, seed)
        verdict = tuned.verdict.to_dict()
    else:
        tuned = saved
        spent = round(time.monotonic() - started, 3)
        verdict = {**tuned.verdict, "seconds": {"read": spent, "encode": 0.0, "tune": 0.0, "judge": 0.0}}
    show_verdict(output, verdict)
    searches = showcase(tuned, dataset)
    _show_searches(output, searches)
    if saved is None:
        tuned.save(out, overwrite=True)
    output.say()
    output.say(saved_line(verdict["decision"], str(out)))
    output.say(NEXT)
    output.write({**verdict, "out": out, "searches": asdict(searches)})


def _tune(dataset: Dataset, encoder: Encoder, budget: str | None, seed: int) -> Tuned:
    from embedtune.api import fine_tune

    with StageProgress() as progress:
        return fine_tune(
            base_model=encoder,
            data=dataset,
            method=METHOD,
            budget=budget,
            seed=seed,
            metric=METRIC,
            progress=progress,
        )


def _saved(output: Output, folder: Path, dataset: Dataset, encoder: Encoder, seed: int) -> Tuned | None:
    """Give what an earlier run saved in ``folder``, if tuning would give the same; say so in a line."""
    from embedtune.artifact.settings import same_inputs, settings_of
    from embedtune.artifact.tuned import Tuned, load
    from embedtune.collect import HELD_OUT
    from embedtune.manifest import read_manifest

    settings = settings_of(method=METHOD, metric=METRIC, test=HELD_OUT, force=False)
    try:
        if not folder.is_dir():
            return None
        if not same_inputs(read_manifest(folder), dataset, encoder, seed=seed, settings=settings):
            return None
        saved = load(folder)
    except ArtifactError as error:
        output.say()
        output.say(
            f"the result of an earlier run is damaged, so it is made anew: {error.where}: {error.what}"
        )
        return None
    output.say()
    output.say(f"shown from {folder}, made by an earlier run of the same inputs; --fresh tunes anew")
    return Tuned(encoder, saved.transform, verdict=saved.verdict)


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
