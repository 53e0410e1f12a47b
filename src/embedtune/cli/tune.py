"""``embedtune tune``: fit a map to a dataset, judge it, and save what is better."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedtune.cli.api_options import NO_API, ApiOptions, with_api_options
from embedtune.cli.options import (
    Base,
    Budget,
    Engine,
    Json,
    Metric,
    Out,
    Roles,
    Seed,
    SkipBad,
    Slices,
    Sources,
    Task,
    engine_options,
    parse_roles,
    parse_sources,
)
from embedtune.cli.output import Output
from embedtune.cli.progress import StageProgress
from embedtune.cli.teaching import Distil, Teacher, TeacherApiBase, Unlabelled, only_teacher_pays, teaching
from embedtune.cli.verdict import show_verdict
from embedtune.cli.writing import (
    ApiTimeout,
    PerDocument,
    PriceIn,
    PriceOut,
    WriteQueries,
    Writing,
    Yes,
    without_labels,
)
from embedtune.errors import UserError

if TYPE_CHECKING:
    from embedtune.data import Dataset

BRIEF = 3
"""Findings of the checks that are shown before tuning."""


@with_api_options
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
    slice: Slices = None,
    unlabelled: Annotated[
        bool,
        typer.Option(
            "--unlabelled",
            help="DATA has texts alone: learn from titles, headings, first sentences; judge on --test FILE.",
        ),
    ] = False,
    write_queries: WriteQueries = None,
    per_document: PerDocument = 2,
    api_timeout: ApiTimeout = 60.0,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    yes: Yes = False,
    teacher: Teacher = None,
    teacher_api_base: TeacherApiBase = None,
    queries: Unlabelled = None,
    distil: Distil = None,
    keep: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of general texts' neighbours that is kept: 0.9; 1 moves nothing.",
        ),
    ] = None,
    same_at: Annotated[
        float | None,
        typer.Option(metavar="SCORE", help="Of scored pairs: from which score on two texts are the same."),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="What the threshold of the same is to reach; else the best F1."),
    ] = None,
    dims: Annotated[
        str | None,
        typer.Option(metavar="auto|N", help="Smaller vectors: the smallest within noise, or N dimensions."),
    ] = None,
    bytes_per_vector: Annotated[
        int | None,
        typer.Option(metavar="N", help="The most that a document's vector may take, in bytes."),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="For method layers: how many are trained, from the top."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training of weights that was stopped.")
    ] = False,
    from_store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Read the documents' vectors from a store, by id; encode only the queries."
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What may be resident, as 2GB: vectors of a store or folder are read from disk in parts.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Save the tuned map whatever the verdict.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a tuned model at --out; never anything else.")
    ] = False,
    api: ApiOptions = NO_API,
    engine: Engine = None,
    json: Json = None,
) -> None:
    """Tune a base model to a dataset, and judge it.

    Says honestly whether tuning helped, and saves the better of the two.
    """
    from embedtune.weights.processes import join

    join()  # of several processes, the first alone says and writes anything
    output = Output(json)
    from embedtune.api import fine_tune
    from embedtune.data import read
    from embedtune.data.describe import describe
    from embedtune.encoders import load_encoder
    from embedtune.folders import refuse_existing
    from embedtune.manifest import is_artifact
    from embedtune.sizes import parse_dims, size_lines

    refuse_existing(
        out,
        is_artifact if overwrite else None,
        fix="choose another folder, or replace a tuned model with --overwrite",
    )
    roles, slices = parse_roles(role), slice or ()
    if write_queries is not None and not unlabelled:
        raise UserError("--write-queries is for texts without labels", fix="add --unlabelled")
    if unlabelled:
        writing = Writing(
            model=write_queries,
            api_base=api.api_base,
            key_variable=api.api_key_env,
            per_document=per_document,
            max_cost=api.max_cost,
            price_in=price_in,
            price_out=price_out,
            timeout=api_timeout,
            yes=yes,
        )
        dataset = without_labels(output, data, writing)
    else:
        dataset = read(
            parse_sources(data),
            task=task,  # type: ignore[arg-type]
            roles=roles,
            skip_bad=skip_bad,
            slices=slices,
        )
    given = shlex.join(data)
    output.say(str(describe(dataset)))
    show_findings(output, dataset, command=f"embedtune check {given}")
    options = engine_options(engine, dataset)
    teacher_pays = only_teacher_pays(base, api.api_base, teacher, teacher_api_base)
    if write_queries is None and not teacher_pays:  # else the API is that of the model that writes or teaches
        options |= api.given()
    taught = teaching(teacher, teacher_api_base, queries, options, api)
    with StageProgress() as progress:
        tuned = fine_tune(
            base_model=load_encoder(base, **options),
            data=dataset,
            method=method,
            budget=budget,
            test=test,
            seed=seed,
            metric=metric,
            task=task,
            roles=roles,
            force=force,
            slices=slices,
            **taught,
            distil=distil,
            keep=keep,
            same_at=same_at,
            precision=precision,
            dims=parse_dims(dims),
            most_bytes=bytes_per_vector,
            layers=layers,
            checkpoint=checkpoint_folder(out),
            resume=resume,
            from_store=from_store,
            memory=memory,
            progress=progress,
        )
    show_verdict(output, tuned.verdict.to_dict())
    for line in size_lines(tuned.verdict.sizes):
        output.say(line)
    if tuned.threshold is not None:
        output.say()
        output.say(tuned.threshold.text())
    tuned.save(out, overwrite=overwrite)
    output.say()
    verdict = tuned.verdict
    forced = force and verdict.method != "identity"
    output.say(saved_line(verdict.decision, str(out), forced=forced, untried=verdict.untried))
    search = f"embedtune search {shlex.quote(data[0])} --model {shlex.quote(str(out))} 'a query'"
    output.say(f"next: {'the same command with --overwrite' if verdict.untried else search}")
    threshold = tuned.threshold.to_dict() if tuned.threshold else None
    output.write({**tuned.verdict.to_dict(), "threshold": threshold, "out": out})


def checkpoint_folder(out: Path) -> Path:
    """Say where the state of a training is kept until it is done: beside the output.

    >>> checkpoint_folder(Path("models/tuned")).as_posix()
    'models/tuned.checkpoint'
    """
    return out.with_name(f"{out.name}.checkpoint")


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


def saved_line(decision: str, folder: str, *, forced: bool = False, untried: bool = False) -> str:
    """Say what was saved: the tuned model, or the base where tuning is not advised and no map was forced."""
    if decision == "tune":
        return f"saved the tuned model: {folder}"
    if forced:
        return f"saved the tuned model, because of --force: {folder}"
    why = "nothing was tried" if untried else f"the verdict is '{decision}'"
    return f"saved the base as it is, because {why}: {folder}"
