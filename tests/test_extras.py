"""Import guards: what is missing, and the line that installs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from embedtune.errors import MissingExtra
from embedtune.extras import need, require


def test_what_is_there_is_imported() -> None:
    assert need("json", extra="none", who="test") is json
    require("json", extra="none", who="test")


@pytest.mark.parametrize("guard", [need, require])
def test_what_is_missing_is_told(guard) -> None:
    with pytest.raises(MissingExtra) as caught:
        guard("no_such_module", extra="local", who="encoder 'transformer'")
    assert str(caught.value) == "encoder 'transformer' needs no_such_module: pip install 'embedtune[local]'"
    assert (caught.value.extra, caught.value.module) == ("local", "no_such_module")


@pytest.mark.parametrize("guard", [need, require])
def test_a_missing_package_of_a_submodule_is_told(guard) -> None:
    with pytest.raises(MissingExtra):
        guard("no_such_package.inside", extra="local", who="test")


def test_a_mistake_inside_a_module_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import some_other_missing_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="some_other_missing_module") as caught:
        need("half_installed", extra="local", who="test")
    assert not isinstance(caught.value, MissingExtra)


def test_asking_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "never_imported.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path)
    require("never_imported", extra="local", who="test")
    assert "never_imported" not in sys.modules
