"""API models through the command line, in artifacts, and through fine_tune."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import embedtune
from embedtune import fine_tune
from embedtune.cli import app
from embedtune.encoders import load_encoder
from embedtune.errors import ArtifactError, TextsFailed, UserError

KEY = "sk-secret-of-the-test"
PARTS = ["heart", "lung", "liver", "kidney", "skin", "eye", "ear", "nose", "head", "stomach", "bone", "toe"]
SPLITS = ("train", "test", "train", "train")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"query": f"{part} ache", "positive": f"pain in the {part}", "split": SPLITS[number % 4]}
        for number, part in enumerate(PARTS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def keyed(serve: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MY_KEY", KEY)
    return serve("--key", KEY)


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def api(provider: Any, *more: Any) -> list[Any]:
    return ["--api-base", provider.base, "--api-key-env", "MY_KEY", *more]


def no_key_in(*places: Path) -> bool:
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return not any(KEY.encode() in path.read_bytes() for path in files)


def test_a_store_is_checked_and_migrated_from_within_a_limit(keyed: Any, tmp_path: Path) -> None:
    items, stored, prices = tmp_path / "items.jsonl", tmp_path / "stored", tmp_path / "prices.toml"
    rows = [{"id": f"i{i}", "text": f"{a} {b}", "label": a} for i, (a, b) in enumerate(product(PARTS, PARTS))]
    items.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    prices.write_text("[models.mine]\nprice = 2.0\n[models.other]\nprice = 2.0\n")
    assert run("encode", items, "--base", "mine", *api(keyed), "--out", stored).exit_code == 0
    checked = run("check", items, "--store", f"numpy://{stored}", "--model", "mine", *api(keyed))
    assert checked.exit_code == 0, checked.output
    assert "the stored vectors are those of the base" in checked.output
    move = ["migrate", items, "--old", f"numpy://{stored}", "--new", "other", "--sample", 40]
    move += ["--out", tmp_path / "bridge", "--json", tmp_path / "report.json"]
    dear = run(*move, *api(keyed, "--prices", prices, "--max-cost", 0))
    assert dear.exit_code == 2
    assert "stopped before the limit of 0 USD" in dear.stderr
    assert not (tmp_path / "bridge").exists()
    moved = run(*move, *api(keyed, "--prices", prices, "--max-cost", 1))
    assert moved.exit_code == 0, moved.output
    cost = json.loads((tmp_path / "report.json").read_text())["cost"]
    assert cost["currency"] == "USD"
    assert cost["bridge"] == pytest.approx(cost["re_embed"] * 40 / 144)
    assert "re-embedding everything costs at most about" in moved.stdout


def test_tune_search_evaluate_encode_and_check(
    keyed: Any, pairs: Path, tmp_path: Path, cache_folder_of_its_own: Path
) -> None:
    out, prices = tmp_path / "tuned", tmp_path / "prices.toml"
    prices.write_text("[models.mine]\nprice = 2.0\ndate = 2026-01-31\n")
    costs = ["--prices", prices, "--max-cost", 1]
    tuned = run(
        "tune", pairs, "--base", "mine", *api(keyed, *costs, "--dimensions", 32), "--force", "--out", out
    )
    assert tuned.exit_code == 0, tuned.stderr
    assert (
        "mine: 12 texts, at most about 82 tokens, 0.000164 USD (2 USD a million tokens as of 2026-01-31)"
        in (tuned.stderr)
    )
    base = json.loads((out / "manifest.json").read_text())["base"]
    assert base["name"] == "mine"
    assert base["kind"] == "api"
    assert base["dimension"] == 32
    assert base["api"] == {"api_base": keyed.base, "api_key_env": "MY_KEY", "dimensions": 32}
    paid = keyed.accounts()["charged"]

    found = run("search", pairs, "head ache", "--model", out, "-k", 3, "--json", tmp_path / "hits.json")
    assert found.exit_code == 0, found.stderr
    assert len(json.loads((tmp_path / "hits.json").read_text())["hits"]) == 3
    probes = 24  # twelve texts as queries and as documents, when the artifact is opened
    assert keyed.accounts()["charged"] == paid + probes
    judged = run("evaluate", pairs, "--model", out, "--against", "mine", *api(keyed, "--dimensions", 32))
    assert judged.exit_code == 0, judged.stderr
    encoded = run("encode", pairs, "--base", out, "--out", tmp_path / "vectors", "--max-cost", 1, *costs[:2])
    assert encoded.exit_code == 0, encoded.stderr
    checked = run("check", pairs, "--base", "mine", *api(keyed))
    assert checked.exit_code != 2, checked.output
    assert keyed.accounts()["charged"] == paid + 3 * probes + 1  # and one text for the dimension of `check`
    assert no_key_in(tmp_path, cache_folder_of_its_own)
    assert KEY not in tuned.output + found.output + judged.output + encoded.output + checked.output


def test_an_artifact_opens_again_with_the_key(
    keyed: Any, pairs: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    base = load_encoder("mine", api_base=keyed.base, api_key_env="MY_KEY", dimensions=32)
    tuned = fine_tune(base_model=base, data=pairs, force=True)
    tuned.save(tmp_path / "tuned")
    again = embedtune.load(tmp_path / "tuned", verify="full")
    np.testing.assert_allclose(
        again.encode_queries(["toe ache"]), tuned.encode_queries(["toe ache"]), atol=1e-6
    )
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UserError, match="mine needs a key, and MY_KEY is not set"):
        embedtune.load(tmp_path / "tuned").encode_queries(["toe ache"])


def test_another_model_at_the_same_address_is_found_out(serve: Any, pairs: Path, tmp_path: Path) -> None:
    base = load_encoder("mine", api_base=serve().base, dimensions=32)
    fine_tune(base_model=base, data=pairs, force=True).save(tmp_path / "tuned")
    changed = {"api_base": serve().base, "dimensions": 32, "similarity": "dot"}
    with pytest.raises(ArtifactError, match="gives other query vectors"):
        embedtune.load(tmp_path / "tuned", options=changed).encode_queries(["toe ache"])


def test_a_password_in_the_address_is_saved_nowhere(provider: Any, pairs: Path, tmp_path: Path) -> None:
    address = provider.base.replace("//", "//me:geheim@")
    base = load_encoder("mine", api_base=address, dimensions=32)
    fine_tune(base_model=base, data=pairs, force=True).save(tmp_path / "tuned")
    saved = json.loads((tmp_path / "tuned/manifest.json").read_text())["base"]["api"]["api_base"]
    assert saved == provider.base.replace("//", "//me:***@")
    assert not any(b"geheim" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(UserError, match=r"the password of .* was not saved with it; give the address again"):
        embedtune.load(tmp_path / "tuned").encode_queries(["x"])
    options = {"api_base": address}
    assert embedtune.load(tmp_path / "tuned", options=options).encode_queries(["x"]).shape == (1, 32)


def test_texts_that_fail_are_named_by_file_and_line(provider: Any, pairs: Path) -> None:
    with pairs.open("a") as file:
        file.write(json.dumps({"query": "ok", "positive": "POISON-400", "split": "train"}) + "\n")
    base = load_encoder("mine", api_base=provider.base, dimensions=32)
    with pytest.raises(TextsFailed, match=r"1 of 13 texts have no vector: .*pairs.jsonl:13 \(HTTP 400"):
        fine_tune(base_model=base, data=pairs)
    command = ["encode", pairs, "--base", "mine", "--api-base", provider.base, "--out", pairs.parent / "out"]
    result = run(*command)
    assert result.exit_code == 2
    assert "pairs.jsonl:13 (HTTP 400: invalid input)" in result.stderr
    assert not (pairs.parent / "out").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--base", "text-embedding-3-large"], "OPENAI_API_KEY is not set; export OPENAI_API_KEY=…"),
        (
            ["--base", "mine", "--api-base", "http://u:pw@127.0.0.1:9/v1"],
            "u:***@127.0.0.1:9/v1: it cannot be",
        ),
        (["--base", "mine", "--api-base", "BASE", "--max-cost", "1"], "no table has one for 'mine'"),
        (["--base", "mine", "--api-base", "BASE", "--prices", "nowhere.toml"], "prices cannot be read"),
        (["--base", "mine", "--api-base", "BASE", "--prices", "OTHERS"], "there is no price of 'mine' in it"),
        (
            ["--base", "static:x", "--max-cost", "1"],
            "--max-cost is for models that are reached through an API",
        ),
        (["--base", "mine", "--api-base", "nonsense"], "'nonsense' is no address of an API"),
    ],
)
def test_mistakes_end_with_2_and_one_line(provider: Any, pairs: Path, options: list[str], line: str) -> None:
    out = pairs.parent / "out"
    prices = pairs.parent / "prices.toml"
    prices.write_text("[models.others]\nprice = 1.0\n")
    stand = {"BASE": provider.base, "OTHERS": str(prices)}
    given = [stand.get(one, one) for one in options]
    result = run("tune", pairs, *given, "--out", out)
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert line in last
    assert "pw" not in result.output
    assert not out.exists()


def test_the_limit_of_cost_ends_with_2_and_keeps_what_was_paid(
    provider: Any, pairs: Path, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text("[models.mine]\nprice = 1e6\n")
    command = ["tune", pairs, "--base", "mine", "--api-base", provider.base, "--dimensions", 32]
    command += ["--prices", prices, "--out", tmp_path / "out"]
    stopped = run(*command, "--max-cost", 60)
    assert stopped.exit_code == 2
    assert "stopped before the limit of 60 USD" in stopped.stderr
    paid = provider.accounts()["charged"]
    assert 0 < paid < 24
    assert run(*command, "--max-cost", 1000).exit_code == 0
    each = provider.accounts()["each"]
    assert all(times == 1 for text, times in each.items() if text.startswith("pain in the"))
