"""What to label next: uncertain, moved, and unlike what is labelled or picked; the same for the same seed."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from embedtune.data import read
from embedtune.data.pool import read_pool
from embedtune.errors import DataError, OutputExists, UserError
from embedtune.suggest.choosing import suggest_documents, suggest_items, suggest_pairs, suggest_queries
from embedtune.suggest.rows import Row, suggested_rows, write_rows
from embedtune.transforms import Identity, Linear


def on_circle(*degrees):
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def test_the_query_between_two_documents_comes_first():
    documents = on_circle(0, 40, 180)
    found = suggest_queries(on_circle(0, 21, 181), documents, Identity(), 1)
    assert found.rows.tolist() == [1]
    assert found.uncertainty.tolist() == [1.0]
    assert found.moved.tolist() == [0.0]


def test_the_next_one_is_unlike_the_first():
    queries = on_circle(20, 20.5, 110)  # two that are equal, and one that is nearly as uncertain
    found = suggest_queries(queries, on_circle(0, 40, 90, 131, 250), Identity(), 3)
    assert sorted(found.rows[:2].tolist())[1] == 2
    known = suggest_queries(queries, on_circle(0, 40, 90, 131, 250), Identity(), 1, known=on_circle(20))
    assert known.rows.tolist() == [2]


def test_of_two_that_are_as_uncertain_the_one_that_the_map_moves_comes_first():
    circle, nothing = on_circle(*range(0, 360, 9)), np.zeros((40, 2), np.float32)
    documents = np.block([[circle, nothing], [nothing, circle]])  # one circle in each of two planes
    between = np.array([*on_circle(4.5)[0], 0, 0], np.float32)
    queries = np.stack([np.roll(between, 2), between])
    turn = np.eye(4, dtype=np.float32)
    turn[:2, :2] = -turn[:2, :2]  # half a turn of the first plane, on the side of queries
    found = suggest_queries(queries, documents, Linear(query=turn), 2)
    assert found.uncertainty[0] == found.uncertainty[1]
    assert found.rows.tolist() == [1, 0]
    assert found.moved.tolist() == [1.0, 0.0]


def test_a_document_far_from_all_that_have_queries():
    found = suggest_documents(on_circle(10, 90, 20), Identity(), 2, known=on_circle(0))
    assert found.rows.tolist() == [1, 2]


def test_the_item_whose_neighbours_disagree():
    labelled = on_circle(0, 1, 2, 60, 61, 62)
    labels = ["a", "a", "a", "b", "b", "b"]
    found = suggest_items(on_circle(1, 31, 61), labelled, labels, Identity(), 1)
    assert found.rows.tolist() == [1]


def test_pairs_in_the_middle_of_the_scale_that_have_no_score_yet():
    items = on_circle(0, 2, 45, 90, 180)
    scored = (np.array([0, 0, 0]), np.array([1, 4, 3]), np.array([5.0, 0.0, 0.0]))
    found = suggest_pairs(items, Identity(), scored, 20)
    pairs = [tuple(pair) for pair in found.rows.tolist()]
    assert len(set(pairs)) == len(pairs)
    assert all(left < right for left, right in pairs)
    assert not {(0, 1), (0, 4), (0, 3)} & set(pairs)
    by_pair = dict(zip(pairs, found.uncertainty, strict=True))
    assert by_pair[0, 2] > by_pair.get((3, 4), 0.01)  # 45 degrees lie between the scores 5 and 0


def test_the_same_seed_gives_the_same():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    scored = (np.arange(20), np.arange(20, 40), rng.random(20))
    first, again, other = (suggest_pairs(x, Identity(), scored, 10, seed=seed).rows for seed in (1, 1, 2))
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("n", [0, -1])
def test_no_suggestions_are_refused(n):
    with pytest.raises(UserError):
        suggest_documents(on_circle(0, 1), Identity(), n, known=on_circle(0))
    with pytest.raises(UserError, match="nothing to choose from"):
        suggest_documents(on_circle(), Identity(), 1, known=on_circle(0))


class Circle:
    """An encoder that reads texts which are degrees."""

    name, dimension, similarity, fingerprint, max_tokens, content = "circle", 2, "cosine", "c", None, "text"

    def encode(self, items, *, kind="document"):
        return on_circle(*map(float, items))


class Model:
    encoder, transform = Circle(), Identity()


def test_rows_to_fill_in_for_each_task():
    pairs = read(
        [{"sentence1": "0", "sentence2": "5", "score": 5}, {"sentence1": "0", "sentence2": "90", "score": 1}]
    )
    rows = suggested_rows(pairs, Model(), 5, pool=["30", "0"])
    assert all(set(row.cells) == {"sentence1", "sentence2", "score"} for row in rows)
    assert {"30"} <= {text for row in rows for text in row.cells.values()}

    queries = read([{"query": "1", "positive": "0"}, {"query": "2", "positive": "40"}])
    assert suggested_rows(queries, Model(), 1, pool=["1", "20"])[0].cells == {"query": "20", "positive": ""}
    negative = [
        {"query": "1", "positive": "0", "negative": "80"},
        {"query": "2", "positive": "10", "negative": "20"},
    ]
    assert suggested_rows(read(negative), Model(), 1)[0].cells == {"query": "", "positive": "80"}
    with pytest.raises(UserError, match="--pool"):
        suggested_rows(queries, Model(), 1)

    labels = read([{"text": str(d), "label": "ab"[d > 30]} for d in (0, 1, 2, 60, 61, 62)])
    found = suggested_rows(labels, Model(), 1, pool=["0", "1.5", "31"])
    assert found[0].cells == {"text": "31", "label": ""}
    with pytest.raises(UserError, match="--pool"):
        suggested_rows(labels, Model(), 1)


ROWS = [Row({"query": 'a "b", c', "positive": ""}, 0.5, 0.1), Row({"query": "d", "positive": ""}, 0.4, 0.0)]


def test_files_to_fill_in_are_read_once_they_are(tmp_path):
    write_rows(tmp_path / "a.csv", ROWS)
    write_rows(tmp_path / "a.jsonl", ROWS)
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [row.cells for row in ROWS]
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == [
        row.cells for row in ROWS
    ]
    with pytest.raises(DataError, match=r"a.csv:2: the query has no positive"):
        read(tmp_path / "a.csv")
    with pytest.raises(OutputExists):
        write_rows(tmp_path / "a.csv", ROWS)
    with pytest.raises(DataError, match=r"\.csv or a \.jsonl"):
        write_rows(tmp_path / "a.xlsx", ROWS)


def test_pools(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n two \none\n")
    assert read_pool(tmp_path / "a.txt") == ["one", "two"]
    (tmp_path / "a.csv").write_text("id,Query\n1,one\n2,two\n")
    assert read_pool(tmp_path / "a.csv") == ["one", "two"]
    (tmp_path / "b.csv").write_text("id,x\n1,one\n")
    for name, says in (("b.csv", "no column of texts; columns seen: id, x"), ("c.txt", "no such file")):
        with pytest.raises(DataError, match=says):
            read_pool(tmp_path / name)
    (tmp_path / "d.txt").write_text("\n")
    with pytest.raises(DataError, match="no texts"):
        read_pool(tmp_path / "d.txt")


def test_what_stands_for_many_comes_before_what_stands_alone():
    labelled = on_circle(0, 3)
    crowd, odd = on_circle(*range(80, 100, 2)), on_circle(181)
    found = suggest_items(np.concatenate([odd, crowd]), labelled, ["a", "b"], Identity(), 2)
    assert found.uncertainty[found.rows == 0].tolist() == [1.0] or 0 not in found.rows
    assert found.rows[0] > 0  # although the odd one is the most uncertain, and the furthest from all labels


def test_picking_is_that_of_a_slow_greedy_search():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 5)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels = list("abc" * 10)
    found = suggest_items(x[30:], x[:30], labels, Identity(), 90)
    every = np.empty(90)
    every[found.rows] = found.uncertainty * (1 + found.moved)
    covered, chosen = np.maximum((x[30:] @ x[:30].T).max(axis=1), 0), []
    for _ in range(25):
        gain = every * np.maximum(x[30:] @ x[30:].T - covered, 0).mean(axis=1)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        covered = np.maximum(covered, x[30:] @ x[30:][chosen[-1]])
    assert found.rows[:25].tolist() == chosen
