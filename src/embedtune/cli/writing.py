"""Options of ``tune`` for queries that a language model writes: what it costs is shown, and asked, first."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedtune.cli.output import Output, shorten
from embedtune.cli.progress import StageProgress
from embedtune.errors import UserError

if TYPE_CHECKING:
    from embedtune.data import Dataset
    from embedtune.data.written import Estimate, QueryWriter

WriteQueries = Annotated[
    str | None,
    typer.Option(
        "--write-queries",
        metavar="MODEL",
        help="With --unlabelled: have this model, at --api-base, write queries for each text.",
    ),
]
PerDocument = Annotated[
    int, typer.Option("--per-document", metavar="N", min=1, max=20, help="Queries that are written a text.")
]
PriceIn = Annotated[
    float | None,
    typer.Option("--price-in", metavar="AMOUNT", min=0, help="What a million tokens that are sent cost."),
]
PriceOut = Annotated[
    float | None,
    typer.Option("--price-out", metavar="AMOUNT", min=0, help="What a million tokens of answers cost."),
]
ApiTimeout = Annotated[
    float, typer.Option("--api-timeout", metavar="SECONDS", min=0.1, help="The longest wait for an answer.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Send what --write-queries sends without asking.")]

LINES = 20
"""Lines of the first prompt that are shown."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What was asked for."""

    model: str | None
    api_base: str | None
    key_variable: str | None
    per_document: int
    max_cost: float | None
    price_in: float | None
    price_out: float | None
    timeout: float
    yes: bool

    def writer(self) -> QueryWriter:
        """Give what writes, if all that it needs is there.

        Raises
        ------
        UserError
            When it is not.
        """
        from embedtune.data.written import QueryWriter

        if self.api_base is None or self.model is None:
            fix = "give --api-base URL, for example http://localhost:8000/v1"
            raise UserError("--write-queries needs the address of its model", fix=fix)
        if self.max_cost is not None and not (self.price_in or self.price_out):
            fix = "give --price-in and --price-out, for a million tokens"
            raise UserError("--max-cost needs prices", fix=fix)
        name = self.key_variable
        if name is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            fix = "put the key into a variable, and give its name"
            raise UserError("--api-key-env takes the name of a variable, not a key", fix=fix)
        if name is not None and not os.environ.get(name):
            raise UserError(f"the variable {name} is not set", where="--api-key-env", fix="set it to the key")
        return QueryWriter(
            self.api_base,
            self.model,
            count=self.per_document,
            input_price=self.price_in or 0.0,
            output_price=self.price_out or 0.0,
            key_variable=name or "OPENAI_API_KEY",
            timeout=self.timeout,
            max_cost=self.max_cost,
        )


def without_labels(output: Output, data: list[str], asked: Writing) -> Dataset:
    """Make labels for one collection: from its structure, or with queries that a model writes.

    Raises
    ------
    UserError
        When there are several collections, or nothing may be, or can be, sent.
    """
    if len(data) != 1:
        raise UserError(f"--unlabelled takes one collection, not {len(data)}", fix="put them into one file")
    source = Path(data[0])
    if asked.model is None:
        from embedtune.data.pairs import pairs_from_structure

        return pairs_from_structure(source)
    writer = asked.writer()
    estimate = writer.estimate(source)
    _show(output, writer, estimate)
    if writer.max_cost is not None and estimate.cost > writer.max_cost:
        raise UserError(
            f"this could cost {estimate.cost:.4g}, above --max-cost {writer.max_cost:g}; nothing was sent",
            fix="raise it, or give fewer texts",
        )
    if estimate.texts and not asked.yes:
        _confirm(estimate)
    with StageProgress() as progress:
        return writer.dataset(source, progress=progress.stage("write queries"))


def _show(output: Output, writer: QueryWriter, estimate: Estimate) -> None:
    """Show what would be sent, where to, and what it would cost."""
    known = f"; those of {estimate.known:,} more are known from earlier runs" if estimate.known else ""
    output.say(f"queries that {writer.model} writes at {writer.endpoint}: {writer.count} a text")
    output.say(f"  {estimate.texts:,} texts to be sent{known}")
    output.say(f"  about {estimate.input_tokens:,} tokens, and up to {estimate.output_tokens:,} of answers")
    if writer.input_price or writer.output_price:
        output.say(f"  which cost {estimate.cost:.4g} at most, at {writer.input_price:g} and "
                   f"{writer.output_price:g} a million")  # fmt: skip
    else:
        output.say("  what they cost is not known: --price-in and --price-out would say")
    if estimate.texts:
        output.say("  the first of them:")
        lines = estimate.prompt.splitlines()
        for line in lines[:LINES]:
            output.say(f"    {shorten(line, 200)}")
        if len(lines) > LINES:
            output.say(f"    … {len(lines) - LINES:,} lines more")


def _confirm(estimate: Estimate) -> None:
    """Ask whether to send; without a terminal, say that nobody could be asked."""
    if not sys.stdin.isatty():
        what = f"{estimate.texts:,} texts would be sent, and nobody is here to be asked; nothing was sent"
        raise UserError(what, fix="say --yes to send them")
    if not typer.confirm("send them?", err=True):
        raise UserError("nothing was sent, as you said", fix="say yes, or --yes, to send")
