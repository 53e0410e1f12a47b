"""A teacher's scores in the steps of weights, and leading dimensions that serve alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune import fine_tune, load
from embedtune.data import read
from embedtune.errors import UserError
from embedtune.weights import methods as settings
from embedtune.weights.material.lessons import Lessons
from embedtune.weights.material.nested import Nested
from embedtune.weights.methods import Full
from embedtune.weights.train import train
from embedtune.weights.work import material_of, tower_of


def lessons(most: int) -> Lessons:
    """Give those of three queries: four documents, one, and two of which one has a score of 0."""
    pairs = [(0, 1, 0.5), (0, 2, 3.0), (0, 3, -1.0), (0, 5, 2.0), (1, 4, 1.0), (2, 0, 0.0), (2, 5, -2.0)]
    query, document, score = (np.array(column) for column in zip(*pairs, strict=True))
    taught = csr_matrix((score.astype(np.float32), (query, document)), shape=(3, 6))
    return Lessons(taught, np.arange(6) + 100, most)


def test_candidates_are_filled_up_and_the_best_is_always_there() -> None:
    place, texts, logits, sure = lessons(4).of(np.array([2, 1, 0]), np.random.default_rng(0))
    assert place.tolist() == [0, 2]  # one candidate teaches nothing
    assert texts.tolist() == [[100, 105, 100, 100], [102, 105, 101, 103]]
    assert logits.tolist() == [[0, -2, -np.inf, -np.inf], [3, 2, 0.5, -1]]
    assert sure == pytest.approx([1 / (1 + np.exp(-2)), 1 / np.exp([0, -1, -2.5, -4]).sum()])
    drawn = {tuple(lessons(2).of(np.array([0]), np.random.default_rng(i))[1][0].tolist()) for i in range(20)}
    assert drawn == {(102, 105), (102, 101), (102, 103)}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quicker = {"rate": 4e-3, "batch": 16, "passes": 3.0, "checks": 3, "precision": "float32"}
    defaults = {**settings.Full.__init__.__kwdefaults__, **quicker}
    monkeypatch.setattr(settings.Full.__init__, "__kwdefaults__", defaults)


@pytest.mark.usefixtures("quick")
def test_the_scores_of_a_teacher_are_part_of_a_steps_loss(asked: Any, taught: Any) -> None:
    """With all of the loss on the scores, a model that is its own teacher has nothing to learn."""
    import torch

    given = taught(asked())
    round_ = given.pool.hold_out(0.2, 800, 0)
    losses = {}
    for distil, by in ((0.0, "softmax"), (0.5, "softmax"), (1.0, "softmax"), (1.0, "margins")):
        method = Full(distil=distil, distil_by=by, candidates=6)
        material, tower = material_of(method, given, round_), tower_of(method, given.encoder)
        tower.read(material.texts, Path())
        step = material.steps(0)[0]()
        with torch.no_grad():
            losses[distil, by] = float(step.loss(tower(step.rows)))
    assert losses.pop((1.0, "margins")) == pytest.approx(0.0, abs=1e-4)
    losses = {distil: loss for (distil, _), loss in losses.items()}
    assert losses[1.0] == pytest.approx(0.0, abs=1e-4)
    assert losses[0.0] > 0.5
    assert losses[0.5] == pytest.approx(losses[0.0] / 2, rel=1e-3)


@pytest.mark.usefixtures("quick")
def test_training_for_leading_dimensions_makes_them_better(asked: Any, tmp_path: Path) -> None:
    given = asked()
    round_ = given.pool.hold_out(0.2, 800, 0)
    quality = {}
    for widths in ((), (32, 8, 4)):
        method = Full(matryoshka=widths, strengths=(1.0,))
        material, tower = material_of(method, given, round_), tower_of(method, given.encoder)
        tower.read(material.texts, tmp_path)
        plain = material.material if isinstance(material, Nested) else material
        trained = train(tower, material, method, seed=0, forced=True)
        import torch

        with torch.no_grad():
            vectors = tower(material.judged).numpy()
        assert isinstance(material, Nested) == bool(widths)
        assert trained.strength == 1.0
        quality[widths] = float(Nested(plain, (4,), unit=True).score(vectors).mean())
        assert Nested(plain, (32,), unit=True).score(vectors) == pytest.approx(plain.score(vectors))
    assert quality[32, 8, 4] > quality[()] + 0.03


@pytest.mark.usefixtures("quick")
def test_smaller_vectors_of_tuned_weights(
    deep_model: Path, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    tuned = fine_tune(base_model=str(deep_model), data=rows, method="full", dims=8)
    assert tuned.verdict.decision == "tune", tuned.verdict.text()
    ways = {(one["how"], one["kind"]) for one in tuned.verdict.sizes}
    assert ways == {
        (how, kind) for how in ("projection", "prefix") for kind in ("float32", "int8", "int4", "binary")
    }
    vectors = tuned.encode_queries(["heart ache"])
    assert vectors.shape == (1, 8)
    tuned.save(tmp_path / "out")
    np.testing.assert_allclose(load(tmp_path / "out").encode_queries(["heart ache"]), vectors, atol=1e-5)


@pytest.mark.usefixtures("quick")
def test_where_tuned_weights_are_refused_the_bases_vectors_are_made_smaller(
    deep_model: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedtune.weights import flow

    wild = {**settings.Full.__init__.__kwdefaults__, "rate": 3.0, "clip": 1e6, "strengths": (1.0,)}
    monkeypatch.setattr(settings.Full.__init__, "__kwdefaults__", wild)
    plain = flow.choose
    monkeypatch.setattr(
        flow, "choose", lambda *args, **options: plain(*args, **{**options, "method": "identity"})
    )
    tuned = fine_tune(base_model=str(deep_model), data=rows, method="full", dims=16)
    assert tuned.verdict.decision.startswith("do not tune")
    assert {one["how"] for one in tuned.verdict.sizes} == {"projection"}
    assert tuned.encoder.name == "deep"
    assert tuned.encode_queries(["heart ache"]).shape == (1, 16)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("by", ["softmax", "margins"])
def test_a_teacher_joins_the_training_of_weights(
    deep_model: Path, rows: list[dict[str, str]], by: str
) -> None:
    """Half of the training labels are withheld; the teacher knows them."""
    dataset = read(rows)
    judged = dataset.qrels.to_pylist()
    kept = [one["split"] == "test" or number % 2 == 0 for number, one in enumerate(judged)]
    vectors = np.eye(len(dataset.documents), dtype=np.float32)
    asked = vectors[[one["document"] for one in judged]]
    teacher = {"queries": (dataset.query_texts, asked), "documents": (dataset.document_texts, vectors)}
    fewer = replace(dataset, qrels=dataset.qrels.filter(kept))
    method = Full(distil=0.2, distil_by=by)
    found = fine_tune(base_model=str(deep_model), data=fewer, method=method, teacher=teacher)
    assert found.verdict.made["labels"] == 110
    assert found.verdict.labels == 110
    assert found.verdict.tuned.overall > found.verdict.base.overall + 0.3


def test_what_cannot_follow_scores_is_refused(rows: list[dict[str, str]], deep_model: Path) -> None:
    for given, said in (
        ({"distil": 0.2, "method": "full"}, "and there is no teacher"),
        ({"method": Full(distil=0.2)}, "and there is no teacher"),
        ({"distil": 0.2, "teacher": str(deep_model)}, "only methods that tune weights follow"),
        (
            {"distil": 2, "method": "full", "teacher": str(deep_model)},
            "distil is 2; give a share",
        ),
    ):
        with pytest.raises(UserError, match=said):
            fine_tune(base_model=str(deep_model), data=rows, **given)
    with pytest.raises(UserError, match="distil_by is 'logits'; choose from margins, softmax"):
        Full(distil_by="logits")
