"""``embedtune check``: what is wrong or suspicious in a dataset, with places and remedies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from embedtune.cli.errors import CHECK_FAILED
from embedtune.cli.options import (
    ApiBase,
    ApiKeyEnv,
    Dimensions,
    Json,
    MaxCost,
    PriceTable,
    Roles,
    Sources,
    Task,
    api_options,
    parse_roles,
    parse_sources,
)
from embedtune.cli.output import Output

if TYPE_CHECKING:
    from embedtune.data.checks import Finding


def check(
    data: Sources,
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The model that will read it: finds texts that it would cut."),
    ] = None,
    task: Task = None,
    role: Roles = None,
    api_base: ApiBase = None,
    api_key_env: ApiKeyEnv = None,
    dimensions: Dimensions = None,
    max_cost: MaxCost = None,
    prices: PriceTable = None,
    json: Json = None,
) -> None:
    """Find what is wrong or suspicious in a dataset.

    The exit code is 3 if there are errors.
    """
    output = Output(json)
    from embedtune.data import check as find
    from embedtune.data import read
    from embedtune.data.checks.finding import plural
    from embedtune.data.describe import describe
    from embedtune.encoders import load_encoder

    options = api_options(api_base, api_key_env, max_cost, prices, dimensions)
    encoder = load_encoder(base, **options) if base else None
    dataset = read(parse_sources(data), task=task, roles=parse_roles(role), strict=False)  # type: ignore[arg-type]
    understood = describe(dataset)
    output.say(str(understood))
    findings = find(dataset, encoder=encoder)
    count = {
        severity: sum(f.severity == severity for f in findings) for severity in ("error", "warning", "info")
    }
    output.say()
    for finding in findings:
        output.say(_text(finding))
    told = ", ".join(plural(number, severity) for severity, number in count.items())
    output.say(told if findings else "nothing found that is wrong or suspicious")
    output.write(
        {
            "data": understood.to_dict(),
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
