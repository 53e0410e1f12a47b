"""Histories that say nothing: users with one interaction, items nobody chose, choices made twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedtune.data.checks.amount import FEW, HARDLY_ANY
from embedtune.data.checks.finding import SHOWN, Example, Finding, examples, plural
from embedtune.data.dataset import Dataset, cells

Rows = NDArray[np.int64]


def few_users(dataset: Dataset) -> Iterator[Finding]:
    """Find too few users whose history can be continued."""
    _, counts = _users(dataset)
    count = int(np.count_nonzero(counts > 1))
    if count < FEW:
        yield Finding(
            "few-labels",
            "error" if count < HARDLY_ANY else "warning",
            count,
            f"{plural(count, 'user')} with two interactions or more, "
            f"fewer than {FEW if count >= HARDLY_ANY else HARDLY_ANY}",
            [],
            f"add users: from {FEW} on a clear gain can be told, from a few hundred a small one",
        )


def single_interactions(dataset: Dataset) -> Iterator[Finding]:
    """Find users with one interaction: nothing of theirs can be held out, so they are not judged."""
    users, counts = _users(dataset)
    single = counts[users] == 1
    if single.any():
        rows = np.flatnonzero(single)
        yield Finding(
            "single-interaction-users",
            "warning",
            len(rows),
            f"{plural(len(rows), 'user')} of {len(counts):,} with one interaction: they are never judged",
            _places(dataset, rows),
            "nothing needs to be done, unless ids that belong to one user are written differently",
        )


def items_without_interactions(dataset: Dataset) -> Iterator[Finding]:
    """Find items that nobody chose: their vectors come from content alone."""
    chosen = np.unique(dataset.interactions["item"].to_numpy())
    rows = np.setdiff1d(np.arange(len(dataset.documents)), chosen)
    if len(rows):
        yield Finding(
            "items-without-interactions",
            "info",
            len(rows),
            f"{plural(len(rows), 'item')} of {len(dataset.documents):,} that nobody chose",
            examples(dataset.documents, rows.tolist()),
            "nothing needs to be done: they are recommended by their content",
        )


def repeated_interactions(dataset: Dataset) -> Iterator[Finding]:
    """Find choices that a user made more than once."""
    users, _ = _users(dataset)
    pair = users.astype(np.int64) * max(len(dataset.documents), 1) + dataset.interactions["item"].to_numpy()
    _, first = np.unique(pair, return_index=True)
    rows = np.setdiff1d(np.arange(len(pair)), first)
    if len(rows):
        yield Finding(
            "duplicate-interactions",
            "warning",
            len(rows),
            f"{plural(len(rows), 'interaction')} of a user with an item that the user has already",
            _places(dataset, rows),
            "nothing needs to be done where choices repeat: the latest counts; else remove the copies",
        )


def earlier_tests(dataset: Dataset) -> Iterator[Finding]:
    """Find test interactions that lie before training interactions of the same user."""
    table = dataset.interactions
    if table["time"].null_count or "test" not in dataset.splits:
        return
    users, counts = _users(dataset)
    time, test = table["time"].to_numpy(), np.array(cells(table, "split")) == "test"
    latest = np.full(len(counts), np.iinfo(np.int64).min)
    np.maximum.at(latest, users[~test], time[~test])
    rows = np.flatnonzero(test & (time < latest[users]))
    if len(rows):
        yield Finding(
            "test-before-training",
            "warning",
            len(rows),
            f"{plural(len(rows), 'test interaction')} before a training interaction of the same user: "
            "the past is told from the future",
            _places(dataset, rows),
            "split each user by time, the latest into test",
        )


def _users(dataset: Dataset) -> tuple[NDArray[np.int32], Rows]:
    """Give the number of the user of each interaction, (t,), and interactions of each user."""
    users, names = dataset.users
    return users, np.bincount(users, minlength=len(names))


def _places(dataset: Dataset, rows: Rows) -> list[Example]:
    found = dataset.interactions.take(pa.array(rows[:SHOWN], pa.int64())).to_pylist()
    ids = dataset.document_ids
    return [Example(f"user {r['user']!r}, item {ids[r['item']]!r}", r["file"], r["line"]) for r in found]
