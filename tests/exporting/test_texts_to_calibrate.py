"""Texts to calibrate on, from whatever file they are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedtune.errors import DataError
from embedtune.exporting.texts import read_texts


def test_lines_of_a_text_file(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("one\n\n two \n", "utf-8")
    assert read_texts(file) == ["one", "two"]


def test_a_dataset_and_a_collection(tmp_path: Path) -> None:
    pairs, collection = tmp_path / "pairs.csv", tmp_path / "pages.csv"
    pairs.write_text("query,positive\nasked,answer\nasked too,another\n")
    assert read_texts(pairs) == ["answer", "another", "asked", "asked too"]
    collection.write_text("title,text\nHead,body\n")
    assert read_texts(collection) == ["Head body"]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_texts(tmp_path / "nothing.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_texts(tmp_path / "latin.txt")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError):
        read_texts(tmp_path / "other.csv")
