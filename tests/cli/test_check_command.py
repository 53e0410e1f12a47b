"""``embedtune check``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest


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


FOUND = {
    # code: (how many, where the first example stands)
    "empty-texts": (1, "queries.jsonl:34"),
    "empty-documents": (1, "corpus.jsonl:31"),
    "duplicate-documents": (1, "corpus.jsonl:32"),
    "duplicate-queries": (1, "queries.jsonl:35"),
    "same-text-in-splits": (2, "queries.jsonl:2"),
    "near-duplicates-in-splits": (2, "queries.jsonl:3"),
    "missing-ids": (1, "qrels/train.tsv:34"),
    "contradicting-judgements": (1, "qrels/train.tsv:32"),
    "long-documents": (1, "corpus.jsonl:33"),
    "few-labels": (32, "queries.jsonl:1"),
    "few-test-labels": (2, "queries.jsonl:31"),
    "concentrated-labels": (30, "corpus.jsonl:2"),
    "query-equals-document": (1, "queries.jsonl:33"),
}


@pytest.fixture
def everything_wrong(tmp_path: Path) -> Path:
    """Give a BEIR folder with something of all that is looked for."""
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    documents = {f"d{n}": f"heart pain document number {n}" for n in range(30)}
    documents |= {"empty": "", "twice": "heart pain document number 3", "long": "heart " * 30}
    queries = {f"q{n}": f"what is item {n} good for in the night" for n in range(30)}
    queries |= {
        "same": "What is item 1 good for in the night",
        "near": "what is item 2 good for in the night then",
        "equal": "Heart pain, document number 7",
        "blank": " ",
        "twice": "what is item 5 good for in the night",
    }
    train = [f"q{n}\t{'d1' if n < 25 else f'd{n}'}\t1" for n in range(30)]
    train += ["q3\td1\t0", "equal\td7\t1", "q4\tmissing\t1", "twice\td2\t1"]
    lines = {
        "corpus.jsonl": [json.dumps({"_id": id, "text": text}) for id, text in documents.items()],
        "queries.jsonl": [json.dumps({"_id": id, "text": text}) for id, text in queries.items()],
        "qrels/train.tsv": ["query-id\tcorpus-id\tscore", *train],
        "qrels/test.tsv": ["query-id\tcorpus-id\tscore", "same\td2\t1", "near\td4\t1"],
    }
    for name, content in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in content), "utf-8")
    return folder


def test_everything_is_found_with_how_many_where_and_how_to_mend(run, everything_wrong, tiny_model):
    result = run("check", everything_wrong, "--base", tiny_model, "--json", everything_wrong / "r.json")
    assert result.exit_code == 3, result.stderr
    findings = json.loads((everything_wrong / "r.json").read_text("utf-8"))["findings"]
    places = {
        one["code"]: (one["count"], f"{one['examples'][0]['file']}:{one['examples'][0]['line']}")
        for one in findings
    }
    assert places == {code: (n, f"{everything_wrong}/{place}") for code, (n, place) in FOUND.items()}
    assert all(one["remedy"] in result.stdout for one in findings)
    lost = next(one["message"] for one in findings if one["code"] == "long-documents")
    assert re.search(r"longer than the 24 tokens that tiny reads: 8 of .* tokens .* are lost", lost)


def test_a_store_is_checked_against_a_model(run, shifted, tmp_path):
    data, vectors = shifted
    folder = tmp_path / "tuned"
    tuned = run("tune", data, "--base", f"vectors:{vectors}", "--out", folder, "--method", "ridge")
    assert tuned.exit_code == 0, tuned.stderr
    well = run(
        "check", data, "--store", f"numpy://{vectors}", "--model", folder, "--json", tmp_path / "a.json"
    )
    assert well.exit_code == 0, well.output
    told = json.loads((tmp_path / "a.json").read_text())
    assert (told["rows"], told["errors"], told["store"]) == (200, 0, f"numpy://{vectors}")
    stored = np.load(vectors / "documents.npy")
    stored[[3, 7]] = 0
    (tmp_path / "bad").mkdir()
    np.save(tmp_path / "bad/documents.npy", stored)
    (tmp_path / "bad/documents.ids.txt").write_text((vectors / "documents.ids.txt").read_text())
    ill = run("check", "--store", f"numpy://{tmp_path}/bad", "--model", folder)
    assert ill.exit_code == 3
    assert "error: 2 rows of zeros alone" in ill.stdout
    assert "ids d3, d7" in ill.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no data is given"),
        (("--store", "numpy:///nowhere"), "--model DIR is not given"),
        (("--model", "tuned"), "--store URL is not given"),
    ],
)
def test_what_is_missing_is_said_in_one_line(run, options, message):
    result = run("check", *options)
    assert result.exit_code == 2
    assert message in result.stderr
