"""``embedtune check``."""

from __future__ import annotations

import json


def test_a_dataset_without_errors_exits_with_0(run, pairs):
    result = run("check", pairs)
    assert result.exit_code == 0
    assert "retrieval, 22 queries, 22 documents" in result.stdout
    assert "0 errors" in result.stdout


def test_errors_exit_with_3_and_name_file_line_and_remedy(run, pairs):
    pairs.write_text(pairs.read_text() + '{"query": "fever", "positive": "", "split": "test"}\n')
    result = run("check", pairs)
    assert result.exit_code == 3
    assert "pairs.jsonl:23" in result.stdout
    assert "→" in result.stdout


def test_json_to_stdout_is_nothing_but_json(run, pairs):
    pairs.write_text(pairs.read_text() + '{"query": "fever", "positive": "", "split": "test"}\n')
    result = run("check", pairs, "--json", "-")
    assert result.exit_code == 3
    written = json.loads(result.stdout)
    assert written["data"]["task"] == "retrieval"
    assert written["errors"] == sum(finding["severity"] == "error" for finding in written["findings"]) > 0


def test_with_a_base_texts_that_it_would_cut_are_found(run, pairs, tiny_model):
    long = json.dumps({"query": "fever", "positive": "head " * 60, "split": "train"})
    pairs.write_text(pairs.read_text() + long + "\n")
    cut = run("check", pairs, "--base", tiny_model, "--json", "-")
    assert "long-documents" in {finding["code"] for finding in json.loads(cut.stdout)["findings"]}


def test_a_missing_file_is_one_line_and_2(run, tmp_path):
    result = run("check", tmp_path / "nope.csv")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert (
        result.stderr == f"error: {tmp_path / 'nope.csv'}: there is no such file or folder; check the path\n"
    )


def test_broken_json_names_the_line(run, pairs):
    pairs.write_text(pairs.read_text() + "{broken\n")
    result = run("check", pairs)
    assert result.exit_code == 2
    assert f"{pairs}:23" in result.stderr
    assert result.stderr.count("\n") == 1
