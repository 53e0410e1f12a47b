"""Reading BEIR folders, good and bad."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedtune.data import read
from embedtune.errors import DataError

CORPUS = [
    {"_id": "c1", "title": "Pharyngitis", "text": "Inflammation of the throat."},
    {"_id": "c2", "title": "", "text": "Rhinitis"},
    {"_id": "c3", "text": ""},
]
QUERIES = [{"_id": "a", "text": "sore throat"}, {"_id": "b", "text": "runny nose"}]
HEADER = "query-id\tcorpus-id\tscore\n"


def folder(path: Path, *, corpus=CORPUS, queries=QUERIES, **qrels: str) -> Path:
    (path / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for split, text in (qrels or {"train": HEADER + "a\tc1\t1\nb\tc2\t2\nb\tc1\t0\n"}).items():
        (path / "qrels" / f"{split}.tsv").write_text(text, "utf-8")
    return path


def test_documents_are_title_and_text_and_places_are_kept(tmp_path: Path) -> None:
    data = read(folder(tmp_path / "set"))
    assert data.task == "retrieval"
    assert data.document_texts == ["Pharyngitis Inflammation of the throat.", "Rhinitis", ""]
    assert data.document_ids == ["c1", "c2", "c3"]
    assert data.queries["line"].to_pylist() == [1, 2]
    assert data.qrels["line"].to_pylist() == [2, 3, 4]
    assert data.qrels["file"].to_pylist()[0].endswith("qrels/train.tsv")
    np.testing.assert_array_equal(data.relevance().toarray(), [[1, 0, 0], [0, 2, 0]])
    np.testing.assert_array_equal(data.negatives().toarray(), [[0, 0, 0], [1, 0, 0]])
    assert data.roles["judgements"] == "qrels/train.tsv"


@pytest.mark.parametrize(
    "text",
    [
        "a\tc1\t1\nb\tc2\t1\n",  # no header
        HEADER + "a\tc1\t1\nb\tc2\t1\n",
        "corpus-id\tquery-id\tscore\nc1\ta\t1\nc2\tb\t1\n",  # by name, not by position
        "a 0 c1 1\nb 0 c2 1\n",  # TREC
        "a\t0\tc1\t1\r\nb\t0\tc2\t1\r\n",
        "\ufeff" + HEADER + "a\tc1\t1\n\nb\tc2\t1",  # byte-order mark, blank line, no last newline
    ],
)
def test_layouts_of_qrels_give_the_same(tmp_path: Path, text: str) -> None:
    data = read(folder(tmp_path / "set", train=text))
    np.testing.assert_array_equal(data.relevance().toarray(), [[1, 0, 0], [0, 1, 0]])


def test_splits_come_from_file_names(tmp_path: Path) -> None:
    data = read(folder(tmp_path / "set", test="a\tc1\t1\n", validation="b\tc2\t1\n", extra="b\tc1\t1\n"))
    assert data.splits == ("dev", "test", "extra")
    assert data.query_rows(["dev"]).tolist() == [1]


def test_one_qrels_file_beside_the_corpus_is_train(tmp_path: Path) -> None:
    path = folder(tmp_path / "set")
    (path / "qrels" / "train.tsv").rename(path / "qrels.tsv")
    assert read(path).splits == ("train",)


def test_identical_duplicates_are_merged(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", corpus=[*CORPUS, CORPUS[0]], train=HEADER + "a\tc1\t1\n" * 2)
    data = read(path)
    assert len(data.documents) == 3
    assert len(data.qrels) == 1


BAD = {
    "missing document": (
        {"train": HEADER + "a\tc1\t1\nb\tc9\t1\n"},
        "qrels/train.tsv:3: document id 'c9' does not exist; add it to corpus.jsonl, or remove the line",
    ),
    "missing query": (
        {"train": "z\tc1\t1\n"},
        "qrels/train.tsv:1: query id 'z' does not exist; add it to queries",
    ),
    "only zero": (
        {"train": "a\tc1\t1\nb\tc2\t0\n"},
        "qrels/train.tsv:2: query 'b' has no positive; judge a document above 0",
    ),
    "empty split": (
        {"train": "a\tc1\t1\n", "test": HEADER},
        "qrels/test.tsv: split 'test' has no judgements; add lines",
    ),
    "no number": (
        {"train": "a\tc1\t1\nb\tc2\thigh\n"},
        "train.tsv:2, column 'score': 'high' is not a number",
    ),
    "not finite": (
        {"train": "a\tc1\tnan\n"},
        "train.tsv:1, column 'score': the score is nan; write a finite",
    ),
    "two columns": (
        {"train": "a\tc1\n"},
        "train.tsv:1: the line has 2 columns; write query-id, corpus-id and",
    ),
    "duplicate id": (
        {"corpus": [*CORPUS, {"_id": "c1", "text": "Something else"}]},
        "corpus.jsonl:4: document id 'c1' has another text at ",
    ),
    "empty query": (
        {"queries": [*QUERIES, {"_id": "e", "text": " "}]},
        "queries.jsonl:3: query 'e' is empty; write its text",
    ),
    "no text column": (
        {"corpus": [{"_id": "c1", "body": "x"}]},
        "corpus.jsonl:1: column 'text' is missing; columns seen: _id, body",
    ),
    "no id": (
        {"corpus": [{"text": "x"}]},
        "corpus.jsonl:1, column '_id': the id is empty; give every row an id",
    ),
    "text is a number": (
        {"queries": [{"_id": 1, "text": 5}]},
        "queries.jsonl:1, column 'text': 5 is of type int, not text; write it as a string",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folder_is_refused_with_place_and_fix(tmp_path: Path, case: str) -> None:
    changes, message = BAD[case]
    with pytest.raises(DataError) as caught:
        read(folder(tmp_path / "set", **changes))
    assert message in str(caught.value).replace("\\", "/")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    path = folder(tmp_path / "set")
    (path / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: there is no such file"):
        read(path)


def test_missing_qrels_are_named(tmp_path: Path) -> None:
    path = folder(tmp_path / "set")
    (path / "qrels" / "train.tsv").unlink()
    with pytest.raises(DataError, match=r"qrels: there are no judgements; add qrels/train\.tsv"):
        read(path)


def test_folder_without_any_positive_is_refused_even_leniently(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", train="a\tc9\t1\n")
    with pytest.raises(DataError, match="no query has a relevant document"):
        read(path, strict=False)


def test_task_and_roles_do_not_apply(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leave out task and roles"):
        read(folder(tmp_path / "set"), roles={"query": "text"})


def test_lenient_reading_leaves_rows_out_and_lists_them(tmp_path: Path) -> None:
    path = folder(
        tmp_path / "set",
        corpus=[*CORPUS, {"_id": "c1", "text": "Something else"}],
        queries=[*QUERIES, {"_id": "e", "text": ""}, {"_id": "n", "text": "nothing"}],
        train=HEADER + "a\tc1\t1\nb\tc2\t1\nb\tc9\t1\ne\tc1\t1\nn\tc1\t0\n",
        test=HEADER,
    )
    data = read(path, strict=False)
    # the second c1 and the empty query are gone, b keeps its other judgement, n has only a 0
    assert data.document_texts[0] == "Pharyngitis Inflammation of the throat."
    assert data.query_ids == ["a", "b", "n"]
    assert len(data.qrels) == 2
    assert [(problem.code, problem.line) for problem in data.problems] == [
        ("duplicate-ids", 4),
        ("empty-texts", 3),
        ("missing-ids", 4),
        ("no-positive", 6),
        ("empty-splits", 0),
    ]
