from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedtune.errors import ArtifactError
from embedtune.transforms import Linear, files, load_transform, save_transform
from embedtune.transforms.files import save_tensors


@pytest.fixture
def entry(tmp_path: Path) -> dict:
    return save_transform(Linear(np.eye(3, dtype=np.float32)), tmp_path, "it")


def test_unknown_kind(entry: dict, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no transform called 'warp'"):
        load_transform({**entry, "kind": "warp"}, tmp_path)


def test_missing_file(entry: dict, tmp_path: Path) -> None:
    (tmp_path / entry["file"]).unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_transform(entry, tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 40, -4])
def test_truncated_file(entry: dict, tmp_path: Path, kept: int) -> None:
    path = tmp_path / entry["file"]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match="damaged"):
        load_transform(entry, tmp_path)


def test_the_bytes_are_those_of_the_safetensors_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ROWS", 2)
    rng = np.random.default_rng(0)
    tensors = {
        "b": rng.standard_normal((5, 3)).astype(np.float32),
        "a": rng.standard_normal((3, 5)).T,
        "ünïcode": rng.standard_normal(7).astype(np.float16),
        "bytes": np.arange(5, dtype=np.uint8),
        "numbers": np.arange(3),
        "none": np.zeros((0, 4), np.float32),
        "c": rng.standard_normal((1, 2, 3)).astype(np.float32),
    }
    save_tensors(tensors, tmp_path / "own")
    whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(whole, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "own").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"query": np.zeros((3, 3), np.float64)},
        {"query": np.zeros(3, np.float32)},
        {"query": np.full((3, 3), np.inf, np.float32)},
        {"query": np.zeros((2, 3), np.float32)},
    ],
)
def test_tensors_that_make_no_map(entry: dict, tmp_path: Path, tensors: dict) -> None:
    save_tensors(tensors, tmp_path / entry["file"])
    with pytest.raises(ArtifactError, match=r"it\.safetensors"):
        load_transform(entry, tmp_path)


def test_settings_that_lack_a_key(entry: dict, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="normalise"):
        load_transform({**entry, "settings": {}}, tmp_path)
