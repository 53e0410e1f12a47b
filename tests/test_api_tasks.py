"""``fine_tune`` on what is not retrieval: the same call and verdict, on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from unit_length import unit

from embedtune import evaluate, fine_tune, load
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.errors import UserError

D = 12


def encoder_of(ids: list[str], x: np.ndarray) -> VectorsEncoder:
    return VectorsEncoder.from_arrays({"documents": (ids, unit(x))})


@pytest.fixture(scope="module")
def classes():
    """Give 600 items of 3 classes that differ in two of 12 dimensions, all others being louder noise."""
    rng = np.random.default_rng(0)
    label = np.arange(600) % 3
    x = rng.standard_normal((600, D))
    x[:, :2] = 0.45 * rng.standard_normal((600, 2)) + np.array([[1.2, 0], [-0.6, 1], [-0.6, -1]])[label]
    ids = [f"item {i}" for i in range(600)]
    rows = [
        {"id": name, "text": name, "label": f"c{one}", "split": "test" if i >= 400 else "train"}
        for i, (name, one) in enumerate(zip(ids, label, strict=True))
    ]
    return rows, encoder_of(ids, x), ids, label


def test_classes_come_together_and_the_classifier_is_saved(classes, tmp_path) -> None:
    rows, encoder, ids, label = classes
    tuned = fine_tune(base_model=encoder, data=rows)
    verdict = tuned.verdict
    assert (verdict.task, verdict.metric, verdict.decision) == ("classification", "accuracy", "tune")
    assert verdict.tuned.overall > verdict.base.overall + 0.03
    assert verdict.labels == 400
    assert verdict.wrong_labels is None
    assert set(verdict.base.metrics) == {"accuracy", "macro_f1", "map", "logreg_accuracy", "logreg_macro_f1"}
    tuned.save(tmp_path / "out")
    again = load(tmp_path / "out", base=encoder)
    held = np.arange(400, 600)
    predicted = again.predict([ids[i] for i in held])
    assert np.mean([p == f"c{label[i]}" for p, i in zip(predicted, held, strict=True)]) > 0.8
    assert again.predict_proba([ids[0]]).shape == (1, 3)


def test_classes_are_evaluated_against_the_training_items(classes) -> None:
    rows, encoder, _, _ = classes
    found = evaluate(rows, model=encoder)
    assert (found.metric, found.base.n, found.gain) == ("accuracy", 200, 0.0)


def test_classes_that_no_training_item_has_are_found_among_each_other() -> None:
    # 30 classes of 20 apart in six dimensions, under as much noise in six others; the last ten are test alone
    rng = np.random.default_rng(0)
    label = np.arange(600) % 30
    x = rng.standard_normal((600, D))
    x[:, :6] = 0.35 * x[:, :6] + rng.standard_normal((30, 6))[label]
    rows = [
        {"id": f"{i}", "text": f"{i}", "label": f"c{one}", "split": "test" if one >= 20 else "train"}
        for i, one in enumerate(label.tolist())
    ]
    encoder = encoder_of([row["id"] for row in rows], x)
    tuned = fine_tune(base_model=encoder, data=rows)
    verdict = tuned.verdict
    assert verdict.decision == "tune"
    assert verdict.base.overall > 0.3  # it would be 0 among the training items
    assert verdict.tuned.overall > verdict.base.overall + 0.1
    assert verdict.out_of_fold["gain"] == pytest.approx(verdict.gain, abs=0.1)
    assert "unseen classes" in verdict.text()
    assert tuned.head is None
    assert evaluate(rows, model=tuned).gain == pytest.approx(verdict.gain)


def test_labels_of_classes_by_chance_are_not_worth_a_map(classes) -> None:
    rows, encoder, _, _ = classes
    shuffled = np.random.default_rng(1).permutation([row["label"] for row in rows])
    data = [row | {"label": str(one)} for row, one in zip(rows, shuffled, strict=True)]
    assert fine_tune(base_model=encoder, data=data).verdict.decision != "tune"


def test_scored_pairs_turn_the_cosine_towards_the_scores() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((900, D))
    told = unit(x[:, :3])  # what the scores speak of: three of twelve dimensions
    ids = [f"text {i}" for i in range(900)]
    rows = [
        {
            "sentence1": ids[2 * i],
            "sentence2": ids[2 * i + 1],
            "score": float(told[2 * i] @ told[2 * i + 1]),
            "split": "test" if i >= 350 else "train",
        }
        for i in range(450)
    ]
    tuned = fine_tune(base_model=encoder_of(ids, x), data=rows)
    verdict = tuned.verdict
    assert (verdict.task, verdict.metric, verdict.decision) == ("similarity", "spearman", "tune")
    assert verdict.tuned.overall > verdict.base.overall + 0.1
    assert "100 pairs" in verdict.text()


def test_histories_find_the_next_items() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, D))
    ids = [f"thing {i}" for i in range(60)]
    rows = [
        {"user": f"u{user}", "item": ids[20 * (user % 3) + int(item)], "timestamp": 1_700_000_000 + 60 * step}
        for user in range(120)
        for step, item in enumerate(rng.permutation(20)[:9])
    ]
    data = {"items": [{"_id": name, "text": name} for name in ids], "interactions": rows}
    tuned = fine_tune(base_model=encoder_of(ids, x), data=data, metric="recall@10")
    verdict = tuned.verdict
    assert (verdict.task, verdict.judged_on, verdict.decision) == ("recommendation", "out of fold", "tune")
    assert verdict.labels == 120
    assert {"warm", "cold", "light"} <= set(verdict.strata)
    found = tuned.recommend([ids[0], ids[1], ids[2]], {name: name for name in ids}, k=10)
    own = [int(hit.id.split()[1]) < 20 for hit in found]
    assert np.mean(own) > 0.7


def test_a_method_or_metric_of_another_task_is_refused(classes) -> None:
    rows, encoder, _, _ = classes
    with pytest.raises(UserError, match="'nudge-n' is not for classification; choose from auto, identity, d"):
        fine_tune(base_model=encoder, data=rows, method="nudge-n")
    with pytest.raises(UserError, match="no metric called 'ndcg@10' for classification"):
        fine_tune(base_model=encoder, data=rows, metric="ndcg@10")


def test_labels_made_from_a_collection_judge_nothing(tiny_model) -> None:
    topics = ("kidneys", "lungs", "hearts", "livers", "bones", "joints", "nerves", "glands")
    pages = []
    for i in range(40):
        topic = topics[i % 8]
        text = f"There are {i} of the {topic} that were seen here."
        pages.append({"id": f"p{i}", "title": f"about {topic} number {i}", "text": text})
    tuned = fine_tune(base_model=tiny_model, data=pages, unlabelled=True)
    assert tuned.verdict.decision == "do not tune: too few labels to tell"
    assert "made from the collection" in tuned.verdict.reasons[0]
    assert tuned.transform.kind == "identity"
