"""Columns to slice by are kept by every reader of rows, and refused where they cannot be used."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from embedtune.data import read
from embedtune.data.join import join_test
from embedtune.data.slices import FEW, MOST, slice_values
from embedtune.errors import DataError, UserError

ROWS = [
    {"query": "a", "positive": "x", "team": "sales", "floor": 1},
    {"query": "b", "positive": "x", "team": "", "floor": 2.0},
    {"query": "a", "positive": "y", "team": "legal", "floor": 1},
    {"query": "c", "positive": "y", "floor": True},
]


def test_a_query_of_several_rows_has_all_their_values() -> None:
    data = read(ROWS, slices=["team", "floor"])
    assert data.query_texts == ["a", "b", "c"]
    assert slice_values(data, "team") == [["sales", "legal"], [], []]
    assert slice_values(data, "floor") == [["1"], ["2"], ["true"]]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "frame"])
def test_files_and_frames_keep_them(tmp_path: Path, ending: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([{"query": q, "positive": "x", "team": t} for q, t in ("as", "bs", "cl")])
    path = tmp_path / f"rows.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif ending == "parquet":
        frame.to_parquet(path)
    data = read(frame if ending == "frame" else path, slices=["team"])
    assert slice_values(data, "team") == [["s"], ["s"], ["l"]]


def test_beir_takes_them_from_the_queries_or_their_metadata(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    queries = [
        {"_id": "1", "text": "a", "metadata": {"team": "sales"}},
        {"_id": "2", "text": "b", "team": "legal", "metadata": {}},
    ]
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "x", "shelf": "top"}\n')
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    (tmp_path / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\n1\td\t1\n2\td\t1\n")
    assert slice_values(read(tmp_path, slices=["team"]), "team") == [["sales"], ["legal"]]
    with pytest.raises(
        DataError, match="no column 'shelf' to slice by"
    ):  # of documents, which are not judged
        read(tmp_path, slices=["shelf"])


def test_items_pairs_and_users_have_them_too() -> None:
    items = read([{"text": "a", "label": "l", "lang": ["de", "en"]}], slices=["lang", "label"])
    assert slice_values(items, "lang") == [["de", "en"]]
    assert slice_values(items, "label") == [["l"]]  # a column may play a role besides
    pairs = [{"sentence1": "a", "sentence2": "b", "score": s, "from": f"p{s}"} for s in (1, 2)]
    assert slice_values(read(pairs, slices=["from"]), "from") == [["p1"], ["p2"]]
    chosen = [
        {"user": user, "item": item, "device": device}
        for user, item, device in (
            ("z", "i", "phone"),
            ("b", "i", "desk"),
            ("z", "j", "desk"),
            ("b", "k", "desk"),
        )
    ]
    users = read(chosen, slices=["device"])
    assert slice_values(users, "device") == [["desk"], ["phone", "desk"]]  # users in order: b, z
    clicks = [
        {"query": "q", "document": "d", "clicks": 3, "impressions": 9, "position": 1, "device": "phone"}
    ]
    assert slice_values(read(clicks, slices="device"), "device") == [["phone"]]


def test_a_day_is_a_value_and_a_mapping_is_none() -> None:
    row = {"query": "a", "positive": "x"}
    data = read([row | {"day": datetime.date(2024, 2, 29)}], slices=["day"])
    assert slice_values(data, "day") == [["2024-02-29"]]
    with pytest.raises(DataError, match="data:1, column 'day': a dict is no value") as error:
        read([row | {"day": {"is": 3}}], slices=["day"])
    assert "\n" not in str(error.value)


def test_a_column_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(DataError, match=r"no column 'tema' to slice by.*query, positive, team, floor"):
        read(ROWS, slices=["tema"])
    with pytest.raises(UserError, match=r"read without the column 'team'.*slices=\['team'\]"):
        slice_values(read(ROWS), "team")
    source = {"queries": {"q": "a"}, "corpus": {"d": "x"}, "relevant_docs": {"q": ["d"]}}
    with pytest.raises(DataError, match="no columns of its own"):
        read(source, slices=["team"])


@pytest.mark.parametrize(
    ("values", "each", "refused"),
    [(MOST, 3, False), (MOST + 1, 30, True), (FEW, 1, False), (FEW + 1, 1, True), (FEW + 1, 2, False)],
)
def test_a_column_with_too_many_values_is_refused(values: int, each: int, refused: bool) -> None:
    rows = [
        {"query": f"q{v}-{i}", "positive": "x", "team": f"t{v}"} for v in range(values) for i in range(each)
    ]
    data = read(rows, slices=["team"])
    if not refused:
        assert len(slice_values(data, "team")) == values * each
        return
    with pytest.raises(UserError, match=f"column 'team' has {values} values"):
        slice_values(data, "team")


def test_they_are_part_of_what_a_result_was_made_from() -> None:
    other = [row | {"team": "it"} for row in ROWS]
    assert read(ROWS).fingerprint == read(other).fingerprint
    assert read(ROWS, slices=["team"]).fingerprint != read(other, slices=["team"]).fingerprint
    assert read(ROWS, slices=["team"]).fingerprint != read(ROWS).fingerprint


@pytest.mark.parametrize("task", ["retrieval", "classification", "similarity"])
def test_a_test_file_brings_its_own(task: str) -> None:
    row = {
        "retrieval": {"query": "a", "positive": "x"},
        "classification": {"text": "a", "label": "x"},
        "similarity": {"sentence1": "a", "sentence2": "x", "score": 1},
    }[task]
    first = next(iter(row))
    new = row | {first: "new", "team": "it"}
    joined = join_test(read([row | {"team": "hr"}], slices=["team"]), read([new], slices=["team"]))
    assert slice_values(joined, "team") == [["hr"], ["it"]]
    assert slice_values(join_test(read([row]), read([new], slices=["team"])), "team") == [[], ["it"]]


def test_a_mixture_keeps_them() -> None:
    other = [{"query": "d", "positive": "z", "team": "it"}]
    data = read([(ROWS, 1.0), (other, 0.5)], slices=["team"])
    assert slice_values(data, "team") == [["sales", "legal"], [], [], ["it"]]
