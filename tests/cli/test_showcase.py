"""Which searches the demo shows: worked by hand on four axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedtune.artifact.tuned import Tuned
from embedtune.cli.showcase import showcase
from embedtune.data import read
from embedtune.transforms import Linear

# The documents lie on the four axes. Each query has its right document at the place given below; tuning
# swaps the first two coordinates of queries.
DOCUMENTS = {"Pyrexia": 0, "Cephalgia": 1, "Pruritus": 2, "Rhinitis": 3}
QUERIES = {
    "fever": ("Pyrexia", [0.5, 0.8, 0.3, 0.1]),  # place 2, then 1
    "burning up": ("Pyrexia", [0.1, 0.8, 0.5, 0.3]),  # place 4, then 1
    "a very high body temperature": ("Pyrexia", [0.1, 0.8, 0.5, 0.3]),  # the same, but of five words
    "pyrexia hot": ("Pyrexia", [0.1, 0.8, 0.5, 0.3]),  # place 4, then 1, but shares a word with the answer
    "headache": ("Cephalgia", [0.1, 0.8, 0.5, 0.3]),  # place 1, then 4
    "itch": ("Pruritus", [0.1, 0.3, 0.8, 0.5]),  # place 1, and stays there
}


class Axes:
    """An encoder that looks its texts up in the tables above."""

    name, dimension, similarity, content, max_tokens, fingerprint = "axes", 4, "cosine", "text", None, "axes"

    def encode(self, items: Sequence[str], *, kind: str = "document") -> np.ndarray:
        axes = np.eye(4, dtype=np.float32)
        rows = [QUERIES[item][1] if kind == "query" else axes[DOCUMENTS[item]] for item in items]
        vectors = np.array(rows, np.float32).reshape(len(items), 4)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def data(queries: Sequence[str]):
    rows = [{"query": query, "positive": QUERIES[query][0], "split": "test"} for query in queries]
    spare = [{"query": f"spare {name}", "positive": name, "split": "train"} for name in DOCUMENTS]
    return read([*spare, *rows])


def test_the_deepest_that_reach_the_top_come_first_and_the_worst_comes_last():
    swap = np.eye(4, dtype=np.float32)[[1, 0, 2, 3]]
    shown = showcase(Tuned(Axes(), Linear(query=swap)), data(list(QUERIES)))
    assert [search.query for search in shown.searches] == ["burning up", "fever", "headache"]
    places = [(search.before.place, search.after.place) for search in shown.searches]
    assert places == [(4, 1), (2, 1), (1, 4)]
    assert (shown.better, shown.same, shown.worse) == (4, 1, 1)
    assert shown.rule.endswith("and the one that fell most")
    first = shown.searches[0]
    assert first.answer == "Pyrexia"
    assert first.before.texts == ["Cephalgia", "Pruritus", "Rhinitis"]
    assert first.before.right == [False, False, False]
    assert first.after.texts[0] == "Pyrexia"
    assert first.after.right == [True, False, False]


def test_without_a_loser_the_rule_names_none():
    swap = np.eye(4, dtype=np.float32)[[1, 0, 2, 3]]
    shown = showcase(Tuned(Axes(), Linear(query=swap)), data(["fever", "itch"]))
    assert [search.query for search in shown.searches] == ["fever"]
    assert "fell" not in shown.rule


def test_where_nothing_was_tuned_the_first_queries_are_shown():
    shown = showcase(Tuned(Axes()), data(["itch", "fever"]))
    assert [search.query for search in shown.searches] == ["itch", "fever"]
    assert (shown.better, shown.same, shown.worse) == (0, 2, 0)
    assert shown.rule == "the first five held-out queries"
