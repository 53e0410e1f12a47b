"""``embedtune doctor``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from embedtune.cli import diagnosis


def test_what_is_installed_is_named_with_its_version(run, cache_folder_of_its_own):
    result = run("doctor", "--json", "-")
    assert result.exit_code == 0, result.stdout
    found = json.loads(result.stdout)
    assert found["versions"]["numpy"] == sys.modules["numpy"].__version__
    assert found["cache"]["folder"] == str(cache_folder_of_its_own)
    assert found["cache"]["bytes"] == 0
    assert found["cache"]["limit_bytes"] == 4_000_000_000
    assert found["problems"] == []


def test_text_has_every_section(run):
    shown = run("doctor").stdout
    for section in ("versions", "extras", "processor", "torch", "models", "cache", "problems"):
        assert f"{section}\n" in shown


def test_a_bad_size_and_an_unwritable_cache_are_problems_with_remedies(run, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMBEDTUNE_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("EMBEDTUNE_CACHE_SIZE", "much")
    result = run("doctor", "--json", "-")
    assert result.exit_code == 3
    size, folder = json.loads(result.stdout)["problems"]
    assert "'much' is not a size; give bytes" in size
    assert "set EMBEDTUNE_CACHE_DIR" in folder


def test_a_torch_that_does_not_import_is_a_problem(run, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = run("doctor")
    assert result.exit_code == 3
    assert "ImportError: libcudart.so: cannot open" in result.stdout


def test_an_extra_that_is_not_installed_comes_with_the_line_that_installs_it(monkeypatch):
    required = ["numpy>=2.0", "no-such-package>=1; extra == 'static'", "numpy>=2.0; extra == 'demo'"]
    monkeypatch.setattr(diagnosis.metadata, "requires", lambda _: required)
    found = diagnosis.extras()
    assert found["static"]["missing"] == ["no-such-package"]
    assert found["static"]["remedy"] == "pip install 'embedtune[static]'"
    assert found["demo"]["installed"]


def test_models_that_were_downloaded_are_found(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    (Path(tmp_path) / "models--owner--name").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert diagnosis.models()["owner/name"] == "downloaded before"
