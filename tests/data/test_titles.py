"""What documents are called, of those that go on after it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedtune.data import Dataset, read
from embedtune.data.join import join_test
from embedtune.data.mixture import mix
from embedtune.data.titles import titles

REST = "it goes on about the same for a while"


def beir(path: Path, documents: list[dict[str, str]]) -> Dataset:
    (path / "qrels").mkdir(parents=True)
    rows = {"corpus": documents, "queries": [{"_id": "q", "text": f"a question of {path.name}"}]}
    for name, lines in rows.items():
        (path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    text = f"query-id\tcorpus-id\tscore\nq\t{documents[0]['_id']}\t1\n"
    (path / "qrels" / "train.tsv").write_text(text, "utf-8")
    return read(path)


@pytest.fixture
def mixed(tmp_path: Path) -> Dataset:
    return beir(
        tmp_path / "mixed",
        [
            {"_id": "titled", "title": "The stye", "text": f"A lump. Then {REST}."},
            {"_id": "plain", "title": "", "text": f"A cough lasts. Then {REST}."},
            {"_id": "only a title", "title": "The cold", "text": ""},
            {"_id": "spaces", "title": " The fever  ", "text": REST},
            {"_id": "endless", "title": "word " * 41, "text": REST},
            {"_id": "no letters", "title": "12 %", "text": REST},
        ],
    )


def test_titles_of_documents_that_do_not_stop_there(mixed: Dataset) -> None:
    texts, rows = titles(mixed, 10)
    assert texts == ["The stye", "The fever"]
    assert rows.tolist() == [0, 3]


def test_titles_are_kept_and_texts_are_as_before(mixed: Dataset) -> None:
    assert mixed.documents["title"].to_pylist()[:4] == ["The stye", None, "The cold", "The fever"]
    assert mixed.document_texts[0] == f"The stye A lump. Then {REST}."
    assert mixed.document_texts[3] == f"The fever   {REST}"


def test_no_column_where_no_document_has_a_title(tmp_path: Path) -> None:
    data = beir(tmp_path / "bare", [{"_id": "d", "title": "", "text": f"One. And {REST}."}])
    assert "title" not in data.documents.column_names
    texts, rows = titles(data, 10)
    assert texts == []
    assert rows.dtype == np.int64


def test_what_many_documents_are_called_says_nothing_of_one(tmp_path: Path) -> None:
    documents = [{"_id": f"d{i}", "title": "Introduction", "text": f"{REST} {i}"} for i in range(4)]
    documents += [{"_id": f"e{i}", "title": "Two of these", "text": f"{REST} {i}"} for i in range(2)]
    texts, rows = titles(beir(tmp_path / "same", documents), 10)
    assert texts == ["Two of these"] * 2
    assert rows.tolist() == [4, 5]


def test_a_part_is_drawn_by_the_seed(tmp_path: Path) -> None:
    documents = [{"_id": f"d{i}", "title": f"Title {i}", "text": REST + str(i)} for i in range(60)]
    data = beir(tmp_path / "many", documents)
    texts, rows = titles(data, 20, seed=1)
    assert len(texts) == 20
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert texts == [f"Title {row}" for row in rows]
    assert titles(data, 20, seed=1)[0] == texts
    assert titles(data, 20, seed=2)[0] != texts


@pytest.mark.parametrize("first", ["titled", "bare"])
def test_titles_survive_beside_data_without_any(tmp_path: Path, first: str) -> None:
    titled = beir(tmp_path / "titled", [{"_id": "a", "title": "The stye", "text": REST}])
    bare = beir(tmp_path / "bare", [{"_id": "b", "text": f"One. And {REST}."}])
    order = [titled, bare] if first == "titled" else [bare, titled]
    for joined in (mix([(one, 1.0) for one in order]), join_test(*order)):
        called = dict(zip(joined.document_texts, joined.documents["title"].to_pylist(), strict=True))
        assert called == {f"The stye {REST}": "The stye", f"One. And {REST}.": None}
