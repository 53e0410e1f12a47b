"""Scored pairs: from every format and from memory, deduplicated, refused with file and row."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from embedtune.data import check, read
from embedtune.data.describe import describe
from embedtune.data.join import join_test
from embedtune.errors import DataError

ROWS = [
    {"sentence1": "a cat sleeps", "sentence2": "the cat is asleep", "score": 4.5, "split": "train"},
    {"sentence1": "a dog barks", "sentence2": "a cat sleeps", "score": 1.0, "split": "train"},
    {"sentence1": "rain falls", "sentence2": "it rains", "score": 5.0, "split": "test"},
]


def pairs_of(data):
    texts = data.document_texts
    return [
        (texts[p["left"]], texts[p["right"]], p["score"], p["split"], p["line"])
        for p in data.pairs.to_pylist()
    ]


EXPECTED = [
    ("a cat sleeps", "the cat is asleep", 4.5, "train", 1),
    ("a dog barks", "a cat sleeps", 1.0, "train", 2),
    ("rain falls", "it rains", 5.0, "test", 3),
]


def test_equal_sentences_are_one_document():
    data = read(ROWS)
    assert data.task == "similarity"
    assert data.splits == ("train", "test")
    assert data.document_texts == [
        "a cat sleeps",
        "the cat is asleep",
        "a dog barks",
        "rain falls",
        "it rains",
    ]
    assert pairs_of(data) == EXPECTED
    assert data.relevance().nnz == 0


def write_csv(path, rows, delimiter=","):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


WRITERS = {
    "pairs.csv": lambda path: write_csv(path, ROWS),
    "pairs.tsv": lambda path: write_csv(path, ROWS, "\t"),
    "pairs.jsonl": lambda path: path.write_text("".join(json.dumps(row) + "\n" for row in ROWS)),
    "pairs.json": lambda path: path.write_text("[" + ",\n".join(json.dumps(row) for row in ROWS) + "]"),
    "pairs.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
    "pairs.arrow": lambda path: feather.write_feather(pa.Table.from_pylist(ROWS), str(path)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_of_rows(name, tmp_path):
    WRITERS[name](tmp_path / name)
    data = read(tmp_path / name)
    lines = {"pairs.csv": 1, "pairs.tsv": 1}.get(name, 0)  # the header is a line
    assert pairs_of(data) == [(*pair[:4], pair[4] + lines) for pair in EXPECTED]


def test_frames_and_tables_in_memory():
    frame = pytest.importorskip("pandas").DataFrame(ROWS)
    assert pairs_of(read(frame)) == pairs_of(read(pa.Table.from_pylist(ROWS))) == EXPECTED


def test_a_folder_of_split_files(tmp_path):
    rows = [{k: v for k, v in row.items() if k != "split"} for row in ROWS]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    (tmp_path / "test.jsonl").write_text(json.dumps(rows[2]) + "\n")
    assert read(tmp_path).pairs["split"].to_pylist() == ["train", "train", "test"]


@pytest.mark.parametrize("bad", ["high", "", "nan", "inf"])
def test_a_score_that_is_no_number_is_refused_with_file_and_row(tmp_path, bad):
    path = tmp_path / "pairs.csv"
    write_csv(path, [ROWS[0], {**ROWS[1], "score": bad}])
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:3, column 'score': ")
    assert str(caught.value).endswith("number: the more alike, the higher")


def test_an_empty_sentence_is_refused_and_left_out_by_a_lenient_reading():
    rows = [ROWS[0], {**ROWS[1], "sentence2": " "}]
    with pytest.raises(DataError, match=r"data:2: sentence2 .* is empty"):
        read(rows)
    assert len(read(rows, strict=False).pairs) == 1


def test_repeats_count_once_and_other_scores_stay():
    again = {"sentence1": "the cat is asleep", "sentence2": "a cat sleeps", "split": "train"}
    data = read([*ROWS, {**again, "score": 4.5}, {**again, "score": 2.0}])
    assert [pair[2] for pair in pairs_of(data)] == [4.5, 1.0, 5.0, 2.0]


def test_names_that_say_it_and_roles():
    rows = [{"question1": "a", "question2": "b", "is_duplicate": True}]
    assert pairs_of(read(rows)) == [("a", "b", 1.0, "train", 1)]
    rows = [{"x": "a", "y": "b", "close": "3"}]
    roles = {"sentence1": "x", "sentence2": "y", "score": "close"}
    assert pairs_of(read(rows, roles=roles)) == [("a", "b", 3.0, "train", 1)]


def test_the_fingerprint_knows_scores():
    assert read(ROWS).fingerprint == read([dict(row) for row in ROWS]).fingerprint
    assert read(ROWS).fingerprint != read([{**ROWS[0], "score": 4.0}, *ROWS[1:]]).fingerprint


def test_describe_shows_a_pair_with_its_score():
    text = str(describe(read(ROWS)))
    assert "5 sentences, 3 pairs" in text
    assert "→ the cat is asleep (4.5)" in text


def test_a_test_file_takes_the_place_of_the_test_split():
    other = read([{"sentence1": "a cat sleeps", "sentence2": "snow falls", "score": 0}])
    joined = join_test(read(ROWS), other)
    assert [pair[:4] for pair in pairs_of(joined)] == [
        *[pair[:4] for pair in EXPECTED[:2]],
        ("a cat sleeps", "snow falls", 0.0, "test"),
    ]
    assert joined.document_texts.count("a cat sleeps") == 1


def test_checks_of_scored_pairs():
    rows = [{**ROWS[0], "score": 1.0}, *ROWS, {**ROWS[0], "split": "test"}]
    found = {finding.code: finding for finding in check(rows)}
    assert set(found) == {
        "few-labels",
        "few-test-labels",
        "contradicting-scores",
        "same-text-in-splits",
        "sentences-in-splits",
    }
    assert found["few-labels"].severity == "error"
    assert found["contradicting-scores"].count == 1
    assert found["same-text-in-splits"].count == 3
    assert found["sentences-in-splits"].examples[0].text == "a cat sleeps ↔ the cat is asleep (4.5)"
    assert np.isin("single-score", [f.code for f in check([{**row, "score": 2} for row in ROWS])])
