"""Find tickets that report the same fault: tune on labelled pairs, look at the threshold, group the tickets.

``python examples/find_duplicates.py [FOLDER]``
"""

from __future__ import annotations

import csv
import sys
from itertools import combinations
from pathlib import Path

from embedtune import fine_tune, load
from embedtune.encoders import load_encoder
from embedtune.search import top_k
from embedtune.search.duplicates import find_duplicates

DATA = Path(__file__).parent / "data/tickets.csv"
HARD = 5
"""Nearest neighbours of each ticket that are labelled: pairs that are hard to tell."""


def main(folder: str = "tuned-duplicates") -> None:
    """Label pairs, tune, save, and look for duplicates among all tickets."""
    with DATA.open(encoding="utf-8", newline="") as file:
        tickets = list(csv.DictReader(file))
    tuned = fine_tune(base_model="all-MiniLM-L6-v2", data=labelled_pairs(tickets), precision=0.9)
    print(tuned.verdict.text())
    tuned.save(folder)

    tuned = load(folder)  # the threshold comes along
    assert tuned.threshold is not None
    print(tuned.threshold.text())
    same, similarity = tuned.same(["the lift is stuck"] * 2, ["elevator does not move", "the tap drips"])
    print(f"the lift is stuck: {same.tolist()}, similarity {similarity.round(2).tolist()}")

    vectors = tuned.encode_documents([ticket["text"] for ticket in tickets])
    groups = find_duplicates(vectors, tuned.threshold.threshold).groups()
    faults = [{tickets[row]["fault"] for row in group} for group in groups]
    print(f"{len(groups)} groups of tickets, {sum(len(one) == 1 for one in faults)} of them about one fault:")
    for group in groups[:3]:
        print("  " + " | ".join(tickets[row]["text"] for row in group))


def labelled_pairs(tickets: list[dict[str, str]]) -> list[dict[str, object]]:
    """Give pairs of tickets, 1 for the same fault and 0 for another. In life people label them."""
    vectors = load_encoder("all-MiniLM-L6-v2").encode([ticket["text"] for ticket in tickets])
    near, _ = top_k(vectors, vectors, HARD + 1)
    pairs = {(min(a, b), max(a, b)) for a, row in enumerate(near.tolist()) for b in row if a != b}
    pairs |= {(a, b) for a, b in combinations(range(len(tickets)), 2) if _same(tickets, a, b)}
    return [
        {
            "sentence1": tickets[a]["text"],
            "sentence2": tickets[b]["text"],
            "score": int(_same(tickets, a, b)),
        }
        for a, b in sorted(pairs)
    ]


def _same(tickets: list[dict[str, str]], a: int, b: int) -> bool:
    return tickets[a]["fault"] == tickets[b]["fault"]


if __name__ == "__main__":
    main(*sys.argv[1:])
