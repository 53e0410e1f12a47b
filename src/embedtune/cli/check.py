"""``embedtune check``: what is wrong or suspicious in a dataset, with places and remedies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedtune.cli.api_options import NO_API, ApiOptions, with_api_options
from embedtune.cli.errors import CHECK_FAILED
from embedtune.cli.options import (
    Json,
    Roles,
    Task,
    parse_roles,
    parse_sources,
)
from embedtune.cli.output import Output
from embedtune.errors import UserError

if TYPE_CHECKING:
    from embedtune.data.checks import Finding


@with_api_options
def check(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATA...]",
            help="Like DATA elsewhere; several, each perhaps with a weight (a.csv b.jsonl@0.5), are read as "
            "one. With --store: new queries and texts by id, or nothing.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The model that will read it: finds texts that it would cut."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Check a store instead: whose vectors it has, and its rows."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="DIR_OR_MODEL", help="With --store: the model whose vectors it should have."),
    ] = None,
    task: Task = None,
    role: Roles = None,
    api: ApiOptions = NO_API,
    json: Json = None,
) -> None:
    """Find what is wrong or suspicious in a dataset, or in a store of vectors.

    The exit code is 3 if there are errors.
    """
    output = Output(json)
    if store is not None or model is not None:
        _check_store(output, store, model, data, task, role, api)
        return
    if not data:
        raise UserError("no data is given", fix="embedtune check DATA, or --store URL --model DIR")
    from embedtune.data import check as find
    from embedtune.data import read
    from embedtune.data.describe import describe
    from embedtune.encoders import load_encoder

    options = api.given()
    encoder = load_encoder(base, **options) if base else None
    dataset = read(parse_sources(data), task=task, roles=parse_roles(role), strict=False)  # type: ignore[arg-type]
    understood = describe(dataset)
    output.say(str(understood))
    output.say()
    _tell(output, find(dataset, encoder=encoder), {"data": understood.to_dict()})


def _check_store(
    output: Output,
    store: str | None,
    model: str | None,
    data: list[str] | None,
    task: str | None,
    role: list[str] | None,
    api: ApiOptions,
) -> None:
    """Tell what is wrong with a store."""
    if store is None or model is None:
        missing = "--store URL" if store is None else "--model DIR"
        raise UserError(f"{missing} is not given", fix="embedtune check --store URL --model DIR [DATA]")
    from embedtune.migration import is_bridge
    from embedtune.models import open_model
    from embedtune.stores import drift
    from embedtune.stores.queries import read_given

    given = None
    if data:
        given = read_given(parse_sources(data), task=task, roles=parse_roles(role))  # type: ignore[arg-type]
    bridge = is_bridge(Path(model).expanduser())
    found = drift(model if bridge else open_model(model, **api.given()), store, given)
    output.say(f"{found.store}: {found.rows:,} rows with a vector")
    for note in found.notes:
        output.say(f"  {note}")
    output.say()
    _tell(output, found.findings, {"store": found.store, "rows": found.rows, "notes": found.notes})


def _tell(output: Output, findings: list[Finding], about: dict[str, Any]) -> None:
    """Show and write findings; exit with 3 where there are errors."""
    from embedtune.data.checks.finding import plural

    count = {
        severity: sum(f.severity == severity for f in findings) for severity in ("error", "warning", "info")
    }
    for finding in findings:
        output.say(_text(finding))
    told = ", ".join(plural(number, severity) for severity, number in count.items())
    output.say(told if findings else "nothing found that is wrong or suspicious")
    output.write(
        {
            **about,
            "errors": count["error"],
            "warnings": count["warning"],
            "infos": count["info"],
            "findings": [finding.to_dict() for finding in findings],
        }
    )
    if count["error"]:
        raise typer.Exit(CHECK_FAILED)


def _text(finding: Finding) -> str:
    """Give a finding with its places and its remedy, for people."""
    lines = [f"{finding.severity}: {finding.message}"]
    for example in finding.examples:
        place = f"{example.file}:{example.line}" if example.line else example.file
        lines.append(f"    {place}: {example.text}")
    return "\n".join([*lines, f"    → {finding.remedy}"])
