"""Rows that cannot be used: one line, with the place and the way to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from embedtune.data import read
from embedtune.errors import DataError, UserError

FILES: dict[str, tuple[str, bytes, str]] = {
    "broken JSON": (
        "p.jsonl",
        b'{"query": "a", "positive": "x"}\n{"query": x}\n',
        "p.jsonl:2: broken JSON at column 11: Expecting value; mend the line: .jsonl has one object a line",
    ),
    "broken JSON list": (
        "p.json",
        b'[\n{"query": "a", "positive": "x"}\n{"query": "b", "positive": "x"}]',
        "p.json:3: broken JSON at column 1: Expecting ',' delimiter; mend the line",
    ),
    "not an object": (
        "p.jsonl",
        b"[1, 2]\n",
        "p.jsonl:1: this is a JSON list, not an object; write rows as {",
    ),
    "Latin-1": (
        "p.csv",
        b"query,positive\nna\xefve,x\n",
        "p.csv:2: byte 0xef at offset 17 is not UTF-8; convert the file: iconv -f CP1252 -t UTF-8 p.csv",
    ),
    "UTF-16": (
        "p.jsonl",
        '{"query": "a", "positive": "x"}\n'.encode("utf-16"),
        " at offset 0 is not UTF-8; convert the file: iconv -f UTF-16 -t UTF-8 p.jsonl > utf8-p.jsonl",
    ),
    "empty file": ("p.jsonl", b"", "p.jsonl: the file is empty; fill it, or remove it"),
    "only a header": (
        "p.csv",
        b"query,positive\n",
        "p.csv: there are no rows; give a file with at least one row",
    ),
    "ragged row": (
        "p.csv",
        b"query,positive\na,x\nb,y,z\n",
        "p.csv:3: the row has 3 cells, the header 2; put cells that contain the separator or a line break in",
    ),
    "open quote": (
        "p.tsv",
        b'query\tpositive\na\tx\nb\t"y\n',
        "p.tsv:3: the row cannot be parsed: unexpected end of",
    ),
    "column twice": (
        "p.csv",
        b"query,query\na,b\n",
        "p.csv:1: column 'query' comes twice; rename one of the two",
    ),
    "missing column": (
        "p.csv",
        b"query,passage_number\na,x\n",
        "p.csv:1: no column for 'positive'; columns seen: query, passage_number; expected are (",
    ),
    "ambiguous column": (
        "p.csv",
        b"question,passage,answer\na,x,y\n",
        "p.csv:1: columns 'passage' and 'answer' could each be the positive; say which with --role",
    ),
    "no Parquet": ("p.parquet", b"PAR1 nonsense PAR1", "p.parquet: this is not a readable Parquet file: "),
    "no Arrow": ("p.arrow", b"nonsense", "p.arrow: this is not a readable Arrow file: "),
    "unknown ending": (
        "p.xlsx",
        b"x",
        "the ending '.xlsx' is not known; give a BEIR folder or a file",
    ),
    "surrogate": (
        "p.jsonl",
        b'{"query": "\\ud800", "positive": "x"}',
        "column 'query': half a surrogate",
    ),
    "score not finite": (
        "p.jsonl",
        b'{"query": "a", "positive": "x", "score": 1}\n{"query": "a", "positive": "y", "score": NaN}\n',
        "p.jsonl:2, column 'score': the score is nan; write a finite number: above 0 is relevant",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_file_is_refused_with_place_and_fix(tmp_path: Path, case: str) -> None:
    name, content, message = FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert caught.value.fix
    assert "\n" not in str(caught.value)


GOOD = {"query": "a", "positive": "x"}
ROWS: dict[str, tuple[list[Any], str]] = {
    "empty query": (
        [GOOD, GOOD | {"query": " "}],
        "data:2: the query (column 'query') is empty; fill it in",
    ),
    "missing positive": (
        [GOOD, {"query": "b"}],
        "data:2: the query has no positive: column 'positive' is empty; fill",
    ),
    "empty list": ([GOOD, {"query": "b", "positive": []}], "data:2: the query has no positive"),
    "empty in list": ([GOOD | {"positive": ["x", ""]}], "data:1: one of the positives is empty; remove it"),
    "number for text": (
        [GOOD | {"positive": 5}],
        "data:1, column 'positive': 5 is of type int, not text; write it",
    ),
    "score is no number": (
        [GOOD | {"score": "high"}],
        "data:1, column 'score': 'high' is not a number; write the",
    ),
    "empty split": (
        [GOOD | {"split": ""}],
        "data:1, column 'split': the split is empty; write train, dev or test",
    ),
    "id twice": (
        [GOOD | {"query_id": 1}, {"query": "b", "positive": "x", "query_id": 1}],
        "data:2: query id '1' has another text at data:1; give every text its own id, or remove",
    ),
    "empty id": (
        [GOOD | {"query_id": None}],
        "data:1, column 'query_id': the id is empty; give every row an id",
    ),
    "odd id": ([GOOD | {"query_id": 1.5}], "data:1, column 'query_id': 1.5 is no id; give every row an id"),
    "ids for positives": (
        [GOOD | {"positive": ["x", "y"], "document_id": "d"}],
        "data:1, column 'document_id': 1 ids for 2 positives; give one id for each positive",
    ),
    "no positives at all": (
        [GOOD | {"score": 0}],
        "data: no query has a relevant document; add rows with a positive",
    ),
    "tuple": ([("a", "x")], 'data:1: row 1 is a tuple, not a dict; name the columns: {"query"'),
    "nothing": ([], "data: there are no rows; give a file with at least one row of data"),
    "no label": (
        [{"text": "a", "label": None}],
        "data:1: the label (column 'label') is empty; fill it in",
    ),
    "empty text": (
        [{"text": "", "label": "x"}],
        "data:1: the text (column 'text') is empty; fill it in",
    ),
    "empty label in list": (
        [{"text": "a", "label": ["x", ""]}],
        "data:1, column 'label': one of the labels is empty; remove it from the list",
    ),
    "list that is not JSON": (
        [{"text": "a", "label": "['x', 'y']"}],
        "data:1, column 'label': \"['x', 'y']\" looks like a list, and is none in JSON; write several",
    ),
    "labels in one text": (
        [{"text": "a", "label": "x"}, {"text": "b", "label": "x;y"}],
        "data:2, column 'label': 'x;y' may be one label or 2: 'x' is a label of its own; "
        'write several as a list, ["x", "y"], and one without ";"',
    ),
    "labels with commas, all known": (
        [{"text": "a", "label": "x, y"}, {"text": "b", "label": "x"}, {"text": "c", "label": ["y", "z"]}],
        "data:1, column 'label': 'x, y' may be one label or 2: 'x' and 'y' are labels of their own; write",
    ),
    "labels that are never alone": (
        [{"text": "a", "label": "x|y"}, {"text": "b", "label": "y|z"}],
        "data:1, column 'label': 'x|y' may be one label or 2: 'y' comes in others too; write",
    ),
    "labelled id twice": (
        [{"id": 1, "text": "a", "label": "x"}, {"id": 1, "text": "a", "label": "y"}],
        "data:2: id '1' has another content at data:1; give every row its own id, or remove one of the two",
    ),
    "two layouts": (
        [{"text": "a", "label": "x"}, {"query": "a", "positive": "b"}],
        "data:2: these columns (text, label, query, positive) are for retrieval, those before",
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_bad_row_is_refused_with_place_and_fix(case: str) -> None:
    rows, message = ROWS[case]
    with pytest.raises(DataError) as caught:
        read(rows)
    assert message in str(caught.value)
    assert caught.value.fix


def test_a_label_may_have_any_name_that_is_not_ambiguous() -> None:
    names = ["food, drink", "food", "either;or", "[unknown]", '["a;b", "a"]', "[1, 2]", "up/down", "up"]
    data = read([{"text": f"text {n}", "label": name} for n, name in enumerate(names)])
    assert data.labels == [
        *(
            ["food, drink"],
            ["food"],
            ["either;or"],
            ["[unknown]"],
            ["a;b", "a"],
            ["1", "2"],
            ["up/down"],
            ["up"],
        )
    ]


LENIENT = ("empty query", "missing positive", "empty list", "id twice")


@pytest.mark.parametrize("case", LENIENT)
def test_lenient_reading_goes_on_without_the_row(case: str) -> None:
    data = read(ROWS[case][0], strict=False)
    assert data.query_texts == ["a"]
    assert [problem.line for problem in data.problems] == [2]


def test_lenient_reading_of_labels() -> None:
    data = read(
        [{"text": "a", "label": "x"}, {"text": "", "label": "x"}, {"text": "b", "label": ""}], strict=False
    )
    assert data.labels == [["x"]]
    assert [(problem.code, problem.line) for problem in data.problems] == [
        ("empty-texts", 2),
        ("no-label", 3),
    ]


def test_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such file or folder; check the path"):
        read(tmp_path / "nowhere")


def test_folder_without_data_lists_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("query,positive\n", "utf-8")
    with pytest.raises(DataError, match=r"no dataset in this folder; it holds pairs\.csv"):
        read(tmp_path)


def test_split_file_in_two_formats(tmp_path: Path) -> None:
    for name in ("train.csv", "train.tsv"):
        (tmp_path / name).write_text("query\tpositive\na\tx\n", "utf-8")
    with pytest.raises(DataError, match=r"split 'train' is there twice: train\.csv, train\.tsv; keep one"):
        read(tmp_path)


def test_split_file_with_only_a_header(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("query,positive\na,x\n", "utf-8")
    (tmp_path / "test.csv").write_text("query,positive\n", "utf-8")
    with pytest.raises(DataError, match=r"test\.csv: split 'test' has no rows; add rows to it"):
        read(tmp_path)
    assert [problem.code for problem in read(tmp_path, strict=False).problems] == ["empty-splits"]


def test_source_of_a_kind_that_no_reader_takes() -> None:
    with pytest.raises(DataError, match="cannot read a dataset from int; give one of: folder of corpus"):
        read(5)


def test_unknown_task_and_role() -> None:
    with pytest.raises(UserError, match="no task called 'ranking'; choose from retrieval, class"):
        read([GOOD], task="ranking")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="there is no role called 'quary'; choose from "):
        read([GOOD], roles={"quary": "query"})
