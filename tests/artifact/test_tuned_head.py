"""Artifacts with a classifier: predicting, saving, loading and what can be damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from embedtune.artifact.tuned import Tuned, load
from embedtune.encoders import load_encoder
from embedtune.errors import ArtifactError, UserError
from embedtune.heads.head import Head
from embedtune.heads.scorers import Both
from embedtune.judging.logistic import Logistic
from embedtune.judging.voting import Voters
from embedtune.training.items import LabelledItems
from embedtune.transforms import Linear

EYE = np.eye(2, dtype=np.float32)
SWAP = Linear.shared(EYE[::-1])
CURVE = np.array([[0.8, 0.7], [0.9, 0.6]])

LINEAR = Head(Logistic(EYE, np.array([0, 0], np.float32), True), ["left", "right"], curve=CURVE)
SEVERAL = Head(Logistic(EYE, np.array([0, 0], np.float32), False), ["left", "right"], False, 1.0, 0.6)
VOTE = Head(Voters(LabelledItems.of(EYE, ["left", "right"]), 10.0, True), ["left", "right"], True, 2.0)
BOTH = Head(Both(LINEAR.scorer, VOTE.scorer, (1.0, 2.0)), ["left", "right"])
HEADS = {"linear": LINEAR, "several": SEVERAL, "vote": VOTE, "both": BOTH}


def base() -> Any:
    return load_encoder({"documents": (["x", "y"], EYE), "queries": (["q"], EYE[:1])})


def tuned(head: Head | None = LINEAR) -> Tuned:
    return Tuned(base(), SWAP, data={"task": "classification"}, head=head)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_head_sees_what_the_map_gives() -> None:
    # x is (1, 0), which the map turns into (0, 1): logits 0 and 1, e / (1 + e) = .7311 to the right
    model = tuned()
    assert model.predict(["x", "y"]) == ["right", "left"]
    p = model.predict_proba(["x", "y"])
    np.testing.assert_allclose(p, [[0.2689, 0.7311], [0.7311, 0.2689]], atol=1e-4)
    assert tuned(SEVERAL).predict(["x"]) == [["right"]]  # sigmoid(0) = .5 is below .6
    assert tuned(VOTE).predict(["y"]) == ["left"]


def test_it_abstains_where_it_is_not_sure_enough() -> None:
    assert tuned().predict(["x"], accuracy=0.6) == ["right"]  # from .7 on
    assert tuned().predict(["x"], accuracy=0.9) == [None]  # from .8 on
    with pytest.raises(UserError, match="ask for less"):
        tuned().predict(["x"], accuracy=0.95)


def test_without_a_classifier() -> None:
    for ask in (tuned(None).predict, tuned(None).predict_proba):
        with pytest.raises(UserError, match=r"no classifier.*tune on data with labels.*fit_head") as caught:
            ask(["x"])
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="single string"):
        tuned().predict("x")


@pytest.mark.parametrize("name", HEADS)
def test_what_is_saved_is_loaded_and_saved_alike(tmp_path: Path, name: str) -> None:
    model = tuned(HEADS[name])
    first = model.save(tmp_path / "first")
    second = tuned(HEADS[name]).save(tmp_path / "second")
    read = load(first, base=base(), verify="full")
    third = read.save(tmp_path / "third")
    assert files(first) == files(second) == files(third)
    assert "head.safetensors" in read.manifest["files"]
    assert read.predict(["x", "y"]) == model.predict(["x", "y"])
    assert np.array_equal(read.predict_proba(["x", "y"]), model.predict_proba(["x", "y"]))
    assert (read.head.curve is None) == (HEADS[name].curve is None)


def test_the_width_of_indices_changes_no_byte(tmp_path: Path) -> None:
    labels = csr_matrix(EYE)
    labels.indices, labels.indptr = labels.indices.astype(np.int64), labels.indptr.astype(np.int64)
    wide = Head(Voters(LabelledItems(EYE, labels, ["left", "right"]), 10.0, True), ["left", "right"], True, 2)
    assert files(tuned(wide).save(tmp_path / "a")) == files(tuned(VOTE).save(tmp_path / "b"))


def test_an_artifact_without_a_head_says_nothing_of_one(tmp_path: Path) -> None:
    folder = tuned(None).save(tmp_path / "plain")
    assert "head" not in json.loads((folder / "manifest.json").read_text())
    assert not (folder / "head.safetensors").exists()
    assert load(folder, base=base()).head is None
    assert "Classifier" not in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "linear",
            (
                "Single-label: each text gets one of 2 classes: `left`, `right`.",
                "logistic regression",
                "calibrated out of fold (temperature 1.000)",
            ),
        ),
        ("several", ("Multi-label: each text gets any number of 2 classes", "0.60 on", "not calibrated")),
        ("vote", ("smooth vote of 2 training items", "tuned.predict(")),
        ("both", ("regression on the tuned vectors, and a smooth vote of 2 training items, whose", "alike")),
    ],
)
def test_the_card_says_what_the_head_is(tmp_path: Path, name: str, said: tuple[str, ...]) -> None:
    card = (tuned(HEADS[name]).save(tmp_path / "out") / "README.md").read_text("utf-8")
    assert "## Classifier" in card
    for words in said:
        assert words in card


def test_the_card_names_no_more_than_twenty_classes(tmp_path: Path) -> None:
    weights = np.zeros((23, 2), np.float32)
    many = Head(Logistic(weights, weights[:, 0], True), [f"c{i}\n" for i in range(23)])
    card = (tuned(many).save(tmp_path / "out") / "README.md").read_text("utf-8")
    assert "23 classes: `c0`, `c1`," in card
    assert "`c19` and 3 more." in card
    assert "c20" not in card


def test_a_head_of_another_width_is_not_saved(tmp_path: Path) -> None:
    wide = Head(Logistic(np.ones((2, 3), np.float32), np.ones(2, np.float32), True), ["left", "right"])
    with pytest.raises(UserError, match="takes vectors of 3 dimensions, the model gives 2"):
        tuned(wide).save(tmp_path / "out")
    assert not list(tmp_path.iterdir())


# --- damage ------------------------------------------------------------------------


def test_a_damaged_or_missing_file(tmp_path: Path) -> None:
    folder = tuned().save(tmp_path / "out")
    path = folder / "head.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"head\.safetensors.*checksum is wrong"):
        load(folder)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=r"head\.safetensors.*damaged"):
        load(folder, verify=False)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"head\.safetensors.*missing"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["head"].pop("file"), "incomplete"),
        (lambda m: m["head"].update(file="elsewhere"), "no checksum"),
        (lambda m: m.update(head="head.safetensors"), "incomplete"),
        (lambda m: m["head"].pop("settings"), "settings"),
        (lambda m: m["head"]["settings"].pop("single"), "do not make a classifier.*single"),
        (lambda m: m["head"]["settings"].update(classes=["one"]), "2 classes for the names of 1|do not fit"),
        (lambda m: m["head"]["settings"].update(temperature=0), "temperature 0.0"),
    ],
)
def test_a_changed_manifest(tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str) -> None:
    folder = tuned().save(tmp_path / "out")
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=said) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "tensors", "said"),
    [
        ("linear", {"weights": EYE.astype(np.int32)}, "unexpected dtype of weights"),
        ("linear", {"weights": np.full((2, 2), np.nan, np.float32)}, "not finite"),
        ("linear", {"weights": np.ones((2, 5), np.float32)}, "takes 5 dimensions, the model gives 2"),
        ("linear", {"bias": np.ones(3, np.float32)}, r"bias \(3,\) do not fit"),
        ("linear", {"curve": np.ones(3)}, "do not make a classifier"),
        ("vote", {"indices": np.array([0, 7])}, "do not make a classifier"),
        ("vote", {"indptr": np.array([0, 1])}, "do not make a classifier"),
        ("vote", {"vectors": np.ones(2, np.float32)}, "do not make a classifier"),
        ("both", {"weights": np.ones((2, 5), np.float32)}, r"weights \(2, 5\) do not fit vectors \(2, 2\)"),
    ],
)
def test_tensors_that_are_no_head(
    tmp_path: Path, name: str, tensors: dict[str, np.ndarray], said: str
) -> None:
    folder = tuned(HEADS[name]).save(tmp_path / "out")
    path = folder / "head.safetensors"
    save_file(load_file(path) | tensors, path)
    with pytest.raises(ArtifactError, match=said) as caught:
        load(folder, verify=False)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
