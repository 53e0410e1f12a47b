"""``--slice`` of tune and evaluate, the table on the terminal, and headings by task."""

from __future__ import annotations

import json

import pytest

from embedtune.cli.output import Output
from embedtune.cli.verdict import show_verdict


@pytest.fixture
def with_teams(shifted):
    data, vectors = shifted
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    data.write_text(
        "".join(json.dumps(row | {"team": f"team {i % 3}", "own": i}) + "\n" for i, row in enumerate(rows))
    )
    return data, f"vectors:{vectors}"


def test_tune_and_evaluate_show_a_table_and_write_it(run, with_teams, tmp_path, monkeypatch):
    data, base = with_teams
    monkeypatch.chdir(data.parent)
    monkeypatch.setenv("COLUMNS", "120")
    made = ("tune", data, "--base", base, "--method", "procrustes", "--out", tmp_path / "out")
    result = run(*made, "--slice", "team", "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.stderr
    assert "team = team 1" in result.stdout
    assert "p, adjusted" in result.stdout
    assert "queries that won most" in result.stdout
    written = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert [one["value"] for one in written["slices"]] == ["team 0", "team 1", "team 2"]
    assert sum(one["n"] for one in written["slices"]) == written["base"]["n"]
    assert written["weak_spots"] == []
    again = run(
        "evaluate", data, "--model", tmp_path / "out", "--slice", "team", "--json", tmp_path / "e.json"
    )
    assert again.exit_code == 0, again.stderr
    assert "team = team 1" in again.stdout
    assert json.loads((tmp_path / "e.json").read_text("utf-8"))["slices"] == written["slices"]


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("tema", "there is no column 'tema' to slice by"),
        ("own", "column 'own' has 400 values in 400 rows, too many to judge each"),
    ],
)
def test_a_column_that_cannot_be_used_is_a_mistake(run, with_teams, tmp_path, column, says):
    data, base = with_teams
    for command in (
        ("tune", data, "--base", base, "--out", tmp_path / "o"),
        ("evaluate", data, "--model", base),
    ):
        result = run(*command, "--slice", column)
        assert result.exit_code == 2
        assert says in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("task", "rows"),
    [
        ("retrieval", "queries"),
        ("classification", "items"),
        ("similarity", "pairs"),
        ("recommendation", "users"),
    ],
)
def test_winners_and_losers_are_headed_by_what_is_judged(capsys, task, rows):
    example = [{"query": "a [b] c", "base": 0.1, "tuned": 0.9}]
    spot = {"n": 12, "words": ["battery"], "examples": example}
    verdict = {
        "text": "verdict: tune",
        "task": task,
        "winners": example,
        "losers": example,
        "weak_spots": [spot],
    }
    show_verdict(Output(), verdict)
    shown = capsys.readouterr().out
    assert f"{rows} that won most" in shown
    assert f"{rows} that lost most" in shown
    assert f"a weak spot of 12 {rows} (battery)" in shown
    assert "a [b] c" in shown
