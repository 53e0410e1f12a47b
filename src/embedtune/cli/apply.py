"""``embedtune apply``: a tuned map applied to the vectors in a store."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from embedtune.cli.options import Json, Seed
from embedtune.cli.output import Output
from embedtune.cli.progress import StageProgress
from embedtune.errors import UserError

Store = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="Where the vectors lie: postgresql://…?table=docs&column=embedding, lancedb:///folder#table, …",
        show_default=False,
    ),
]


def apply(
    store: Store,
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="The tuned model's folder, or that of a bridge from migrate.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Labelled queries, to judge what the store finds for them."),
    ] = None,
    new: Annotated[
        str | None,
        typer.Option(
            metavar="DIR_OR_MODEL",
            help="For a bridge: the model that it leads to, where that is tuned or not found by its name.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing: say rows, bytes and minutes.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a version that was begun, or rolled back.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to the version before the switch.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove every version that is not live.")] = False,
    no_probe: Annotated[
        bool,
        typer.Option(
            "--no-probe",
            help="Do not encode texts again to see whether the vectors are the base's; only dimensions are "
            "compared then, and the base with the one that an earlier run has proved, if one has.",
        ),
    ] = False,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Rows handled at a time.")] = 8192,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Apply a tuned map where the vectors live.

    Writes a new version beside the old, indexes and verifies it, then switches in one step.
    """
    output = Output(json)
    from embedtune import stores

    if rollback and prune:
        raise UserError("--rollback and --prune are asked for at once", fix="go back first, then prune")
    if rollback:
        version = stores.rollback(store)
        output.say(f"rolled back: the version before {version} is live again; {version} is kept beside it")
        output.write({"status": "rolled back", "version": version})
        return
    if prune:
        gone = stores.prune(store)
        output.say(f"removed: {', '.join(gone)}" if gone else "there was nothing to remove")
        output.write({"status": "pruned", "removed": gone})
        return
    if model is None:
        raise UserError("no model is given", fix="embedtune apply DIR --store URL")
    with StageProgress() as progress:
        result = stores.apply(
            model,
            store,
            data=data,
            new=new,
            dry_run=dry_run,
            resume=resume,
            probe=not no_probe,
            batch=batch,
            seed=seed,
            progress=progress,
        )
    output.say(result.text())
    if result.status == "switched":
        url = shlex.quote(stores.StoreURL.parse(store).__str__())
        output.say(f"to go back: embedtune apply --store {url} --rollback")
    output.write(result.to_dict())
