"""Columns to roles, by name."""

from __future__ import annotations

import pytest

from embedtune.data import read
from embedtune.data.roles import understand
from embedtune.errors import DataError


@pytest.mark.parametrize(
    ("columns", "task", "roles"),
    [
        (["Question", "Answer"], "retrieval", {"query": "Question", "positive": "Answer"}),
        (["document", "query"], "retrieval", {"query": "query", "positive": "document"}),
        (
            ["search", "text_pos", "neg"],
            "retrieval",
            {"query": "search", "positive": "text_pos", "negative": "neg"},
        ),
        (["query", "text"], "retrieval", {"query": "query", "positive": "text"}),
        (
            ["query", "passage", "label"],
            "retrieval",
            {"query": "query", "positive": "passage", "score": "label"},
        ),
        (
            ["query-id", "query", "doc id", "doc", "relevance"],
            "retrieval",
            {
                "query": "query",
                "positive": "doc",
                "score": "relevance",
                "query_id": "query-id",
                "document_id": "doc id",
            },
        ),
        (["positive", "document", "query"], "retrieval", {"query": "query", "positive": "positive"}),
        (["text", "label"], "classification", {"text": "text", "label": "label"}),
        (["label", "utterance", "id"], "classification", {"text": "utterance", "label": "label", "id": "id"}),
        (
            ["text_a", "text_b", "label"],
            "similarity",
            {"sentence1": "text_a", "sentence2": "text_b", "score": "label"},
        ),
        (["question", "category"], "classification", {"text": "question", "label": "category"}),
    ],
)
def test_names_say_the_role(columns: list[str], task: str, roles: dict[str, str]) -> None:
    layout = understand(columns, where="t.csv:1")
    assert layout.task == task
    assert layout.names() == roles


def test_user_names_come_first() -> None:
    layout = understand(["a", "query", "b"], where="t.csv:1", roles={"query": "a", "positive": "query"})
    assert layout.names() == {"query": "a", "positive": "query"}


def test_several_columns_can_be_named_for_negatives() -> None:
    layout = understand(
        ["q", "p", "n", "m"], where="t", roles={"query": "q", "positive": "p", "negative": "n, m"}
    )
    assert layout.columns["negative"] == ("n", "m")


def test_a_role_can_be_switched_off() -> None:
    rows = [{"query": "a", "positive": "x", "label": "not a number"}]
    assert read(rows, roles={"score": None}).relevance().toarray().tolist() == [[1.0]]


def test_task_can_be_asked_for() -> None:
    columns = ["query", "text", "label"]
    assert understand(columns, where="t", task="classification").names() == {"text": "text", "label": "label"}


def test_named_column_that_is_not_there() -> None:
    with pytest.raises(
        DataError, match=r"t.csv:1: column 'q' \(role 'query'\) is missing; columns seen: a, b"
    ):
        understand(["a", "b"], where="t.csv:1", roles={"query": "q"})


def test_columns_that_say_nothing_are_listed_with_what_is_expected() -> None:
    with pytest.raises(DataError) as caught:
        understand(["left", "right"], where="t.csv:1")
    assert str(caught.value) == (
        "t.csv:1: no column for 'query' and 'positive'; columns seen: left, right; expected are "
        "(query, positive[, negative…][, score][, split]), (text, label[, split]), (sentence1, sentence2, "
        "score[, split]) or (user, item[, rating][, timestamp]): rename the columns, or say which column "
        "it is with --role query=COLUMN --role positive=COLUMN (in Python: roles={…})"
    )
