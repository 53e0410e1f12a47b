"""Five held-out searches of the demo, before and after tuning, and the rule that they were chosen by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from embedtune.artifact.tuned import Tuned
    from embedtune.data import Dataset
    from embedtune.types import Vectors

BEST, SHOWN, HITS = 4, 5, 3
"""Searches that won most, searches in all, documents shown of each."""

SHORT = 3
"""Words of a query that is taken for a winner."""

_WORD = re.compile(r"\w{4,}")


@dataclass(frozen=True)
class Side:
    """What one model finds for a query."""

    place: int
    """Place of the first right document, from 1."""
    texts: list[str]
    """The first documents, best first."""
    right: list[bool]
    """Which of them are right."""


@dataclass(frozen=True)
class Search:
    """One query, as the base and as the tuned model answer it."""

    query: str
    answer: str
    """A right document."""
    before: Side
    after: Side


@dataclass(frozen=True)
class Showcase:
    """The searches, the rule they were chosen by, and how all held-out queries fared."""

    rule: str
    better: int
    same: int
    worse: int
    searches: list[Search]


def showcase(tuned: Tuned, dataset: Dataset, *, split: str = "test") -> Showcase:
    """Answer the queries of ``split`` with the base and the tuned model; choose five by a fixed rule.

    The first four are those that tuning lifts to the first place from the deepest place, among queries of
    at most three plain words that share none of four letters or more with the right documents; the last is
    the one that fell most.
    """
    rows = dataset.query_rows([split])
    relevance = dataset.relevance([split])[rows]
    queries = tuned.encoder.encode([dataset.query_texts[row] for row in rows], kind="query")
    documents = tuned.encoder.encode(dataset.document_texts, kind="document")
    sides = (
        (queries, documents),
        (tuned.transform.queries(queries), tuned.transform.documents(documents, dataset.document_ids)),
    )
    before, after = (_first_places(*side, relevance) for side in sides)
    texts = dataset.document_texts
    right = [relevance.indices[relevance.indptr[i] : relevance.indptr[i + 1]] for i in range(len(rows))]
    plain = np.array(
        [
            _is_plain(dataset.query_texts[row], [texts[document] for document in found])
            for row, found in zip(rows, right, strict=True)
        ]
    )
    chosen, rule = _choose(before, after, plain)
    found = [_top(*side, chosen) for side in sides]
    searches = [
        Search(
            dataset.query_texts[rows[query]],
            texts[right[query][0]],
            *(
                Side(
                    int(places[query]),
                    [texts[document] for document in hits[number]],
                    np.isin(hits[number], right[query]).tolist(),
                )
                for places, hits in zip((before, after), found, strict=True)
            ),
        )
        for number, query in enumerate(chosen)
    ]
    counts = (int(np.sum(after < before)), int(np.sum(after == before)), int(np.sum(after > before)))
    return Showcase(rule, *counts, searches)


def _first_places(queries: Vectors, documents: Vectors, relevance: csr_matrix) -> NDArray[np.int32]:
    """Give the place of each query's first right document."""
    from embedtune.search import positive_ranks

    ranks = positive_ranks(queries, documents, relevance)
    first: NDArray[np.int32] = np.minimum.reduceat(ranks, relevance.indptr[:-1])
    return first


def _top(queries: Vectors, documents: Vectors, chosen: Sequence[int]) -> NDArray[np.int64]:
    from embedtune.search import top_k

    return top_k(queries[list(chosen)], documents, HITS)[0]


def _choose(
    before: NDArray[np.int32], after: NDArray[np.int32], plain: NDArray[np.bool_]
) -> tuple[list[int], str]:
    """Give the five queries to show, and say how they were chosen."""
    change = 1 / after - 1 / before
    if not change.any():
        return list(range(min(SHOWN, len(before)))), "the first five held-out queries"
    lifted = np.lexsort((-before, after))
    lifted = lifted[(plain & (change > 0))[lifted]]
    fallen = np.argsort(change, kind="stable")
    fallen = fallen[change[fallen] < 0]
    chosen = lifted[: BEST if len(fallen) else SHOWN].tolist() + fallen[:1].tolist()
    rule = f"those of up to {SHORT} plain words, none in the answer, that were lifted from deepest to the top"
    return chosen, f"{rule}, and the one that fell most" if len(fallen) else rule


def _is_plain(query: str, answers: Sequence[str]) -> bool:
    """Say whether a query is a few plain words, and shares none with its answers."""
    words = query.split()
    return len(words) <= SHORT and all(map(str.isalpha, words)) and _words(words).isdisjoint(_words(answers))


def _words(texts: Sequence[str]) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text.lower())}
