"""Write the generated parts of the documentation anew: tables, the command line, the demo and its picture.

After a change of the registries, the options or the thresholds::

    python docs/refresh.py

After a change of the demo's figures (its run takes minutes)::

    COLUMNS=100 embedtune demo --fresh --out /tmp/embedtune-demo --json docs/demo/run.json > docs/demo/run.txt
    python docs/refresh.py

tests/docs fails where this has been forgotten.
"""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
RUN, TEXT = DOCS / "demo/run.json", DOCS / "demo/run.txt"


def main() -> None:
    """Write every generated part."""
    tidy_demo()
    for path, content in generated().items():
        path.write_text(content, "utf-8")
    runpy.run_path(str(DOCS / "images/make_picture.py"), run_name="__main__")


def generated() -> dict[Path, str]:
    """Give every file with generated parts, as it should be."""
    parts = {
        "tuners": tuner_table(),
        "encoders": encoder_table(),
        "dependencies": dependency_table(),
        "thresholds": threshold_table(),
        "demo": demo_block(),
        "demo-numbers": demo_numbers(),
        "hpo": hpo_attribution(),
    }
    pages = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    found = {page: fill(page.read_text("utf-8"), parts) for page in pages}
    return found | {DOCS / "reference/cli.md": cli_page()}


def fill(page: str, parts: Mapping[str, str]) -> str:
    """Put each part between its markers, ``<!-- name -->`` and ``<!-- /name -->``."""
    for name, part in parts.items():
        page = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda m, p=part: f"{m[1]}{p}\n{m[2]}",
            page,
            flags=re.S,
        )
    return page


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Give a Markdown table."""
    lines = [list(header), *[list(row) for row in rows]]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def tuner_table() -> str:
    """Give the methods, from the registry and the tuners' own tasks."""
    from embedtune.tuners import TUNERS

    rows = [
        (f"`{name}`", TUNERS[name].summary, ", ".join(TUNERS.load(name).tasks))
        for name in TUNERS
        if TUNERS[name].path.startswith("embedtune.")
    ]
    return table(("method", "what it does", "tasks"), rows)


def encoder_table() -> str:
    """Give the kinds of base models, from the registry."""
    from embedtune.encoders.table import ENCODERS

    rows = [
        (f"`{name}`", entry.summary, f"`[{entry.extra}]`" if entry.extra else "core")
        for name, entry in ENCODERS.items()
        if entry.path.startswith("embedtune.")
    ]
    return table(("kind", "what it is", "comes with"), rows)


def dependency_table() -> str:
    """Give the packages of the core and their reasons, from the comments in pyproject.toml."""
    source = (ROOT / "pyproject.toml").read_text("utf-8")
    needed = tomllib.loads(source)["project"]["dependencies"]
    reasons = {line: re.search(rf'"{re.escape(line)}",\s*# (.*)', source) for line in needed}
    rows = [(f"`{line}`", reason[1] if reason else "") for line, reason in reasons.items()]
    return table(("package", "what for"), rows)


def threshold_table() -> str:
    """Give the numbers that choosing and judging use, from the modules that use them."""
    from embedtune.collect import titles, unread
    from embedtune.data import splits
    from embedtune.judging import classified, estimate, labelled, slices, verdict, weak_spots
    from embedtune.tuners import auto, ladder_retrieval

    rows = [
        (verdict, "FEWEST", "labelled queries below which nothing is fitted"),
        (verdict, "WORTH", "a gain smaller than this is not worth a change"),
        (verdict, "GOOD", "a base that is surely above this score is good already"),
        (verdict, "BY_CHANCE", "share of labels that look drawn by chance, from which on it is told"),
        (estimate, "TOLERATED", "the same, up to which labels are taken as they are"),
        (auto, "HARM", "p-value of a loss in a stratum, below which a candidate goes"),
        (slices, "LEAST", "rows of a slice, below which it is not tested"),
        (slices, "HARM", "the same p-value for a slice, adjusted for all slices"),
        (weak_spots, "LOSS", "mean loss of a cluster, below which it is no weak spot"),
        (auto, "STRENGTHS", "how far a map is followed, from 0 (the base)"),
        (ladder_retrieval, "DELTA_STRENGTHS", "the same for shifts of documents"),
        (titles, "MOST_LABELS", "labelled queries up to which titles are tried"),
        (titles, "MOST", "titles, at most"),
        (titles, "FEWEST_TITLES", "titles, at least"),
        (unread, "LEAST_LONG", "share of documents longer than the base reads, from which they are read on"),
        (unread, "MOST_LONG", "such documents, at most"),
        (splits, "REPEATED", "share of queries on seen documents from which shifts are tried"),
        (splits, "MANY", "queries from which tenths are held out, not fifths"),
        (splits, "ENOUGH", "queries judged out of fold, about, where there are many"),
        (labelled, "FEW", "queries of a dev split, below which it does not judge"),
        (labelled, "POOL", "documents that candidates are chosen on, at most"),
        (classified, "MANY", "labelled items from which tenths are held out, not fifths"),
        (classified, "ENOUGH", "items judged out of fold, about, where there are many"),
    ]
    return table(
        ("number", "value", "what it is"),
        [
            (f"`{module.__name__.removeprefix('embedtune.')}.{name}`", _value(getattr(module, name)), what)
            for module, name, what in rows
        ],
    )


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value:,}"


def tidy_demo() -> None:
    """Take out of a fresh run what belongs to one machine: folders and times."""
    run = json.loads(RUN.read_text("utf-8"))
    for key in ("out", "seconds"):
        run.pop(key, None)
    RUN.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n", "utf-8")
    TEXT.write_text("\n".join(line.rstrip() for line in demo_lines()) + "\n", "utf-8")


def demo_lines() -> list[str]:
    """Give what the demo shows, from its verdict to the end of its searches."""
    lines = TEXT.read_text("utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("verdict:"))
    last = max(i for i, line in enumerate(lines) if line.startswith("└"))
    return lines[first : last + 1]


def demo_block() -> str:
    """Give the demo's output as a block."""
    return "```text\n" + "\n".join(line.rstrip() for line in demo_lines()) + "\n```"


def demo_numbers() -> str:
    """Give the demo's figures in a sentence."""
    run = json.loads(RUN.read_text("utf-8"))
    base, tuned, (low, high) = run["base"], run["tuned"], run["ci95"]
    return (
        f"On {tuned['n']:,} held-out queries, {run['metric']} goes from {base['overall']:.3f} to "
        f"{tuned['overall']:.3f} (95 % interval of the gain: {low:+.3f} to {high:+.3f}). Where the right "
        f"term had other training queries it goes from {base['seen']:.3f} to {tuned['seen']:.3f}, and where "
        f"it had none from {base['unseen']:.3f} to {tuned['unseen']:.3f}."
    )


def hpo_attribution() -> str:
    """Give the acknowledgement of the demo's data, as the demo prints it."""
    from embedtune.data import demo

    return demo.attribution()


def cli_page() -> str:
    """Give the reference of the command line, from its own help."""
    from typer.testing import CliRunner

    from embedtune.cli.app import COMMANDS, app

    def help_of(*command: str) -> str:
        shown = CliRunner().invoke(app, [*command, "--help"], prog_name="embedtune", terminal_width=100)
        return "```text\n" + "\n".join(line.rstrip() for line in shown.output.strip().splitlines()) + "\n```"

    parts = [
        "# Command line",
        "What `--help` says, command by command; `docs/refresh.py` writes this page.",
        help_of(),
    ]
    for command, _ in COMMANDS:
        parts += [f"## {command.__name__}", help_of(command.__name__)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
