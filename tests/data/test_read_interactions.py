"""Interactions beside items, in files and in memory; timestamps in every form; what is wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtune.data import check, read
from embedtune.data.describe import describe
from embedtune.data.readers.times import Times
from embedtune.errors import DataError

ITEMS = '{"_id": "a", "title": "Alpha", "text": "first"}\n{"_id": "b", "text": "second"}\n{"_id": 3}\n'
TRAIN = "user-id\titem-id\trating\ttimestamp\nu\ta\t4.5\t1000\nu\tb\t2\t2000\nv\t3\t1\t1500\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "items.jsonl").write_text(ITEMS, "utf-8")
    (tmp_path / "train.tsv").write_text(TRAIN, "utf-8")
    (tmp_path / "test.tsv").write_text("user-id\titem-id\trating\ttimestamp\nu\t3\t5\t3000\n", "utf-8")
    return tmp_path


def test_a_folder_of_items_and_splits(folder: Path) -> None:
    data = read(folder)
    assert (data.task, data.splits) == ("recommendation", ("train", "test"))
    assert data.document_ids == ["a", "b", "3"]
    assert data.document_texts == ["Alpha first", "second", ""]
    rows = data.interactions.to_pylist()
    assert [(r["user"], r["item"], r["rating"], r["time"], r["split"], r["line"]) for r in rows] == [
        ("u", 0, 4.5, 1_000_000, "train", 2),
        ("u", 1, 2.0, 2_000_000, "train", 3),
        ("v", 2, 1.0, 1_500_000, "train", 4),
        ("u", 2, 5.0, 3_000_000, "test", 2),
    ]
    assert data.roles["user"] == "user-id"
    assert describe(data).counts == {"users": 2, "items": 3, "interactions": 4}
    assert "user u" in str(describe(data))


def test_the_fingerprint_sees_interactions(folder: Path) -> None:
    before = read(folder).fingerprint
    (folder / "train.tsv").write_text(TRAIN.replace("u\tb", "v\tb"), "utf-8")
    assert read(folder).fingerprint != before


def test_frames_in_memory_and_parquet(folder: Path, tmp_path: Path) -> None:
    items = pd.DataFrame({"id": ["a", "b"], "title": ["A", "B"]})
    log = pd.DataFrame({"userId": ["u", "u"], "movieId": ["a", "b"], "ts": pd.to_datetime(["2020", "2021"])})
    data = read({"items": items, "interactions": {"train": log}})
    assert data.interactions["time"].to_pylist() == [1577836800000, 1609459200000]
    assert data.interactions["rating"].null_count == 2
    pq.write_table(pa.Table.from_pandas(log), tmp_path / "log.parquet")
    alone = read(tmp_path / "log.parquet")
    assert (alone.task, alone.document_ids, alone.document_texts) == ("recommendation", ["a", "b"], ["", ""])


def test_unknown_items_are_named(folder: Path) -> None:
    (folder / "train.tsv").write_text(TRAIN + "v\tzz\t1\t1600\n", "utf-8")
    with pytest.raises(DataError, match=r"train.tsv:5: item id 'zz' does not exist"):
        read(folder)
    assert [p.code for p in read(folder, strict=False).problems] == ["missing-ids"]


def test_items_with_one_id_or_none(folder: Path) -> None:
    (folder / "items.jsonl").write_text(ITEMS + '{"_id": "a"}\n', "utf-8")
    with pytest.raises(DataError, match=r"items.jsonl:4: item id 'a' is there already at .*items.jsonl:1"):
        read(folder)
    (folder / "items.jsonl").write_text('{"name": "x"}\n', "utf-8")
    with pytest.raises(DataError, match="no column for the item's id; columns seen: name"):
        read(folder)


def test_a_log_without_a_row_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item\n", "utf-8")
    with pytest.raises(DataError, match=r"log.csv"):
        read(tmp_path / "log.csv", task="recommendation")


@pytest.mark.parametrize(
    ("second", "what"),
    [
        ("2020-01-01", "ISO 8601 without a time zone, but data:1 is seconds"),
        (1577836800000, "milliseconds since 1970, but data:1 is seconds"),
        ("yesterday", "'yesterday' is no timestamp"),
        ("", "the timestamp is empty"),
        (None, "the timestamp is empty"),
        (-5, "neither seconds nor milliseconds"),
        (1577836800000000000, "neither seconds nor milliseconds"),
        (True, "True is no timestamp"),
    ],
)
def test_timestamps_that_are_refused_with_their_row(second: object, what: str) -> None:
    rows = [{"user": "u", "item": "a", "timestamp": 1577836800}]
    rows.append({"user": "u", "item": "b", "timestamp": second})
    with pytest.raises(DataError, match=what) as caught:
        read(rows)
    assert caught.value.where == "data:2, column 'timestamp'"


@given(st.datetimes(min_value=datetime(1974, 1, 1), max_value=datetime(2100, 1, 1)))
def test_every_form_of_a_moment_is_the_same_moment(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    seconds = int(moment.timestamp())
    forms = [
        seconds,
        float(seconds),
        str(seconds),
        seconds * 1000,
        moment,
        moment.isoformat(),
        moment.isoformat().replace("+00:00", "Z"),
        moment.replace(tzinfo=None).isoformat(sep=" "),
    ]
    assert {Times().read(form, "t", "f", 1) for form in forms} == {seconds * 1000}


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    moment: object = None
    where = "f.csv:7, column 't'"
    try:
        moment = Times().read(text, "t", "f.csv", 7)
    except DataError as error:
        where = error.where or ""
    assert isinstance(moment, int | None)
    assert where == "f.csv:7, column 't'"


def found(rows: list[dict[str, object]]) -> dict[str, int]:
    return {finding.code: finding.count for finding in check(rows)}


def test_checks_of_histories() -> None:
    rows: list[dict[str, object]] = [
        {
            "user": f"u{n % 60}",
            "item": f"i{n % 7}",
            "title": f"item {n % 7}",
            "timestamp": n + 1,
            "split": "train",
        }
        for n in range(180)
    ]
    assert found(rows) == {}
    rows += [{**rows[0], "timestamp": 500}, {**rows[1], "user": "alone"}]
    rows.append({**rows[2], "item": "i0", "title": "item 0", "timestamp": 1, "split": "test"})
    assert found(rows) == {
        "single-interaction-users": 1,
        "duplicate-interactions": 1,
        "test-before-training": 1,
    }
    assert found(rows[:2] + rows[60:62])["few-labels"] == 2


def test_items_that_nobody_chose(folder: Path) -> None:
    (folder / "items.jsonl").write_text(ITEMS + '{"_id": "new", "text": "new"}\n', "utf-8")
    codes = {finding.code for finding in check(folder)}
    assert "items-without-interactions" in codes
