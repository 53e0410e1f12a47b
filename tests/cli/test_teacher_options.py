"""``embedtune tune --teacher``: every kind from the command line, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from teacher_world import LABELLED, QUERIES, World, make_world, write

from embedtune.encoders.vectors import write_vectors


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("world"))
    for name, side in (("base", made.base), ("teacher", made.teacher)):
        write_vectors(made.folder.parent / name, "query", *side["queries"])
        write_vectors(made.folder.parent / name, "document", *side["documents"])
    return made


def test_labels_of_vectors_and_of_a_file_of_scores(run, world: World, tmp_path: Path) -> None:
    place = world.folder.parent
    rows = [
        {"query": f"query {i}", "document": f"document {world.truth[i]}", "score": 1.0}
        for i in range(LABELLED, QUERIES - 100)
    ]
    scores = write(tmp_path / "scores.jsonl", rows)
    told = []
    for number, teacher in enumerate((f"vectors:{place / 'teacher'}", scores)):
        command = ("tune", world.folder, "--base", f"vectors:{place / 'base'}", "--method", "ridge")
        out = tmp_path / f"out-{number}"
        result = run(*command, "--teacher", teacher, "--out", out, "--json", tmp_path / "r.json")
        assert result.exit_code == 0, result.stderr
        found = json.loads((tmp_path / "r.json").read_text())
        assert found["made"]["labels"] == len(rows)
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["data"]["made"] == found["made"]
        assert "labels were made, by teacher" in " ".join(result.stdout.split())
        assert f"labels: {len(rows)} of" in (out / "README.md").read_text()
        told.append(manifest["settings"]["teacher"])
    assert told[1] == "scores.jsonl"


def test_queries_of_a_file_join_those_of_the_data(run, tiny_model: Path, tmp_path: Path) -> None:
    words = ("heart", "lung", "liver", "kidney", "skin", "eye", "ear", "nose", "head", "stomach")
    rows = [
        {"query": f"{word} {kind}", "positive": f"{kind} of the {word}"}
        for word in words
        for kind in ("pain", "ache")
    ]
    data = write(tmp_path / "pairs.jsonl", rows)
    (tmp_path / "more.txt").write_text("heart pain\nred skin\nlow blood sugar in the head\n\n")
    result = run(
        "tune", data, "--base", tiny_model, "--teacher", tiny_model, "--queries", tmp_path / "more.txt",
        "--method", "ridge", "--out", tmp_path / "out", "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    made = json.loads((tmp_path / "r.json").read_text())["made"]
    assert made is None or made["labels"] <= 2  # the first is labelled already
    assert json.loads((tmp_path / "out/manifest.json").read_text())["data"]["counts"]["queries"] == 22


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--queries", "log.txt"), "--queries is for a teacher; add --teacher"),
        (("--teacher-api-base", "http://x/v1"), "--teacher-api-base is for a teacher; add --teacher"),
        (("--teacher", "cross-encoder:./none"), "./none: there is no such folder; check the path"),
        (("--teacher", "scores.csv"), "scores.csv: there is no such file; check the path"),
    ],
)
def test_what_does_not_fit_is_one_line(run, world: World, tmp_path: Path, options, said: str) -> None:
    result = run("tune", world.folder, "--base", world.folder, "--out", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_vectors_of_different_dimensions_are_refused(run, world: World, tmp_path: Path) -> None:
    write_vectors(tmp_path / "odd", "query", *world.teacher["queries"])
    write_vectors(tmp_path / "odd", "document", world.teacher["documents"][0], np.ones((100, 3), np.float32))
    base, odd = f"vectors:{world.folder.parent / 'base'}", f"vectors:{tmp_path / 'odd'}"
    result = run("tune", world.folder, "--base", base, "--teacher", odd, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "dimensions differ: " in result.stderr
