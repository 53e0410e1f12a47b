"""A teacher's labels: who gets one, how much it counts, and that it judges nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from teacher_world import LABELLED, QUERIES, World

from embedtune import fine_tune
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.errors import DataError, UserError
from embedtune.teachers import open_teacher
from embedtune.teachers.teach import teach, unlabelled_rows, with_queries


def taught(world: World, **options):
    options = {"training": ["train"], **options}
    teacher = open_teacher(options.pop("teacher", world.teacher))
    return teach(read(str(world.folder)), teacher, encoder=load_encoder(world.base), **options)


def test_a_teacher_that_is_the_truth_gives_the_true_labels(world: World) -> None:
    found = taught(world)
    made = found.qrels.filter([split == "made" for split in found.qrels["split"].to_pylist()]).to_pylist()
    assert [one["query"] for one in made] == list(range(LABELLED, QUERIES - 100))
    assert [one["document"] for one in made] == world.truth[LABELLED : QUERIES - 100].tolist()
    assert min(one["weight"] for one in made) > 0.9
    real = found.qrels.slice(0, len(found.qrels) - len(made)).to_pylist()
    assert {one["weight"] for one in real} == {1.0}
    assert found.splits == ("train", "test", "made")
    assert (
        found.roles["made by"]
        == "teacher vectors (embedding model; right first for 100% of 40 labelled queries)"
    )


def test_no_query_that_judges_is_shown_to_the_teacher(world: World) -> None:
    found = taught(world)
    assert found.taught["query"].to_numpy().max() == QUERIES - 101
    again = with_queries(read(str(world.folder)), ["Query  339", "query 60", "new", "new "])
    assert again.query_texts[QUERIES:] == ["new"]  # those that are there already are not added
    assert unlabelled_rows(again).tolist() == [*range(LABELLED, QUERIES - 100), QUERIES]


def test_a_teacher_that_guesses_gives_labels_that_hardly_count(world: World) -> None:
    rng = np.random.default_rng(1)
    ids, vectors = world.teacher["queries"]
    noise = rng.permutation(vectors)
    found = taught(world, teacher={"queries": (ids, noise), "documents": world.teacher["documents"]})
    weight = found.qrels["weight"].to_numpy()[LABELLED + 100 :]
    assert weight.max(initial=0) < 0.2
    assert "right first for" in found.roles["made by"]


def test_labels_of_a_teacher_help_and_real_queries_judge(world: World) -> None:
    plain = fine_tune(base_model=world.base, data=str(world.folder), method="linear")
    tuned = fine_tune(base_model=world.base, data=str(world.folder), teacher=world.teacher, method="linear")
    assert tuned.verdict.tuned.overall > plain.verdict.tuned.overall + 0.05
    assert tuned.verdict.base.overall == plain.verdict.base.overall
    assert tuned.verdict.base.n == 100
    assert tuned.verdict.labels == LABELLED
    assert tuned.verdict.made["labels"] == QUERIES - 100 - LABELLED
    assert tuned.verdict.made["by"].startswith("teacher vectors")
    assert any("were made, by teacher" in reason for reason in tuned.verdict.reasons)
    assert tuned.data["made"] == tuned.verdict.made
    assert tuned.data["fingerprint"] == plain.data["fingerprint"]


def test_out_of_fold_only_real_queries_are_judged(world: World) -> None:
    tuned = fine_tune(
        base_model=world.base, data=str(world.folder), teacher=world.teacher, method="linear", test="none"
    )
    assert tuned.verdict.judged_on == "out of fold"
    assert tuned.verdict.base.n == 2 * (LABELLED + 100)  # each once by query, once by document


def test_without_any_training_label_the_test_split_judges_what_the_teacher_taught(world: World) -> None:
    dataset = read(str(world.folder))
    judged = dataset.qrels.filter([split == "test" for split in dataset.qrels["split"].to_pylist()])
    tuned = fine_tune(
        base_model=world.base, data=replace(dataset, qrels=judged), teacher=world.teacher, method="ridge"
    )
    assert tuned.verdict.judged_on == "test"
    assert tuned.verdict.made["labels"] == QUERIES - 100
    assert "too few labelled queries to see how often it is right" in tuned.verdict.made["by"]


def test_what_cannot_be_taught_is_refused(world: World, tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": f"{i % 3}"} for i in range(30)]
    with pytest.raises(UserError, match="a teacher is for retrieval in this version, not for classification"):
        teach(read(rows), open_teacher(world.teacher), encoder=load_encoder(world.base), training=["train"])
    pairs = [{"query": f"query {i}", "positive": f"document {i}"} for i in range(5)]
    with pytest.raises(DataError, match="every query has judgements, so there is nothing"):
        teach(read(pairs), open_teacher(world.teacher), encoder=load_encoder(world.base), training=["train"])
    with pytest.raises(UserError, match="queries without labels are for a teacher"):
        fine_tune(base_model=world.base, data=str(world.folder), queries=["more"])
    short = (world.base["documents"][0], np.ones((100, 3), np.float32))
    with pytest.raises(UserError, match="queries have 24, documents have 3"):
        open_teacher({"queries": world.teacher["queries"], "documents": short})
