"""Rows to datasets: pairs, triplets, scores, labels, splits, ids; in memory and in files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedtune.data import Dataset, read
from embedtune.data.readers.items import made_up_id

PAIRS = [
    {"query": "sore throat", "positive": "Pharyngitis"},
    {"query": "throat hurts", "positive": "Pharyngitis"},
    {"query": " sore throat ", "positive": "Tonsillitis"},
]


def test_equal_texts_are_one_query_and_one_document() -> None:
    data = read(PAIRS)
    assert data.task == "retrieval"
    assert data.query_texts == ["sore throat", "throat hurts"]
    assert data.query_ids == [made_up_id("q", "sore throat"), made_up_id("q", "throat hurts")]
    assert data.document_texts == ["Pharyngitis", "Tonsillitis"]
    assert data.document_ids == [made_up_id("d", "Pharyngitis"), made_up_id("d", "Tonsillitis")]
    np.testing.assert_array_equal(data.relevance().toarray(), [[1, 1], [1, 0]])
    assert data.splits == ("train",)
    assert data.roles == {"query": "query", "positive": "positive"}
    assert data.qrels["line"].to_pylist() == [1, 2, 3]


def test_triplets_and_several_negatives_are_judged_negatives() -> None:
    rows = [
        {"Anchor": "a", "Positive": ["x", "y"], "negative_1": "z", "negative_2": None},
        {"Anchor": "b", "Positive": "z", "negative_1": "x", "negative_2": "y"},
    ]
    data = read(rows)
    assert data.document_texts == ["x", "y", "z"]
    np.testing.assert_array_equal(data.relevance().toarray(), [[1, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(data.negatives().toarray(), [[0, 0, 1], [1, 1, 0]])
    assert data.roles["negative"] == "negative_1, negative_2"


def test_score_is_the_grade_and_not_above_zero_is_a_negative() -> None:
    data = read([{"query": "a", "document": d, "score": s} for d, s in (("x", 2.5), ("y", 0), ("z", "-1"))])
    np.testing.assert_array_equal(data.relevance().toarray(), [[2.5, 0, 0]])
    np.testing.assert_array_equal(data.negatives().toarray(), [[0, 1, 1]])


def test_columns_that_appear_later_count() -> None:
    rows = [
        {"query": "a", "positive": "x"},
        {"query": "b", "positive": "y", "negatives": ["x"], "split": "val"},
    ]
    with_split_everywhere = [rows[0] | {"split": "train"}, rows[1]]
    data = read(with_split_everywhere)
    np.testing.assert_array_equal(data.negatives().toarray(), [[0, 0], [1, 0]])
    assert data.splits == ("train", "dev")


def test_a_text_has_the_same_made_up_id_in_every_file() -> None:
    first = read([{"query": "a", "positive": "x"}])
    second = read([{"query": "b", "positive": "y"}, {"query": "a", "positive": " x "}])
    assert second.document_ids[1] == first.document_ids[0] != second.document_ids[0]


def test_ids_are_kept_and_others_made_up() -> None:
    rows = [
        {"query_id": 7, "query": "a", "document_id": "d0", "positive": "x", "negative": "n"},
        {"query_id": 8, "query": "a", "document_id": "k", "positive": "x", "negative": "x"},
    ]
    data = read(rows)
    assert data.query_ids == ["7", "8"]  # other ids, so two queries, though the text is the same
    assert data.document_ids == ["d0", made_up_id("d", "n"), "k"]
    np.testing.assert_array_equal(data.negatives().toarray(), [[0, 1, 0], [1, 0, 0]])


def test_list_of_positives_takes_a_list_of_ids() -> None:
    data = read([{"query": "a", "positive": ["x", "y"], "positive_id": ["i", "j"]}])
    assert data.document_ids == ["i", "j"]


def test_labels_single_and_several() -> None:
    rows = [
        {"text": "diabetes symptoms", "label": "medical"},
        {"text": "refund", "label": ["shop", "money"], "split": "test"},
        {"text": "hello", "label": []},
        {"text": "three", "label": 3},
        {"text": "yes", "label": True},
    ]
    data = read([row | {"split": row.get("split", "train")} for row in rows])
    assert data.task == "classification"
    assert data.labels == [["medical"], ["shop", "money"], [], ["3"], ["true"]]
    assert data.splits == ("train", "test")
    assert data.document_ids == ["d0", "d1", "d2", "d3", "d4"]
    assert len(data.queries) == 0


def test_equal_labelled_texts_stay_two_items() -> None:
    assert len(read([{"text": "a", "label": "x"}] * 2).documents) == 2


def test_a_dataset_comes_back_as_it_is() -> None:
    data = read(PAIRS)
    assert read(data) is data


def test_pandas_frame_with_missing_cells() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"query": ["a", "b"], "positive": ["x", "y"], "negative": ["y", None], "score": [1.0, 2.0]},
        index=["r1", "r2"],
    )
    rows = [
        {"query": "a", "positive": "x", "negative": "y", "score": 1.0},
        {"query": "b", "positive": "y", "negative": None, "score": 2.0},
    ]
    assert read(frame).fingerprint == read(rows).fingerprint == read(pa.Table.from_pandas(frame)).fingerprint


def test_objects_that_arrow_reads_directly() -> None:
    class Frame:
        def __arrow_c_stream__(self, schema: object = None) -> object:
            return pa.Table.from_pylist(PAIRS).__arrow_c_stream__(schema)

    assert read(Frame()).fingerprint == read(PAIRS).fingerprint


def write(rows: list[dict[str, Any]], path: Path) -> Path:
    """Write rows in the format that the path ends in."""
    suffix = path.suffix
    if suffix == ".jsonl":
        path.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8", newline=""
        )
    elif suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), "utf-8")
    elif suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(
                stream, rows[0], delimiter="\t" if suffix == ".tsv" else ",", quoting=csv.QUOTE_ALL
            )
            writer.writeheader()
            writer.writerows(rows)
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".feather":
        feather.write_feather(pa.Table.from_pylist(rows), path)
    else:
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    return path


SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".feather", ".arrow")
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: text.strip())
SPLIT = st.sampled_from(["train", "dev", "test"])
PAIR = st.fixed_dictionaries(
    {"query": TEXT, "positive": TEXT, "negative": TEXT, "score": st.integers(1, 3), "split": SPLIT}
)
LABELLED = st.fixed_dictionaries({"text": TEXT, "label": TEXT.filter(lambda t: t[0] != "["), "split": SPLIT})


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(rows=st.lists(PAIR, min_size=1, max_size=5) | st.lists(LABELLED, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_format_gives_the_dataset_of_the_rows(
    tmp_path: Path, suffix: str, rows: list[dict[str, Any]]
) -> None:
    data = read(write(rows, tmp_path / f"rows{suffix}"))
    expected = read(rows)
    assert data.fingerprint == expected.fingerprint
    assert data.roles == expected.roles
    assert set(data.documents["file"].to_pylist()) == {str(tmp_path / f"rows{suffix}")}


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    rows = [{"query": "a\nb", "positive": "x"}, {"query": "c", "positive": "y"}]
    # in CSV the first record spans lines 2 and 3; JSON with one key a line puts records on lines 2 and 6
    assert read(write(rows, tmp_path / "p.csv")).queries["line"].to_pylist() == [2, 4]
    assert read(write(rows, tmp_path / "p.jsonl")).queries["line"].to_pylist() == [1, 2]
    assert read(write(rows, tmp_path / "p.json")).queries["line"].to_pylist() == [2, 6]
    assert read(write(rows, tmp_path / "p.parquet")).queries["line"].to_pylist() == [1, 2]


@pytest.mark.parametrize(
    "text", ["query;positive\na;x\n", "\ufeffquery,positive\r\na,x\r\n", "query\tpositive\na\tx"]
)
def test_dialects_of_csv(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(text.encode())
    assert read(path).query_texts == ["a"]


def test_json_lines_under_the_name_json(tmp_path: Path) -> None:
    path = write(PAIRS, tmp_path / "p.jsonl").rename(tmp_path / "p.json")
    assert read(path).fingerprint == read(PAIRS).fingerprint


def test_several_labels_in_a_csv_cell(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": '["x", "y"]'}, {"text": "b", "label": "[draft] x"}]
    assert read(write(rows, tmp_path / "l.csv")).labels == [["x", "y"], ["[draft] x"]]


def test_long_cells_of_csv(tmp_path: Path) -> None:
    rows = [{"query": "a", "positive": "x" * 200_000}]
    assert len(read(write(rows, tmp_path / "p.csv")).document_texts[0]) == 200_000


def test_folder_of_split_files(tmp_path: Path) -> None:
    write(PAIRS[:1], tmp_path / "train-00000-of-00002.parquet")
    write(PAIRS[1:2], tmp_path / "train-00001-of-00002.parquet")
    write(PAIRS[2:], tmp_path / "validation.jsonl")
    write(PAIRS[:1], tmp_path / "test.csv")
    (tmp_path / "README.md").write_text("about", "utf-8")
    data = read(tmp_path)
    assert data.splits == ("train", "dev", "test")
    assert [data.relevance([split]).nnz for split in data.splits] == [2, 1, 1]
    assert read(str(tmp_path)).fingerprint == data.fingerprint


def test_fingerprint_counts_content_and_not_places() -> None:
    assert isinstance(read(PAIRS), Dataset)
    assert read([{"noise": 1, **row} for row in PAIRS]).fingerprint == read(PAIRS).fingerprint
    assert read(PAIRS[:2]).fingerprint != read(PAIRS).fingerprint
