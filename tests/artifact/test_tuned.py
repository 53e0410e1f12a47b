"""Saving, loading, checking and searching; sentence-transformers itself is asked in test_stock.py."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune.artifact import probes as probes_module
from embedtune.artifact.tuned import Hit, Tuned, load
from embedtune.data.dataset import Dataset, items
from embedtune.encoders import load_encoder
from embedtune.errors import ArtifactError, DiskFull, OutputExists, UserError
from embedtune.transforms import Identity, ItemDeltas, Linear, then
from embedtune.types import Kind, Transform, Vectors


class Letters:
    """A base of four dimensions: how often a, b, c and d come in a text; deterministic and without files."""

    name, dimension, similarity, max_tokens, content = (
        "letters",
        4,
        "cosine",
        None,
        "text",
    )
    fingerprint = "letters-1"

    def __init__(self, *, name: str = "letters", drift: float = 0.0) -> None:
        self.name, self.drift, self.calls = name, drift, 0

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        self.calls += 1
        counts = np.array([[text.count(c) for c in "abcd"] for text in items], np.float32).reshape(-1, 4)
        counts += 0.01
        counts[:, 0] += self.drift
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def count_tokens(self, texts: Sequence[str]) -> None:
        return None


SWAP = Linear(np.eye(4, dtype=np.float32)[[1, 0, 2, 3]])  # queries: a <-> b
SHIFT = ItemDeltas(("x", "y"), np.array([[0, 0, 0, 9], [0, 0, 9, 0]], np.float32))
BOTH = then(SWAP, SHIFT)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tuned = Tuned(
        Letters(),
        BOTH,
        verdict={"decision": "tune", "text": "Tune: +0.10 nDCG@10.", "seconds": 3.2},
        metrics={
            "metric": "ndcg@10",
            "base": {"overall": 0.5},
            "tuned": {"overall": np.float32(0.625)},
        },
        data={"fingerprint": "f00", "task": "retrieval", "counts": {"queries": 3}},
        seed=7,
    )
    return tuned.save(tmp_path / "tuned")


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


# --- use ---------------------------------------------------------------------------


def test_queries_and_documents_go_through_the_transform() -> None:
    tuned = Tuned(Letters(), BOTH)
    assert tuned.encode_queries(["a"]).argmax() == 1
    assert tuned.encode_documents(["a"]).argmax() == 0
    assert tuned.encode_documents(["a", "a"], ["x", "new"]).argmax(axis=1).tolist() == [
        3,
        0,
    ]


def test_search_takes_lists_mappings_and_datasets() -> None:
    tuned = Tuned(Letters(), SWAP)
    (best,) = tuned.search("a", ["c", "b"], k=1)
    assert best == Hit("1", best.score, "b")
    assert best.score == pytest.approx(1)
    assert [hit.id for hit in tuned.search("d", {"k": "a", "l": "dd"})] == ["l", "k"]
    data = Dataset("retrieval", items([("k", "a", "f", 1), ("l", "dd", "f", 2)]))
    assert tuned.search(["a", "d"], data, k=1) == [
        tuned.search("a", data, k=1),
        tuned.search("d", data, k=1),
    ]
    assert tuned.search("a", [], k=3) == []
    assert tuned.search([], ["a"]) == []
    with pytest.raises(UserError, match="k is 0"):
        tuned.search("a", ["b"], k=0)


def test_search_by_id_uses_deltas_and_without_ids_does_not() -> None:
    tuned = Tuned(Letters(), SHIFT)
    assert tuned.search("d", {"n": "c", "x": "a"}, k=1)[0].id == "x"
    assert tuned.search("c", ["c", "a"], k=1)[0].id == "0"


def test_a_second_query_does_not_encode_the_documents_again() -> None:
    encoder = Letters()
    tuned = Tuned(encoder, SWAP)
    documents = {"k": "a", "l": "b"}
    tuned.search("a", documents)
    before = encoder.calls
    tuned.search("b", documents)
    assert encoder.calls == before + 1  # the query
    assert tuned.search("b", {"k": "b", "l": "a"}, k=1)[0].id == "l"  # swapped texts are another collection
    assert encoder.calls == before + 3
    tuned.transform = Identity()
    assert tuned.search("b", documents, k=1)[0].id == "l"


def test_precomputed_vectors_are_searched_by_id() -> None:
    eye = np.eye(2, dtype=np.float32)
    base = load_encoder({"queries": (["q"], eye[:1]), "documents": (["d1", "d2"], eye)})
    tuned = Tuned(base, ItemDeltas(("d2",), np.array([[9, 0]], np.float32)))
    assert [hit.id for hit in tuned.search("q", {"d1": "one", "d2": "two"})] == [
        "d1",
        "d2",
    ]
    assert [hit.score for hit in tuned.search("q", ["d2"])] == pytest.approx([9 / 82**0.5])


# --- round trip --------------------------------------------------------------------


def test_what_is_saved_is_loaded(saved: Path) -> None:
    tuned = load(saved, base=Letters())
    assert np.array_equal(tuned.encode_queries(["abb"]), Tuned(Letters(), BOTH).encode_queries(["abb"]))
    assert np.array_equal(
        tuned.encode_documents(["ab", "c"], ["y", "n"]),
        Tuned(Letters(), BOTH).encode_documents(["ab", "c"], ["y", "n"]),
    )
    assert tuned.verdict == {
        "decision": "tune",
        "text": "Tune: +0.10 nDCG@10.",
    }  # no durations in artifacts
    assert tuned.metrics["tuned"] == {"overall": 0.625}
    assert (tuned.seed, tuned.similarity) == (7, "cosine")
    tuned.verify()


def test_saving_twice_and_saving_what_was_loaded_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    again = load(saved, base=Letters()).save(tmp_path / "elsewhere" / "again")
    assert files(again) == files(saved)
    assert json.loads((saved / "manifest.json").read_text())["files"].keys() == files(saved).keys() - {
        "manifest.json"
    }


def test_names_of_this_machine_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "private" / "letters"
    Tuned(Letters(name=str(folder))).save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["base"]["name"] == "letters"
    assert not any(str(tmp_path).encode() in content for content in files(tmp_path / "out").values())


def test_the_card_says_what_it_is(saved: Path) -> None:
    card = (saved / "README.md").read_text("utf-8")
    for said in (
        "Tune: +0.10 nDCG@10.",
        "| overall | 0.5000 | 0.6250 |",
        "letters, 4 dimensions",
        "`f00`",
        "3 queries",
        "embedtune.load",
        "does not load in sentence-transformers",
        "a shift for each known document",
    ):
        assert said in card


def test_an_empty_chain_of_transforms_is_saved_as_the_base(tmp_path: Path) -> None:
    Tuned(Letters()).save(tmp_path / "base")
    tuned = load(tmp_path / "base", base=Letters())
    assert tuned.transform == Identity()
    assert np.array_equal(tuned.encode_documents(["ab"]), Letters().encode(["ab"]))


def test_loading_opens_no_model_until_a_vector_is_asked_for(saved: Path) -> None:
    encoder = Letters()
    tuned = load(saved, base=encoder)
    assert (tuned.encoder.name, tuned.encoder.dimension, encoder.calls) == (
        "letters",
        4,
        0,
    )
    load(saved, base=encoder, verify="full")
    assert encoder.calls > 0


def test_importing_the_artifact_does_not_import_torch() -> None:
    code = "import sys, embedtune.artifact.tuned; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what can be wrong when loading -------------------------------------------------


def test_no_vector_comes_from_another_base(saved: Path) -> None:
    tuned = load(saved, base=Letters(drift=0.1))
    for use in (
        lambda: tuned.encode_queries(["a"]),
        lambda: tuned.encode_documents(["a"]),
        lambda: tuned.encoder.encode(["a"]),
        lambda: tuned.search("a", ["b"]),
        tuned.verify,
        lambda: load(saved, base=Letters(drift=0.1), verify="full"),
    ):
        with pytest.raises(
            ArtifactError,
            match=r"'letters' gives other query vectors .* allowed 0.0001",
        ):
            use()


def test_a_base_that_differs_by_less_than_the_tolerance_passes(saved: Path) -> None:
    load(saved, base=Letters(drift=1e-6), verify="full")


def test_a_base_that_cannot_be_found(saved: Path) -> None:
    with pytest.raises(ArtifactError, match=r"base 'letters' is not part of the artifact.*pass it"):
        load(saved).encode_queries(["a"])


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such folder"):
        load(tmp_path / "none")


def test_a_folder_of_something_else(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not an embedtune artifact: it has no manifest\.json"):
        load(tiny_model)
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(ArtifactError, match="not embedtune's"):
        load(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="not JSON"):
        load(tmp_path)
    with pytest.raises(ArtifactError, match="not an embedtune artifact"):
        load(tmp_path / "manifest.json")


FILES = [
    "transforms/0-linear.safetensors",
    "transforms/1-item-deltas.safetensors",
    "probes.json",
    "README.md",
]


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[-1] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name}.*checksum is wrong"):
        load(saved)
    with pytest.raises(ArtifactError, match=r"checksum is wrong|gives other|damaged"):
        load(saved, base=Letters()).encode_queries(["a"])


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}.*missing"):
        load(saved)


@pytest.mark.parametrize("name", ["transforms/0-linear.safetensors", "probes.safetensors", "probes.json"])
def test_a_truncated_file_without_checksums(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="damaged"):
        load(saved, verify=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda m: m.update(format_version=2),
            r"format version 2, .* up to 1; upgrade",
        ),
        (lambda m: m.update(format_version="1"), "format version"),
        (lambda m: m.pop("transforms"), "lacks transforms"),
        (
            lambda m: m["transforms"][0].update(kind="warp"),
            "no transform called 'warp'",
        ),
        (lambda m: m["transforms"][0].pop("settings"), "'settings'"),
        (lambda m: m["transforms"][0].update(file="../x"), "no checksum"),
        (lambda m: m["files"].update({"../x": "0"}), "outside the folder"),
        (lambda m: m["base"].update(files={"../x": "README.md"}), "outside the folder"),
        (lambda m: m["base"].update(dimension=5), "does not fit the base"),
        (lambda m: m.update(dimension=5), "differ in their dimensions"),
        (lambda m: m["base"].pop("name"), "incomplete"),
    ],
)
def test_a_changed_manifest(saved: Path, change: Callable[[dict[str, Any]], None], said: str) -> None:
    edit(saved, change)
    with pytest.raises(ArtifactError, match=said) as caught:
        load(saved)
    assert "\n" not in str(caught.value)


def test_verifying_what_was_never_saved() -> None:
    with pytest.raises(ArtifactError, match="not been saved"):
        Tuned(Letters()).verify()


# --- what can be wrong when saving --------------------------------------------------


def test_an_output_that_exists(saved: Path, tmp_path: Path) -> None:
    before = files(saved)
    with pytest.raises(OutputExists, match="exists already"):
        Tuned(Letters()).save(saved)
    assert files(saved) == before
    Tuned(Letters()).save(saved, overwrite=True)
    assert load(saved, base=Letters()).transform == Identity()
    assert [p.name for p in tmp_path.iterdir()] == ["tuned"]


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json"])
def test_foreign_folders_and_files_are_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("{}")
    for target in (tmp_path / "mine", tmp_path / "mine" / name):
        with pytest.raises(OutputExists, match="not an embedtune artifact"):
            Tuned(Letters()).save(target, overwrite=True)
    assert (tmp_path / "mine" / name).read_text() == "{}"


def test_a_place_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        Tuned(Letters()).save(tmp_path / "file" / "out")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.EIO, "broken"), OSError),
    ],
)
def test_a_failed_save_leaves_nothing_behind(
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    raised: type[BaseException],
    overwrite: bool,
) -> None:
    def fail(*_: object) -> None:
        raise failure

    before = files(tmp_path)
    monkeypatch.setattr(probes_module, "save_tensors", fail)
    with pytest.raises(raised):
        Tuned(Letters(), SWAP).save(saved if overwrite else tmp_path / "new", overwrite=overwrite)
    assert files(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["tuned"]


def test_a_failed_rename_puts_the_old_folder_back(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename = files(saved), Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        if (self / "probes.json").exists() and target == saved and not (self / "transforms").exists():
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(KeyboardInterrupt):
        Tuned(Letters()).save(saved, overwrite=True)
    assert files(saved) == before
    assert [p.name for p in tmp_path.iterdir()] == ["tuned"]


# --- with a transformer: the artifact holds its base --------------------------------


@pytest.fixture(params=["identity", "shared", "query", "deltas"])
def map_of_32(request: pytest.FixtureRequest) -> Transform:
    w = (np.eye(32) + 0.1 * np.random.default_rng(0).standard_normal((32, 32))).astype(np.float32)
    maps: dict[str, Transform] = {
        "identity": Identity(),
        "shared": Linear.shared(w),
        "query": Linear(w),
        "deltas": then(Linear.shared(w), ItemDeltas(("x",), np.ones((1, 32), np.float32))),
    }
    return maps[request.param]


def test_an_artifact_holds_its_base_and_applies_the_map_once(
    tiny_model: Path, tmp_path: Path, map_of_32: Transform
) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "model")
    encoder = load_encoder(copy)
    tuned = Tuned(encoder, map_of_32)
    texts, ids = ["heart pain", "red eye", ""], ["x", "y", "z"]
    expected = tuned.encode_queries(texts), tuned.encode_documents(texts, ids)
    fingerprint = encoder.fingerprint
    place = tuned.save(tmp_path / "tuned")
    shutil.rmtree(copy)
    place = place.rename(tmp_path / "moved")
    loaded = load(place, verify="full")
    assert np.abs(loaded.encode_queries(texts) - expected[0]).max() < 1e-6
    assert np.abs(loaded.encode_documents(texts, ids) - expected[1]).max() < 1e-6
    assert loaded.encoder.fingerprint == loaded.encoder.opened.fingerprint == fingerprint
    again = loaded.save(tmp_path / "again")
    assert files(again) == files(place)


def test_prompts_limit_and_similarity_of_the_base_are_kept(tiny_model: Path, tmp_path: Path) -> None:
    encoder = load_encoder(tiny_model, query_prompt="query ", max_tokens=8, similarity="dot")
    texts = ["heart pain heart pain liver kidney failure fever cough cold", "ache"]
    Tuned(encoder).save(tmp_path / "tuned")
    loaded = load(tmp_path / "tuned")
    assert (loaded.similarity, loaded.encoder.max_tokens) == ("dot", 8)
    assert np.allclose(loaded.encode_queries(texts), encoder.encode(texts, kind="query"), atol=1e-6)
    assert not np.allclose(loaded.encode_queries(texts), load_encoder(tiny_model).encode(texts), atol=1e-3)


def test_damaged_weights_are_seen_at_loading(tiny_model: Path, tmp_path: Path) -> None:
    place = Tuned(load_encoder(tiny_model)).save(tmp_path / "tuned")
    with (place / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(ArtifactError, match=r"model\.safetensors.*checksum is wrong"):
        load(place)
