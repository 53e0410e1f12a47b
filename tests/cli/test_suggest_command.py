"""``embedtune suggest``."""

from __future__ import annotations

import csv
import json

PAIRS = [("heart pain", "ache in the heart", 4), ("high fever", "cold skin", 1), ("red eye", "red nose", 2)]


def test_pairs_to_score_as_a_file(run, tiny_model, tmp_path):
    data, out = tmp_path / "pairs.jsonl", tmp_path / "next.csv"
    rows = [{"sentence1": a, "sentence2": b, "score": score} for a, b, score in PAIRS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ask = ("suggest", data, "--model", tiny_model, "-n", 4, "--out")
    done = run(*ask, out, "--json", tmp_path / "result.json")
    assert done.exit_code == 0, done.output
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 4
    assert all(row["score"] == "" and row["sentence1"] != row["sentence2"] for row in found)
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row["sentence1"] for row in result["rows"]] == [row["sentence1"] for row in found]
    again = tmp_path / "again.csv"
    assert run(*ask, again).exit_code == 0
    assert again.read_text() == out.read_text()


def test_mistakes_are_told_in_one_line_and_leave_nothing(run, pairs, tiny_model, tmp_path):
    out = tmp_path / "next.csv"
    done = run("suggest", pairs, "--model", tiny_model, "--out", out)
    assert done.exit_code == 2
    assert "every query is judged" in done.output
    assert not out.exists()
    assert run("suggest", pairs, "--model", tiny_model, "--out", tmp_path / "next.xlsx").exit_code == 2
    missing = run("suggest", pairs, "--model", tiny_model, "--out", out, "--pool", tmp_path / "no.txt")
    assert missing.exit_code == 2
    assert "no.txt: there is no such file" in missing.output


def test_queries_of_a_pool(run, pairs, tiny_model, tmp_path):
    out, pool = tmp_path / "next.jsonl", tmp_path / "pool.txt"
    pool.write_text("sharp head ache\nstrong cough\nheart ache\n")  # the last one is judged already
    done = run("suggest", pairs, "--model", tiny_model, "-n", 5, "--out", out, "--pool", pool)
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["query"] for row in found) == ["sharp head ache", "strong cough"]
    assert all(row["positive"] == "" for row in found)
