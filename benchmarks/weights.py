"""Tuned weights: what a step costs, what weights bring, what is refused, and the time others take.

Parts, each kept in ``out/`` as it ends, so that a run that was stopped goes on; the section of RESULTS.md is
written from all that is kept.

- ``steps``: a step of ``layers`` beside one of ``full``; the bar is .4 with two of six layers trained;
- ``quality``: weights by force on ``--sets``, adapters on top, test with seen and unseen documents;
- ``forced``: the same on small sets, good for weights or not: is a worse map shipped?
- ``climb``: ``auto`` with ``--budget``, from adapters to the top layers and on to all weights;
- ``budget``: whole runs of the command with ``--budget``, and the seconds they take;
- ``time``: sentence-transformers beside embedtune, to the same score; see weights_time.py.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from results import write_section
from sets import BASE, DATA
from verdicts import MEANING
from weights_budget import budgets, budgets_table
from weights_runs import climbs_table, run, runs_table
from weights_steps import steps, steps_table
from weights_time import compare, time_table

QUALITY, TIMED = ("demo", "nl2bash"), ("demo", "scifact", "nl2bash")
SMALL = ("hint3", "trec6", "abt-buy", "amazon-google", "cisi", "cranfield", "sick", "rqe-clinical")
CLIMBED = ("trec6", "sst2", "hint3", "stsb", "sick")
STATIC = "wordllama-256"
NOTE = (
    "Choice on held-out rows; test is scored once, (seen, unseen) where it has both. CPU s: all of fine_tune,"
    " one thread, the base's vectors cached. Rows of demo, hint3 and nl2bash are of runs whose verdict had"
    " the test split too; demo's was scored for two layers, then for three."
)
FORCED_NOTE = (
    "Whatever came of the weights is judged on test, refused or not; its labels play no part in the verdict. "
    + MEANING
)
CLIMB_NOTE = (
    "The best of each rung on the held-out rows, adapters on top; – where it was not reached, or not better."
    " The verdict is given without test labels, and test is scored once. With 20 minutes for each set."
)
BUDGET_NOTE = (
    "Wall seconds of a whole `embedtune tune`, from start to the saved folder, test split included, on a"
    " machine with other work: CPU s says how much of it the run had."
)
TIME_NOTE = (
    "CPU seconds of one thread, both from texts alone. ~ is extrapolated from the steps that were run, and"
    " has no score."
)


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ["steps", "quality", "forced", "climb", "budget", "time", []]
    parser.add_argument("parts", nargs="*", choices=parts, default=[])
    parser.add_argument("--data", type=Path, default=DATA, help="where the sets are")
    parser.add_argument("--sets", nargs="+", help="instead of the part's own")
    parser.add_argument(
        "--methods", nargs="*", default=["layers"], help="method, or layers:3 for three; none: table alone"
    )
    parser.add_argument("--budget", help="time for each run, such as 20m")
    parser.add_argument("--again", action="store_true", help="do not reuse what an earlier run has kept")
    parser.add_argument("--set", default="abt-buy", help="steps: the set whose batches are timed")
    parser.add_argument("--rows", type=int, default=16, help="steps: queries a step")
    parser.add_argument("--repeats", type=int, default=5, help="steps: times each step is taken")
    parser.add_argument("--engine", default="auto", help="time: what embedtune encodes with")
    parser.add_argument(
        "--stop-after", type=int, help="time: steps of sentence-transformers, all unless given"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("embedtune.weights").setLevel(logging.INFO)
    if "steps" in options.parts:
        steps(options)
    for name in (options.sets or QUALITY) if "quality" in options.parts else ():
        for method in options.methods:
            print(name, method, run("weights", name, method, options)["reasons"], flush=True)
    for name in (options.sets or SMALL) if "forced" in options.parts else ():
        for method, base in [("table", STATIC), *((one, BASE) for one in options.methods)]:
            found = run("weights-forced", name, method, options, base)
            print(name, method, found["decision"], found["gain"], flush=True)
    for name in (options.sets or CLIMBED) if "climb" in options.parts else ():
        print(name, run("weights-climb", name, "auto", options)["reasons"], flush=True)
    if "budget" in options.parts:
        budgets(options)
    for name in (options.sets or TIMED) if "time" in options.parts else ():
        compare(name, options)
    write()


def write() -> None:
    """Write the section from what is kept."""
    tables = [
        ("", steps_table()),
        (f"### What weights bring\n\n{NOTE}\n\n", runs_table("weights")),
        (f"### Weights by force\n\n{FORCED_NOTE}\n\n", runs_table("weights-forced")),
        (f"### How far auto climbs\n\n{CLIMB_NOTE}\n\n", climbs_table()),
        (f"### Time budgets\n\n{BUDGET_NOTE}\n\n", budgets_table()),
        (f"### Time to a better result than sentence-transformers'\n\n{TIME_NOTE}\n\n", time_table()),
    ]
    body = "\n\n".join(f"{head}{table}" for head, table in tables if table)
    print(body)
    write_section("weights", "Tuned weights", body)


if __name__ == "__main__":
    main()
