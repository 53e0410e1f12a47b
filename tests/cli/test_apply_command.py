"""``embedtune apply``: what is shown, written and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedtune.artifact.tuned import Tuned
from embedtune.encoders.vectors import VectorsEncoder, write_vectors
from embedtune.transforms import Linear


@pytest.fixture
def stored(tmp_path):
    """Give a folder of vectors, as a store, and a model whose map moves them."""
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((300, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"d{i}" for i in range(300)]
    write_vectors(tmp_path / "stored", "document", ids, vectors)
    encoder = VectorsEncoder.from_arrays({"documents": (ids, vectors)})
    matrix = (np.eye(8) + 0.3 * rng.standard_normal((8, 8))).astype(np.float32)
    out = Tuned(encoder, Linear.shared(matrix)).save(tmp_path / "tuned")
    return out, f"numpy://{tmp_path}/stored", tmp_path / "stored/documents.npy"


def test_plan_apply_roll_back_and_prune(run, stored, tmp_path):
    model, url, path = stored
    old = path.read_bytes()
    plan = run("apply", model, "--store", url, "--no-probe", "--dry-run", "--json", tmp_path / "plan.json")
    assert plan.exit_code == 0, plan.stderr
    assert "would write version" in plan.stdout
    told = json.loads((tmp_path / "plan.json").read_text())
    assert (told["status"], told["rows"], told["bytes"]) == ("dry run", 300, 300 * 8 * 4)
    assert path.read_bytes() == old
    done = run("apply", model, "--store", url, "--no-probe", "--batch", 50, "--json", "-")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["written"], told["verified"]["sample"]) == ("switched", 300, 300)
    assert "recall@10 against exact search: 1.000" in done.stderr
    assert f"to go back: embedtune apply --store {url} --rollback" in done.stderr
    assert path.read_bytes() != old
    back = run("apply", "--store", url, "--rollback")
    assert back.exit_code == 0, back.stderr
    assert "rolled back" in back.stdout
    assert path.read_bytes() == old
    again = run("apply", model, "--store", url, "--no-probe")
    assert again.exit_code == 2
    assert "go on with --resume, or remove it with --prune" in again.stderr
    assert f"removed: {told['version']}" in run("apply", "--store", url, "--prune").stdout
    assert run("apply", "--store", url, "--prune").stdout.strip() == "there was nothing to remove"
    assert path.read_bytes() == old


def test_a_model_of_queries_alone_says_so_and_stops(run, stored, tmp_path):
    encoder = VectorsEncoder.from_arrays({"documents": (["a"], np.eye(1, 8, dtype=np.float32))})
    model = Tuned(encoder, Linear(query=2 * np.eye(8, dtype=np.float32))).save(tmp_path / "query-only")
    result = run("apply", model, "--store", "postgresql://me:hidden@nowhere/db?table=docs")
    assert result.exit_code == 0, result.stderr
    assert "nothing to write: this model maps queries alone" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no model is given"),
        (("--rollback", "--prune"), "asked for at once"),
        (("--rollback",), "there is no version to go back to"),
    ],
)
def test_what_does_not_fit_is_one_line(run, stored, options, message):
    result = run("apply", "--store", stored[1], *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_password_is_never_shown(run, stored):
    pytest.importorskip("psycopg")
    url = "postgresql://me:hidden@127.0.0.1:1/shop?table=docs&column=embedding"
    result = run("apply", stored[0], "--store", url, "--no-probe")
    assert result.exit_code == 2
    assert "postgresql://me:***@127.0.0.1:1/shop" in result.stderr
    assert "hidden" not in result.output + result.stderr


def test_a_base_that_is_not_there_cannot_be_compared(run, stored):
    result = run("apply", stored[0], "--store", stored[1])
    assert result.exit_code == 2
    assert "--no-probe" in result.stderr


def test_tune_reads_the_documents_from_a_store(run, shifted, tmp_path):
    data, vectors = shifted
    url = f"numpy://{vectors}"
    result = run("tune", data, "--base", f"vectors:{vectors}", "--from-store", url, "--out", tmp_path / "t")
    assert result.exit_code == 0, result.stderr
    assert "saved the tuned model" in result.stdout


def test_tune_keeps_to_a_limit_on_memory_or_says_what_it_takes(run, shifted, tmp_path):
    data, vectors = shifted
    url = f"numpy://{vectors}"
    command = ["tune", data, "--base", f"vectors:{vectors}", "--from-store", url, "--method", "linear"]
    result = run(*command, "--out", tmp_path / "t", "--memory", "4GB")
    assert result.exit_code == 0, result.stderr
    for size, message in (("30MB", "GB of memory, and 0.03 GB are allowed"), ("much", "is no size above")):
        result = run(*command, "--out", tmp_path / "u", "--memory", size)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())
