"""The scripts in examples/ run, and say what they should."""

from __future__ import annotations

import contextlib
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(folder_with_data, monkeypatch, capsys):
    def script(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        exits = pytest.raises(SystemExit) if "sys.exit(" in (EXAMPLES / name).read_text("utf-8") else None
        with exits or contextlib.nullcontext() as end:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        assert end is None or end.value.code == 0
        return capsys.readouterr().out

    return script


def test_own_search_then_the_gate_for_ci(run):
    said = run("own_search.py", "tuned")
    assert said.count("verdict: ") == 1
    assert "heron" in said  # the page about builds that wait
    assert "24 queries" in run("evaluate_in_ci.py", "tuned")


def test_bring_vectors(run):
    said = run("bring_vectors.py", "vectors")
    assert "['documents.ids.txt', 'documents.npy', 'queries.ids.txt', 'queries.npy']" in said
    assert "verdict: " in said


def test_sentence_transformers_roundtrip(run):
    assert "stock loader: exact" in run("sentence_transformers_roundtrip.py", "stock")


def test_find_duplicates(run):
    said = run("find_duplicates.py", "duplicates")
    assert "same from a similarity of" in said
    assert "the lift is stuck: [True, False]" in said
    assert "the lift stops between floors | elevator got stuck halfway | lift hangs" in said


def test_every_example_is_run_here():
    here = Path(__file__).read_text("utf-8")
    assert all(f'"{path.name}"' in here for path in EXAMPLES.glob("*.py"))
