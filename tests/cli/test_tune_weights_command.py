"""``embedtune tune --method layers``: interrupted, resumed, refused."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

import embedtune

ORGANS = ["heart", "lung", "liver", "kidney", "skin", "eye", "ear", "nose", "head", "stomach", "bone"]
KINDS = [("ache", "pain"), ("weak", "failure"), ("itch", "rash"), ("tired", "sleep"), ("cold", "cough")]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Give 1,650 pairs; a sixth of them is the test split."""
    path = tmp_path / "many.jsonl"
    rows = [
        {
            "query": f"{degree} {small} {organ} {said}",
            "positive": f"{meant} {small} the {organ} {degree}",
            "split": "test" if degree == "broken" else "train",
        }
        for degree in ("high", "low", "strong", "red", "attack", "broken")
        for small in ("a", "of", "and", "in", "the")
        for organ in ORGANS
        for said, meant in KINDS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_ctrl_c_keeps_the_best_so_far_and_resume_goes_on(start, run, many, deep_model, tmp_path):
    out, kept = tmp_path / "tuned", tmp_path / "tuned.checkpoint"
    arguments = ("tune", many, "--base", deep_model, "--out", out, "--method", "layers", "--layers", 1)
    process = start(*arguments, PYTHONPATH=str(Path(embedtune.__file__).parents[1]))
    try:
        started = time.monotonic()
        while not (kept / "state.json").is_file() and process.poll() is None:
            assert time.monotonic() - started < 300, "the machine is too slow for this test"
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "interrupted at step" in err
    assert err.endswith("go on with --resume\n")
    assert "Traceback" not in err
    assert not out.exists()

    again = run(*arguments)
    assert again.exit_code == 2
    assert "an unfinished training is kept here; go on with --resume, or delete it" in again.stderr

    other = run("tune", many, "--base", deep_model, "--out", out, "--method", "full", "--resume")
    assert other.exit_code == 2
    assert "the checkpoint is of other settings" in other.stderr

    resumed = run(*arguments, "--resume", "--json", tmp_path / "r.json")
    assert resumed.exit_code == 0, resumed.stderr
    assert not kept.exists()
    assert json.loads((tmp_path / "r.json").read_text())["method"].startswith("layers × ")
    assert embedtune.load(out).encode_queries(["heart ache"]).shape == (1, 32)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--method", "layers", "--layers", "7"], "has 2 layers, not 7; choose from 1 to 2"),
        (["--method", "full", "--layers", "1"], "layers are counted for method 'layers'"),
        (["--method", "layers", "--resume"], "there is no checkpoint to go on from; run without --resume"),
        (["--method", "table"], "take layers, lora or full"),
        (["--method", "layers", "--budget", "1s"], "give more time"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_2(run, many, deep_model, tmp_path, flags, named):
    result = run("tune", many, "--base", deep_model, "--out", tmp_path / "tuned", *flags)
    assert result.exit_code == 2, result.output
    assert named in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "tuned").exists()
