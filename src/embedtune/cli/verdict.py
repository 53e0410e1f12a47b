"""The verdict on the terminal: its text, slices, weak spots, and the rows that won and lost most."""

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
    show_parts(output, verdict)
    rows = rows_of(verdict["task"])
    show_examples(output, f"{rows} that won most", verdict["winners"])
    show_examples(output, f"{rows} that lost most", verdict["losers"])


def rows_of(task: str) -> str:
    """Give what is judged in a task, for people."""
    from embedtune.judging.verdict import ROWS

    return ROWS.get(task, "rows")


def show_parts(output: Output, result: Mapping[str, Any]) -> None:
    """Show the slices as a table, and each weak spot by its examples."""
    rows = rows_of(result["task"])
    show_slices(output, rows, result.get("slices") or ())
    for spot in result.get("weak_spots") or ():
        words = f" ({', '.join(spot['words'])})" if spot["words"] else ""
        show_examples(output, f"a weak spot of {spot['n']} {rows}{words}", spot["examples"])


def show_slices(output: Output, rows: str, slices: Sequence[Mapping[str, Any]]) -> None:
    """Show every slice with its gain, interval and adjusted p-value, a line a metric; nothing for none."""
    if not slices:
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("slice", rows, "metric", "base", "tuned", "gain, 95 % interval", "p, adjusted", box=None)
    for one in slices:
        name, count = escape(shorten(f"{one['column']} = {one['value']}", 40)), f"{one['n']:,}"
        for metric, told in (one.get("metrics") or {"": one}).items():
            gain, p_value = f"{told['gain']:+.3f}", "too few to test"
            if told["ci95"]:
                gain += ", {:+.3f} to {:+.3f}".format(*told["ci95"])
                p_value = f"{told['p_holm']:.2g}{' loses' if told['harmed'] else ''}"
            table.add_row(name, count, metric, f"{told['base']:.3f}", f"{told['tuned']:.3f}", gain, p_value)
            name = count = ""
    output.say()
    output.show(table)


def show_examples(output: Output, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Show rows with their scores before and after; nothing where there are none."""
    if not rows:
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(title, "base", "tuned", box=None)
    for row in rows[:SHOWN]:
        table.add_row(escape(shorten(str(row["query"]), 80)), f"{row['base']:.2f}", f"{row['tuned']:.2f}")
    output.say()
    output.show(table)
