"""The threshold of the same: chosen out of fold under the map that ships, carried by the artifact, used."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from unit_length import unit

import embedtune
from embedtune import Tuned, fine_tune
from embedtune.collect import collect
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.errors import ArtifactError, UserError
from embedtune.judging.threshold import Threshold, calibrate
from embedtune.steps.sameness import threshold_of
from embedtune.training.budget import Budget
from embedtune.transforms import Identity
from embedtune.tuners.auto import choose
from embedtune.tuners.ladder_similarity import ladder

D = 12
GIVEN = Threshold(0.5, 0.9, (0.8, 0.95), 0.7, (0.6, 0.8), 40, 20, "best F1", 1.0)


def world(pairs: int = 400, levels: int = 2) -> tuple[VectorsEncoder, list[dict[str, Any]]]:
    """Pairs of texts that are the same where three of twelve dimensions agree; the others are noise."""
    rng = np.random.default_rng(0)
    grade = rng.integers(0, levels, pairs)
    told = rng.standard_normal((pairs, 3))
    share = grade / (levels - 1)
    other = share[:, None] * told + (1 - share)[:, None] * rng.standard_normal((pairs, 3))
    x = np.concatenate([np.c_[side, rng.standard_normal((pairs, D - 3))] for side in (told, other)])
    ids = [f"text {i}" for i in range(2 * pairs)]
    rows = [
        {"sentence1": ids[i], "sentence2": ids[pairs + i], "score": float(grade[i])} for i in range(pairs)
    ]
    return VectorsEncoder.from_arrays({"documents": (ids, unit(x))}), rows


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    encoder, rows = world()
    return fine_tune(base_model=encoder, data=rows)


def test_it_is_that_of_pairs_that_the_map_was_not_fitted_to() -> None:
    encoder, rows = world()
    found = collect(read(rows), encoder, test="test")
    choice = choose(found.train, ladder=ladder, method="auto", metric="spearman", seed=0, budget=Budget())
    assert choice.chosen.candidate is not None
    threshold = threshold_of(found, choice)
    assert threshold is not None
    similarity = np.zeros(len(rows))
    for i, one in enumerate(choice.folded.rounds):
        mapped = choice.folded.fitted(choice.chosen.candidate, choice.chosen.strength, i)
        similarity[one.held] = found.train.similarities(mapped, one.held)
    known = calibrate(similarity, found.train.score == 1, groups=found.train.groups, same_at=1)
    assert threshold == known
    fitted = calibrate(found.train.similarities(choice.fit(0, Budget())), found.train.score == 1)
    assert fitted.precision + fitted.recall > threshold.precision + threshold.recall  # what that would hide
    base = threshold_of(found, None)
    assert base is not None
    assert base == calibrate(
        found.train.similarities(Identity()), found.train.score == 1, groups=found.train.groups, same_at=1
    )
    assert base.precision < threshold.precision


def test_a_pair_that_is_held_out_twice_counts_once_as_new_pairs_come() -> None:
    encoder, rows = world(60)
    found = collect(read(rows), encoder, test="test")
    train = found.train
    half = np.arange(60) < 40
    rounds = [SimpleNamespace(held=np.flatnonzero(half)[::-1]), SimpleNamespace(held=np.arange(60))]
    folded = SimpleNamespace(
        rounds=rounds,
        row=np.concatenate([one.held for one in rounds]),
        natural=np.arange(100) < 40,
        fitted=lambda candidate, strength, i: Identity(),
    )
    choice = SimpleNamespace(folded=folded, shown=SimpleNamespace(candidate="any", strength=1.0))
    threshold = threshold_of(found, choice)  # type: ignore[arg-type]
    similarity = train.similarities(Identity())
    assert threshold == calibrate(
        similarity[half], train.score[half] == 1, groups=train.groups[half], same_at=1
    )
    folded.natural = np.zeros(100, bool)  # all by force: then each once
    threshold = threshold_of(found, choice)  # type: ignore[arg-type]
    assert threshold == calibrate(similarity, train.score == 1, groups=train.groups, same_at=1)


def test_the_artifact_says_the_same_or_not(tuned: Tuned, tmp_path: Path) -> None:
    assert tuned.verdict.decision == "tune"
    assert tuned.threshold is not None
    assert tuned.threshold.same_at == 1
    encoder, rows = world()
    a, b = ([row[side] for row in rows] for side in ("sentence1", "sentence2"))
    same, similarity = tuned.same(a, b)
    assert same.tolist() == (similarity >= tuned.threshold.threshold).tolist()
    truth = np.array([row["score"] for row in rows]) == 1
    assert (same == truth).mean() > 0.75
    x = tuned.encode_documents(a)
    np.testing.assert_allclose(similarity, np.sum(x * tuned.encode_documents(b), axis=1), atol=1e-6)
    np.testing.assert_allclose(tuned.same(b, a).similarity, similarity, atol=1e-6)
    tuned.save(tmp_path / "tuned")
    again = embedtune.load(tmp_path / "tuned", base=encoder)
    assert again.threshold == tuned.threshold
    np.testing.assert_array_equal(again.same(a, b).same, same)
    card = (tmp_path / "tuned/README.md").read_text()
    assert f"the same from a similarity of {tuned.threshold.threshold:.4f} on" in card
    assert f"precision: {tuned.threshold.precision:.3f} (95 % interval" in card
    assert 'same, similarity = tuned.same(["a text"], ["another"])' in card


def test_scores_in_degrees_are_the_same_from_a_level_on() -> None:
    encoder, rows = world(levels=6)
    found = collect(read(rows), encoder, test="test")
    by_scale, by_level = threshold_of(found, None), threshold_of(found, None, same_at=3)
    assert by_scale is not None
    assert by_level is not None
    assert (by_scale.same_at, by_level.same_at) == (4, 3)  # 0 to 5: four fifths of it
    assert by_scale.n_same == sum(row["score"] >= 4 for row in rows)
    assert by_level.n_same == sum(row["score"] >= 3 for row in rows)
    sure = threshold_of(found, None, same_at=3, precision=0.9)
    assert sure is not None
    assert (sure.aim, sure.threshold > by_level.threshold) == ("precision >= 0.9", True)


def test_few_pairs_of_a_kind_and_other_tasks_have_none() -> None:
    encoder, rows = world()
    few = [row for row in rows if row["score"] == 0][:100] + [row for row in rows if row["score"] == 1][:9]
    assert threshold_of(collect(read(few), encoder, test="test"), None) is None
    labelled = [{"text": row["sentence1"], "label": str(row["score"])} for row in rows]
    assert threshold_of(collect(read(labelled), encoder, test="test"), None) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"same_at": 7.0}, r"no pairs have a score of at least 7; choose a level between 0 and 1"),
        ({"precision": 1.0}, "a precision of 1 cannot be aimed at"),
    ],
)
def test_settings_that_cannot_be_met_are_told_before_any_work(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        fine_tune(base_model="no-such-model", data=world()[1], **settings)
    with pytest.raises(UserError, match="is for scored pairs, and this is retrieval"):
        fine_tune(base_model="no-such-model", data=[{"query": "a", "positive": "b"}], **settings)


def test_without_a_threshold_or_with_sides_of_two_lengths() -> None:
    encoder, _ = world()
    with pytest.raises(UserError, match="this model has no threshold of the same"):
        Tuned(encoder).same(["text 0"], ["text 1"])
    for a, b in ((["text 0"], ["text 1", "text 2"]), ("text 0", "text 1")):
        with pytest.raises(UserError, match="two lists of texts of one length"):
            Tuned(encoder, threshold=GIVEN).same(a, b)
    assert Tuned(encoder, threshold=GIVEN).same([], []).same.shape == (0,)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": None},
        {"threshold": float("inf")},
        {"precision": 1.5},
        {"recall_ci95": [0.1]},
        {"recall_ci95": 3},
        {"unheard": 1},
    ],
    ids=str,
)
def test_a_damaged_threshold_is_no_artifact(change: dict, tmp_path: Path, tiny_model: Path) -> None:
    Tuned(load_encoder(tiny_model), threshold=GIVEN).save(tmp_path / "tuned")
    path = tmp_path / "tuned/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["threshold"].update(change)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"the threshold is damaged \(.*save or copy the artifact again"):
        embedtune.load(tmp_path / "tuned")
