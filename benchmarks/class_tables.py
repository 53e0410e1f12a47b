"""Tables of classification.py: full sets, few items of each class, and SetFit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from results import markdown, number
from verdicts import MEANING, counted, short

from embedtune.judging.compare import randomisation_test

ABOUT = (
    "Accuracy on test. kNN: cosine, 10 neighbours, weighted by distance, on frozen vectors and on those of"
    " the map that was chosen out of fold (the base, where that was chosen); logreg: C = 10, on frozen"
    " vectors; head: what an artifact ships. ECE: its expected calibration error. MAP: mean average"
    " precision among the training items. Sets that end in *unseen* have no class in common between train"
    " and test; test items are then looked for among each other. CPU s: choice, verdict with its learning"
    " curve, and head, on vectors that were there."
)
ABOUT_FEW = (
    "Means over the subsets; p-values of paired randomisation tests over the test items' means. The first"
    " difference is tuned less frozen, the second head less logistic regression on frozen vectors."
    " Verdicts and *agrees*: by subset."
)

Table = tuple[list[str], list[list[str]]]


def report(done: Sequence[dict[str, Any]]) -> str:
    """Put all tables together."""
    parts = [ABOUT, MEANING, markdown(*set_table(done))]
    few = few_table(done)
    if few[1]:
        parts += ["### Few items of each class", ABOUT_FEW, markdown(*few)]
    peers = setfit_table(done)
    if peers[1]:
        parts += ["### SetFit", markdown(*peers)]
    return "\n\n".join(parts)


def set_table(done: Sequence[dict[str, Any]]) -> Table:
    """One row a set, all its training items."""
    header = [
        "set (train, test)", "kNN frozen", "kNN tuned", "logreg frozen", "head", "ECE", "MAP frozen",
        "MAP tuned", "chosen", "gain", "p", "verdict", "agrees", "CPU s",
    ]  # fmt: skip
    rows = []
    for result in done:
        if (m := result.get("full")) is None:
            continue
        base, tuned = m["base"], m["tuned"]
        figures = [
            base["accuracy"], tuned["accuracy"], base.get("logreg_accuracy"), m.get("head"),
            m.get("head_error"), base.get("map"), tuned.get("map"),
        ]  # fmt: skip
        chosen = "base" if m["base_chosen"] else f"{m['method']} × {m['strength']:g}"
        last = [
            f"{m['gain']:+.3f}",
            f"{m['gain_p']:.2g}",
            short(m["decision"]),
            m["agrees"],
            f"{m['seconds']:.0f}",
        ]
        rows.append([f"{result['set']} ({m['n']}, {result['tested']})", *map(number, figures), chosen, *last])
    return header, rows


def few_table(done: Sequence[dict[str, Any]]) -> Table:
    """One row a set and a number of items, means over its subsets."""
    header = [
        "set, items of each class", "kNN frozen", "kNN tuned", "difference, p", "logreg frozen", "head",
        "difference, p", "verdicts", "agrees", "CPU s",
    ]  # fmt: skip
    rows = []
    for result in done:
        for shots in sorted({int(key.split()[1]) for key in result if key.startswith("few ")}):
            parts = [m for key, m in result.items() if key.startswith(f"few {shots} ")]
            rows.append([f"{result['set']}, {shots}", *_few_row(parts)])
    return header, rows


def _few_row(parts: list[dict[str, Any]]) -> list[str]:
    known = {
        name: np.mean([m["knn"][name] for m in parts], axis=0)
        for name in ("frozen", "tuned", "logreg", "head")
        if all(name in m["knn"] for m in parts)
    }
    cells = []
    for before, after in (("frozen", "tuned"), ("logreg", "head")):
        if before not in known or after not in known:
            cells += ["–"] * 3
            continue
        gain = known[after] - known[before]
        p = randomisation_test(gain, samples=5000) if gain.any() else 1.0
        cells += [number(known[before].mean()), number(known[after].mean()), f"{gain.mean():+.3f}, {p:.2g}"]
    verdicts = counted([short(m["decision"]) for m in parts])
    agrees = counted([m["agrees"] for m in parts])
    return [*cells, verdicts, agrees, f"{np.mean([m['seconds'] for m in parts]):.1f}"]


def setfit_table(done: Sequence[dict[str, Any]]) -> Table:
    """SetFit beside the head on the same items."""
    header = [
        "set, items of each class",
        "SetFit",
        "head",
        "kNN tuned",
        "head less SetFit, p",
        "SetFit CPU s",
        "embedtune CPU s",
        "times",
    ]
    rows = []
    for result in done:
        for key in (key for key in result if key.startswith("setfit ")):
            peer, asked = result[key], key.split()[1]
            own = result.get("full" if asked == "full" else f"few {asked} 0")
            if own is None:
                continue
            figures = [number(peer["accuracy"]), number(own.get("head")), number(own["tuned"]["accuracy"])]
            seconds = [f"{peer['seconds']:.0f}", f"{own['seconds']:.0f}"]
            times = f"{peer['seconds'] / max(own['seconds'], 1e-9):.0f}"
            ahead = np.array(own["knn"]["head"]) - np.array(peer["right"])
            p_value = f"{ahead.mean():+.3f}, {randomisation_test(ahead, samples=5000):.2g}"
            drawn = f" ({peer['pairs']} pairs of either kind a text)" if peer["pairs"] else ""
            rows.append([f"{result['set']}, {asked}{drawn}", *figures, p_value, *seconds, times])
    return header, rows
