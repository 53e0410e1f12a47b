"""Histories of several sources: items and users by id, what disagrees, later interactions as the test."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune import fine_tune
from embedtune.collect.recommendation import interactions
from embedtune.data import read
from embedtune.data.join import join_test
from embedtune.data.mixture import mix
from embedtune.errors import DataError

FIRST = [
    {"user": "u", "item": "a", "title": "Alpha", "timestamp": 1},
    {"user": "u", "item": "b", "title": "", "timestamp": 3},
    {"user": "v", "item": "a", "title": "Alpha", "timestamp": 2},
]
SECOND = [
    {"user": "w", "item": "c", "title": "Gamma", "timestamp": 1},
    {"user": "u", "item": "b", "title": "Beta", "timestamp": 2},
    {"user": "u", "item": "a", "title": "Alpha", "timestamp": 9},
]


def test_items_and_users_with_one_id_are_one() -> None:
    both = read([(FIRST, 1.0), (SECOND, 1.0)])
    assert both.document_ids == ["a", "b", "c"]
    assert both.document_texts == ["Alpha", "Beta", "Gamma"]  # where one had none, the other's
    found = interactions(both, np.eye(3, dtype=np.float32), ["train"])
    assert found.users == 3
    # u chose a (again at 9), and b (at 2 and at 3): of a choice made twice the latest counts
    assert list(zip(found.user.tolist(), found.item.tolist(), strict=True)) == [
        (0, 1),
        (0, 0),
        (1, 0),
        (2, 2),
    ]
    assert both.interactions["line"].to_pylist() == [1, 2, 3, 1, 2, 3]


def test_the_order_of_sources_plays_no_part_for_what_is_learned() -> None:
    one, other = (
        interactions(read(sources), np.eye(3, dtype=np.float32), ["train"])
        for sources in ([(FIRST, 1.0), (SECOND, 1.0)], [(SECOND, 1.0), (FIRST, 1.0)])
    )
    names = [[data.item_ids[row] for row in data.item] for data in (one, other)]
    assert names[0] == names[1]
    assert one.user.tolist() == other.user.tolist()


def test_an_id_that_is_two_items_is_refused_with_its_row() -> None:
    other = [*SECOND, {"user": "w", "item": "d", "title": "Delta", "timestamp": 1}]
    changed = [*other[:-1], {"user": "w", "item": "c2", "title": "x", "timestamp": 1}]
    assert len(read([(FIRST, 1.0), (changed, 1.0)]).documents) == 4
    with pytest.raises(DataError, match="item 'a' is 'Another' here, and 'Alpha' in an earlier") as caught:
        read(
            [
                (FIRST, 1.0),
                ([*other, {"user": "w", "item": "a", "title": "Another", "timestamp": 3}][3:], 1.0),
            ]
        )
    assert caught.value.where == "data:2"


def test_weights_that_differ_and_timestamps_of_one_alone_are_refused() -> None:
    with pytest.raises(DataError, match="interactions all count alike"):
        read([(FIRST, 1.0), (SECOND, 0.5)])
    untimed = [{key: row[key] for key in ("user", "item", "title")} for row in SECOND]
    with pytest.raises(DataError, match="no timestamps, and those of data have"):
        mix([(read(FIRST), 1.0), (read(untimed, task="recommendation"), 1.0)])


def test_later_interactions_are_the_test_split_one_a_user_too() -> None:
    later = [{"user": "u", "item": "c", "timestamp": 20}, {"user": "stranger", "item": "a", "timestamp": 20}]
    joined = join_test(read(FIRST), read(later, task="recommendation"))
    assert joined.splits == ("train", "test")
    assert joined.document_ids == ["a", "b", "c"]
    test = joined.interactions.filter(np.array(joined.interactions["split"].to_pylist()) == "test")
    assert test["user"].to_pylist() == ["u", "stranger"]
    assert test["item"].to_pylist() == [2, 0]
    with pytest.raises(DataError, match="no user of the test data has a history"):
        join_test(read(FIRST), read(later[1:], task="recommendation"))


def test_users_of_one_interaction_each_are_read_but_not_tuned_on() -> None:
    rows = [{"user": "u", "item": "a"}, {"user": "v", "item": "a"}]
    assert len(read(rows).interactions) == 2
    with pytest.raises(DataError, match="every user has one interaction") as caught:
        fine_tune(base_model={"documents": (["a"], np.ones((1, 2), np.float32))}, data=rows)
    assert caught.value.fix == "give each user's interactions under one user id"
