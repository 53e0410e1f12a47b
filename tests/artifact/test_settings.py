"""What a result depends on, and when a saved one is as good as a new one."""

from __future__ import annotations

import copy
import importlib.metadata
from types import SimpleNamespace

import pytest

from embedtune.artifact import settings
from embedtune.artifact.settings import code_hash, same_inputs, settings_of

SETTINGS = {
    "method": "auto",
    "metric": "ndcg@10",
    "test": "test",
    "force": False,
    "keep": 0.9,
    "same_at": 4.0,
    "precision": 0.9,
    "dims": None,
    "most_bytes": None,
}
DATA, BASE = SimpleNamespace(fingerprint="d"), SimpleNamespace(fingerprint="b")


def manifest() -> dict:
    return {
        "embedtune": importlib.metadata.version("embedtune"),
        "base": {"fingerprint": "b"},
        "data": {"fingerprint": "d"},
        "seed": 3,
        "settings": settings_of(**SETTINGS),
        "verdict": {"stopped": False},
    }


def test_the_same_inputs() -> None:
    assert same_inputs(manifest(), DATA, BASE, seed=3, settings=settings_of(**SETTINGS))


@pytest.mark.parametrize(
    "place",
    [
        ("embedtune",),
        ("base", "fingerprint"),
        ("data", "fingerprint"),
        ("seed",),
        ("verdict",),
        ("verdict", "stopped"),
        *(("settings", name) for name in settings_of(**SETTINGS)),
    ],
    ids=".".join,
)
def test_anything_else_is_not_the_same(place: tuple[str, ...]) -> None:
    changed = copy.deepcopy(manifest())
    inside = changed if len(place) == 1 else changed[place[0]]
    inside[place[-1]] = True if place[-1] == "stopped" else "other"
    assert not same_inputs(changed, DATA, BASE, seed=3, settings=settings_of(**SETTINGS))
    del inside[place[-1]]
    assert not same_inputs(changed, DATA, BASE, seed=3, settings=settings_of(**SETTINGS))


def test_the_hash_changes_with_any_file_of_the_source(tmp_path, monkeypatch) -> None:
    for name in ("inside", "artifact"):
        (tmp_path / name).mkdir()
    (tmp_path / "artifact" / "settings.py").write_text("a")
    (tmp_path / "inside" / "other.py").write_text("b")
    monkeypatch.setattr(settings, "__file__", str(tmp_path / "artifact" / "settings.py"))

    def now() -> str:
        code_hash.cache_clear()
        return code_hash()

    try:
        first = now()
        assert now() == first
        (tmp_path / "inside" / "other.py").write_text("c")
        second = now()
        (tmp_path / "inside" / "other.py").rename(tmp_path / "inside" / "renamed.py")
        assert len({first, second, now()}) == 3
    finally:
        code_hash.cache_clear()
