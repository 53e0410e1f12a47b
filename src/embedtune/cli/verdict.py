"""The verdict on the terminal, with the queries that won and lost most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedtune.cli.output import Output, shorten

SHOWN = 5
"""Winners, and losers, that are shown; the JSON has them all."""


def show_verdict(output: Output, verdict: Mapping[str, Any]) -> None:
    """Show the text of a verdict, as ``Verdict.to_dict`` gives it, then a few winners and losers."""
    output.say()
    output.say(verdict["text"])
    show_examples(output, "queries that won most", verdict["winners"])
    show_examples(output, "queries that lost most", verdict["losers"])


def show_examples(output: Output, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Show queries with their scores before and after; nothing where there are none."""
    if not rows:
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(title, "base", "tuned", box=None)
    for row in rows[:SHOWN]:
        table.add_row(escape(shorten(str(row["query"]), 80)), f"{row['base']:.2f}", f"{row['tuned']:.2f}")
    output.say()
    output.show(table)
