"""``embedtune tune``: fit a map to a dataset, judge it, and save what is better."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedtune.cli.options import (
    Base,
    Budget,
    Json,
    Metric,
    Out,
    Roles,
    Seed,
    SkipBad,
    Sources,
    Task,
    parse_roles,
    parse_sources,
)
from embedtune.cli.output import Output
from embedtune.cli.progress import StageProgress
from embedtune.cli.verdict import show_verdict
from embedtune.errors import UserError

if TYPE_CHECKING:
    from embedtune.data import Dataset

BRIEF = 3
"""Findings of the checks that are shown before tuning."""


def tune(
    data: Sources,
    base: Base,
    out: Out,
    method: Annotated[str, typer.Option(metavar="NAME", help="How to tune; auto chooses.")] = "auto",
    budget: Budget = None,
    test: Annotated[
        str,
        typer.Option(
            metavar="SPLIT|FILE", help="What is kept for the verdict: a split, or a file like DATA."
        ),
    ] = "test",
    seed: Seed = 0,
    metric: Metric = None,
    task: Task = None,
    role: Roles = None,
    skip_bad: SkipBad = False,
    unlabelled: Annotated[
        bool,
        typer.Option(
            "--unlabelled",
            help="DATA has texts alone: learn from titles, headings, first sentences; judge on --test FILE.",
        ),
    ] = False,
    from_store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Read the documents' vectors from a store, by id; encode only the queries."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Save the tuned map whatever the verdict.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a tuned model at --out; never anything else.")
    ] = False,
    json: Json = None,
) -> None:
    """Tune a base model to a dataset, and judge it.

    Says honestly whether tuning helped, and saves the better of the two.
    """
    output = Output(json)
    from embedtune.api import fine_tune
    from embedtune.data import read
    from embedtune.data.describe import describe
    from embedtune.folders import refuse_existing
    from embedtune.manifest import is_artifact

    refuse_existing(
        out,
        is_artifact if overwrite else None,
        fix="choose another folder, or replace a tuned model with --overwrite",
    )
    roles = parse_roles(role)
    if unlabelled:
        dataset = from_structure(data)
    else:
        dataset = read(parse_sources(data), task=task, roles=roles, skip_bad=skip_bad)  # type: ignore[arg-type]
    given = shlex.join(data)
    output.say(str(describe(dataset)))
    show_findings(output, dataset, command=f"embedtune check {given}")
    with StageProgress() as progress:
        tuned = fine_tune(
            base_model=base,
            data=dataset,
            method=method,
            budget=budget,
            test=test,
            seed=seed,
            metric=metric,
            task=task,
            roles=roles,
            force=force,
            from_store=from_store,
            progress=progress,
        )
    show_verdict(output, tuned.verdict.to_dict())
    tuned.save(out, overwrite=overwrite)
    output.say()
    output.say(saved_line(tuned.verdict.decision, str(out), force=force))
    output.say(f"next: embedtune search {shlex.quote(data[0])} --model {shlex.quote(str(out))} 'a query'")
    output.write({**tuned.verdict.to_dict(), "out": out})


def from_structure(data: list[str]) -> Dataset:
    """Make pairs from the structure of one collection without labels."""
    from embedtune.data.pairs import pairs_from_structure

    if len(data) != 1:
        raise UserError(f"--unlabelled takes one collection, not {len(data)}", fix="put them into one file")
    return pairs_from_structure(Path(data[0]))


def show_findings(output: Output, dataset: Dataset, *, command: str) -> None:
    """Show in brief what the checks find; ``command`` is the one that shows it all."""
    from embedtune.data import check
    from embedtune.data.checks.finding import plural

    findings = [finding for finding in check(dataset) if finding.severity != "info"]
    if not findings:
        return
    output.say()
    output.say(f"{plural(len(findings), 'warning')} about the data, in full with: {command}")
    for finding in findings[:BRIEF]:
        output.say(f"  {finding.message}")


def saved_line(decision: str, folder: str, *, force: bool = False) -> str:
    """Say what was saved: the tuned model, or the base where tuning is not advised."""
    if decision == "tune":
        return f"saved the tuned model: {folder}"
    if force:
        return f"saved the tuned model, because of --force: {folder}"
    return f"saved the base as it is, because the verdict is '{decision}': {folder}"
