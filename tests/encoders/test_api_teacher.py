"""A teacher behind an API: what it costs is told, one limit holds, and nothing is paid for twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from embedtune.cli import app

KEY = "sk-secret-of-the-test"
PARTS = ["heart", "lung", "liver", "kidney", "skin", "eye", "ear", "nose", "head", "stomach", "bone", "toe"]


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_a_local_base_learns_from_a_model_behind_an_api(
    serve: Any, monkeypatch: Any, tiny_model: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    provider = serve("--key", KEY)
    pairs, more = tmp_path / "pairs.jsonl", tmp_path / "more.txt"
    rows = [{"query": f"{part} ache", "positive": f"pain in the {part}"} for part in PARTS]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    more.write_text("pain in my heart\nlung pain\n", "utf-8")
    prices = tmp_path / "prices.toml"
    prices.write_text("[models.mine]\nprice = 2.0\ndate = 2026-01-31\n")
    command = (
        "tune", pairs, "--base", tiny_model, "--method", "ridge", "--teacher", "mine", "--queries", more,
        "--teacher-api-base", provider.base, "--api-key-env", "MY_KEY", "--prices", prices,
    )  # fmt: skip
    refused = run(*command, "--max-cost", 0.000001, "--out", tmp_path / "none")
    assert refused.exit_code == 2
    assert "stopped before the limit of 1e-06 USD" in refused.stderr
    done = run(*command, "--max-cost", 1, "--out", tmp_path / "out", "--json", tmp_path / "r.json")
    assert done.exit_code == 0, done.stderr
    assert "mine: 12 texts, at most about" in done.stderr
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["settings"]["teacher"] == "mine"
    assert manifest["base"]["name"] == tiny_model.name
    paid = provider.accounts()["charged"]
    again = run(*command, "--max-cost", 1, "--out", tmp_path / "again")
    assert again.exit_code == 0, again.stderr
    assert "texts, at most about" not in again.stderr  # all of it is in the cache
    assert provider.accounts()["charged"] == paid
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
