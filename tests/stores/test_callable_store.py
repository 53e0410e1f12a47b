"""Two functions as a store."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune import stores
from embedtune.errors import StoreError
from embedtune.stores import CallableStore


@pytest.fixture
def rows(vectors):
    return {str(i): row for i, row in enumerate(vectors)}


def scanner(rows):
    def scan():
        names = list(rows)
        for first in range(0, len(names), 100):
            part = names[first : first + 100]
            yield part, np.stack([rows[name] for name in part])

    return scan


def test_two_functions_are_enough(rows, tuned, mapped):
    made = {}
    store = CallableStore(scan=scanner(rows), write=lambda ids, x: made.update(zip(ids, x, strict=True)))
    result = stores.apply(tuned, store)
    assert (result.status, result.written) == ("switched", 600)
    assert result.verified.checksum == ""
    assert "600 rows are there" in result.text()
    wanted = mapped(rows)
    assert {k: v.tobytes() for k, v in made.items()} == {k: v.tobytes() for k, v in wanted.items()}


def test_more_functions_let_it_be_verified_and_caught_up(rows, tuned, mapped):
    made, order = {}, []

    def write(ids, x):
        made.update(zip(ids, x, strict=True))
        if len(made) == 600 and "9999" not in rows:
            rows["9999"] = -rows["5"]
            del rows["5"]

    def search(queries, k):
        names = list(made)
        best = np.argsort(-(queries @ np.stack(list(made.values())).T), axis=1)[:, :k]
        return [[names[i] for i in row] for row in best]

    def read(ids):
        there = [name for name in ids if name in made]
        return there, np.stack([made[name] for name in there])

    store = CallableStore(
        scan=scanner(rows),
        write=write,
        read=read,
        search=search,
        delete=lambda ids: [made.pop(name) for name in ids],
        switch=lambda: order.append(len(made)),
    )
    result = stores.apply(tuned, store)
    wanted = mapped(rows)
    assert {k: v.tobytes() for k, v in made.items()} == {k: v.tobytes() for k, v in wanted.items()}
    assert order == [600]
    assert result.verified.recall == 1
    assert len(result.verified.checksum) == 64
    with pytest.raises(StoreError, match="no version to go back to"):
        stores.rollback(store)


def test_what_is_written_wrong_is_noticed(rows, tuned):
    made = {}
    store = CallableStore(
        scan=scanner(rows),
        write=lambda ids, x: made.update(zip(ids, x + 1e-6, strict=True)),
        read=lambda ids: (ids, np.stack([made[name] for name in ids])),
    )
    with pytest.raises(StoreError, match="600 of 600 sampled rows are not what the map gives"):
        stores.apply(tuned, store)


def test_a_scan_of_nothing_is_refused():
    with pytest.raises(StoreError, match="scan gives no vectors"):
        CallableStore(scan=list, write=lambda ids, x: None)
