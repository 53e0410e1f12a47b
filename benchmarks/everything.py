"""Every set of ``../shared/data`` with all peers that fit it, one table a task, in one command.

    python benchmarks/everything.py --quick              # without the peers that take hours
    python benchmarks/everything.py --sets trec6 scifact --peers NUDGE-N

A (set, peer) that is done is kept in ``benchmarks/out/``, and is taken from there when the command runs
again: it may be stopped at any time. ``--fresh`` starts anew. Every task is measured by its own script
(compare.py, classification.py, similarity.py, recommendation.py), whose section of RESULTS.md is written
after each set. embedtune and the frozen base are always there.
"""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import class_tables
import classification
import compare
import peers
import peers_recommendation
import recommendation
import similarity
from results import write_section
from sets import BASE, CLASS_SETS, DATA, HISTORY_SETS, IMAGE_BASE, IMAGE_SETS, SCORED_SETS, SETS

SLOW = ("sentence-transformers", "SetFit")
"""Peers that train the base model itself: from minutes to hours a set on a CPU."""

SHOTS = [8]
"""Items of each class in the few-shot part, for all and for SetFit, unless others are asked for."""

PEERS: dict[str, tuple[str, ...]] = {
    "retrieval": (*peers.PEERS, *peers.TEXT_PEERS),
    "classification": ("SetFit",),  # neighbours and regression on frozen vectors are in every row
    "similarity": (*similarity.PEERS, *similarity.TEXT_PEERS),
    "recommendation": tuple(peers_recommendation.PEERS),
}
"""Task -> the peers that fit it."""

TASKS: dict[str, tuple[str, ...]] = {
    "retrieval": SETS,
    "classification": (*CLASS_SETS, *IMAGE_SETS),
    "similarity": SCORED_SETS,
    "recommendation": HISTORY_SETS,
}
"""Task -> its sets."""

Measure = Callable[[str, Namespace], dict[str, Any]]
Report = Callable[[Sequence[dict[str, Any]], Namespace], str]


def main() -> None:
    """Run what is asked for, task by task; a section of RESULTS.md is written after every set."""
    options = _options()
    for task, names in TASKS.items():
        asked = [name for name in names if not options.sets or name in options.sets]
        own = _for_task(task, options)
        measure, report, section, title = STEPS[task]
        done: list[dict[str, Any]] = []
        for name in asked:
            print(f"{task}: {name}, with {', '.join(own.peers) or 'no peer'}", flush=True)
            done.append(measure(name, own))
            write_section(section, title, report(done, own))


def _options() -> Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = [name for names in TASKS.values() for name in names]
    known = list(dict.fromkeys(peer for fitting in PEERS.values() for peer in fitting))
    parser.add_argument("--sets", nargs="*", choices=every, metavar="SET", help="all of them by default")
    parser.add_argument("--peers", nargs="*", choices=known, metavar="PEER", help="all that fit by default")
    parser.add_argument("--quick", action="store_true", help=f"leave out {' and '.join(SLOW)}")
    parser.add_argument(
        "--few", nargs="*", type=int, default=[], metavar="N", help="also N items of each class"
    )
    parser.add_argument("--fresh", action="store_true", help="measure anew what is done already")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _for_task(task: str, options: Namespace) -> Namespace:
    """Give the options that the task's script takes."""
    fitting = [
        peer
        for peer in PEERS[task]
        if (options.peers is None or peer in options.peers) and not (options.quick and peer in SLOW)
    ]
    own: dict[str, Any] = {
        "peers": fitting,
        "data": options.data,
        "seed": options.seed,
        "reuse": not options.fresh,
        "base": BASE,
    }
    if task == "retrieval":
        own |= {"budget": None, "with_test": False}
    elif task == "classification":
        setfit = [*map(str, options.few)] if "SetFit" in fitting else []
        own |= {
            "image_base": IMAGE_BASE,
            "few": options.few,
            "subsets": 3,
            "only_few": False,
            "setfit": setfit,
            "setfit_pairs": 20,
        }
    elif task == "recommendation":
        own |= {"vectors": None}
    return Namespace(**own)


STEPS: dict[str, tuple[Measure, Report, str, str]] = {
    "retrieval": (compare.compare, lambda done, _: compare.report(list(done)), "compare", compare.TITLE),
    "classification": (
        classification.run,
        lambda done, _: class_tables.report(done),
        "classification",
        classification.TITLE,
    ),
    "similarity": (
        lambda name, options: similarity.compare(name, None, options),
        lambda done, options: similarity.report(list(done), options.base),
        "similarity",
        similarity.TITLE,
    ),
    "recommendation": (
        recommendation.compare,
        lambda done, _: recommendation.report(done),
        "recommendation",
        recommendation.TITLE,
    ),
}
"""Task -> what measures a set, what makes the tables, the section of RESULTS.md and its title."""


if __name__ == "__main__":
    main()
