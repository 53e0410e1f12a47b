"""Slices from the data to the verdict: a map that helps most and harms one department is not shipped."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import spearmanr
from unit_length import unit

from embedtune import Tuned, evaluate, fine_tune, load
from embedtune.data import read
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.errors import DataError, UserError
from embedtune.transforms import Identity, Linear

D = 12
N, LEGAL = 300, 60
WORSE = "do not tune: worse"


@pytest.fixture(scope="module")
def office():
    """Give queries that a rotation mends, but for those of the legal department, which are right as they are.

    The two lie in the same directions, so that no linear map serves both.
    """
    rng = np.random.default_rng(7)
    documents = unit(rng.standard_normal((400, D)))
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((D, D)))[0]
    asked = rng.permutation(400)[:N]
    legal = np.arange(N) % (N // LEGAL) == 0
    queries = np.where(legal[:, None], documents[asked], documents[asked] @ turn)
    queries = unit(queries + 0.2 * unit(rng.standard_normal((N, D))))
    model = {
        "queries": ([f"q{i}" for i in range(N)], queries),
        "documents": ([f"d{i}" for i in range(400)], documents),
    }
    rows = [
        {
            "query": f"q{i}",
            "positive": f"d{j}",
            "department": "legal" if legal[i] else "sales" if i % 2 else "it",
            "floor": i % 3,
        }
        for i, j in enumerate(asked.tolist())
    ]
    return model, rows


@pytest.fixture(scope="module")
def sliced(office) -> Tuned:
    model, rows = office
    return fine_tune(base_model=model, data=rows, slices=["department", "floor"])


def test_without_slices_the_mean_hides_who_loses(office) -> None:
    model, rows = office
    verdict = fine_tune(base_model=model, data=rows, method="linear").verdict
    assert verdict.decision == "tune"
    assert verdict.slices == []


def test_a_department_that_loses_keeps_the_map_from_being_shipped(sliced: Tuned) -> None:
    verdict = sliced.verdict
    harmful = [one for one in verdict.candidates if one["harms"] == "department = legal"]
    assert harmful
    assert not any(one["chosen"] for one in harmful)
    assert verdict.decision == WORSE
    lost = "queries with department = legal would lose by it"
    assert verdict.reasons == [f"a map with a better mean was set aside: {lost}"]
    assert isinstance(sliced.transform, Identity)


def test_where_no_other_map_was_tried_the_refused_one_is_shown(office) -> None:
    model, rows = office
    verdict = fine_tune(base_model=model, data=rows, slices=["department"], method="linear").verdict
    assert next(one for one in verdict.candidates if one["chosen"])["method"] == "identity"
    assert verdict.decision == WORSE
    assert verdict.reasons == ["queries with department = legal would lose"]
    assert verdict.gain > 0.3
    assert [one.name for one in verdict.slices if one.harmed] == ["department = legal"]


def test_a_weaker_map_that_harms_nobody_is_taken_and_the_better_one_named(office, monkeypatch) -> None:
    model, rows = office
    from embedtune.tuners import auto

    def only_when_far(folded, scores, held):  # the better half of what is tried harms someone
        return "floor = 0" if held and scores.mean() > 0.7 else None

    monkeypatch.setattr(auto, "harmed_slice", only_when_far)
    verdict = fine_tune(base_model=model, data=rows, slices=["floor"], method="linear").verdict
    chosen = next(one for one in verdict.candidates if one["chosen"])
    assert chosen["strength"] == 0.25
    lost = "queries with floor = 0 would lose by it"
    assert verdict.decision == "tune"
    assert f"a map with a better mean was set aside: {lost}" in verdict.reasons


def test_every_value_is_listed_with_what_json_promises(sliced: Tuned) -> None:
    data = json.loads(json.dumps(sliced.verdict.to_dict()))
    assert [(one["column"], one["value"]) for one in data["slices"]] == [
        ("department", "it"), ("department", "legal"), ("department", "sales"),
        ("floor", "0"), ("floor", "1"), ("floor", "2"),
    ]  # fmt: skip
    by_name = {(one["column"], one["value"]): one for one in data["slices"]}
    for one in data["slices"]:
        assert {"n", "base", "tuned", "gain", "ci95", "p_value", "p_holm", "harmed"} <= set(one)
        assert one["gain"] == pytest.approx(one["tuned"] - one["base"])
        assert one["p_holm"] >= one["p_value"]
        assert len(one["metrics"]) > 1
        for told in one["metrics"].values():
            assert told["ci95"][0] <= told["gain"] <= told["ci95"][1]
            assert told["gain"] == pytest.approx(told["tuned"] - told["base"], abs=2e-6)
            assert told["p_holm"] >= told["p_value"]
    assert by_name["department", "legal"]["n"] == LEGAL
    assert sum(one["n"] for one in data["slices"]) == 2 * N  # each query once for each column


def test_weak_spots_are_in_the_verdict(sliced: Tuned) -> None:
    assert isinstance(sliced.verdict.to_dict()["weak_spots"], list)


def test_a_region_that_a_map_breaks_is_found_without_a_column() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(D)[:6]
    region = np.arange(240) % 6
    documents = unit(centres[region] + 0.15 * rng.standard_normal((240, D)))
    queries = unit(documents + 0.03 * rng.standard_normal((240, D)))
    ids = [f"the battery is flat {i}" if region[i] == 2 else f"lunch {i}" for i in range(240)]
    encoder = VectorsEncoder.from_arrays({"queries": (ids, queries), "documents": (ids, documents)})
    turned = np.eye(D, dtype=np.float32)
    turned[2, 2] = -1  # what lies along this axis is sent to the other side
    rows = [{"query": one, "positive": one} for one in ids]
    found = evaluate(rows, model=Tuned(encoder, Linear(query=turned)))
    spot, *others = found.weak_spots
    assert (spot.n, set(spot.words)) == (40, {"battery", "flat"})
    assert spot.loss > 0.8
    assert all(one.loss < spot.loss / 2 for one in others)  # neighbours suffer a little
    assert "weak spot: 40 queries about " in found.text()
    assert json.loads(json.dumps(found.to_dict()))["weak_spots"][0]["examples"][0]["query"].startswith(
        "the battery"
    )


def test_the_card_and_the_manifest_have_them(sliced: Tuned, tmp_path) -> None:
    sliced.save(tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert "| department = legal | 60 |" in card
    manifest = json.loads((tmp_path / "out/manifest.json").read_text("utf-8"))
    assert manifest["settings"]["slices"] == ["department", "floor"]
    assert load(tmp_path / "out", base=sliced.encoder).verdict["slices"][1]["value"] == "legal"


def test_evaluate_and_a_test_split_give_them_too(office) -> None:
    model, rows = office
    encoder = VectorsEncoder.from_arrays(model)
    split = [row | {"split": "test" if i % 2 else "train"} for i, row in enumerate(rows)]  # no "it" in test
    turned = Tuned(
        encoder, Linear(query=np.eye(D, dtype=np.float32)[::-1].copy())
    )  # harms everyone who was right
    found = evaluate(split, model=turned, slices=["department"])
    legal = next(one for one in found.slices if one.value == "legal")
    assert legal.harmed
    assert legal.n == sum(row["department"] == "legal" for row in split[1::2])
    assert set(legal.metrics) >= {"ndcg@10", "mrr@10", "recall@100"}
    verdict = fine_tune(base_model=model, data=split, slices="department", method="linear").verdict
    assert verdict.judged_on == "test"
    assert verdict.decision == WORSE
    assert {one.value: one.harmed for one in verdict.slices} == {"legal": True, "sales": False}


def test_columns_that_cannot_be_used_are_told_before_any_work(office) -> None:
    model, rows = office
    with pytest.raises(DataError, match="no column 'team' to slice by"):
        fine_tune(base_model="no such model", data=rows, slices=["team"])
    with pytest.raises(UserError, match="column 'query' has 300 values"):
        fine_tune(base_model="no such model", data=rows, slices=["query"])
    with pytest.raises(UserError, match="read without the column 'floor'"):
        evaluate(read(rows), model=VectorsEncoder.from_arrays(model), slices=["floor"])


def items(names: list[str], rng: np.random.Generator) -> VectorsEncoder:
    return VectorsEncoder.from_arrays({"documents": (names, unit(rng.standard_normal((len(names), D))))})


@pytest.mark.parametrize("split", [True, False])
def test_the_correlation_of_a_slice_is_that_of_its_own_pairs(split: bool) -> None:
    rng = np.random.default_rng(3)
    names = [f"t{i}" for i in range(240)]
    x = unit(rng.standard_normal((240, D)))
    told = np.einsum("ij,ij->i", x[0::2, :4], x[1::2, :4])
    rows = [
        {
            "sentence1": names[2 * i],
            "sentence2": names[2 * i + 1],
            "score": float(told[i] + (10 if i % 3 == 0 else 0)),  # one language has other scores altogether
            "lang": "de" if i % 3 == 0 else "en",
            "split": "test" if split and i >= 60 else "train",
        }
        for i in range(120)
    ]
    encoder = VectorsEncoder.from_arrays({"documents": (names, x)})
    found = fine_tune(base_model=encoder, data=rows, slices=["lang"], method="pair-metric").verdict
    whole = np.einsum("ij,ij->i", x[0::2], x[1::2])
    for one in found.slices:
        assert one.base == pytest.approx(one.metrics["spearman"]["base"], abs=1e-6)
        mine = [i for i in range(60 if split else 0, 120) if (i % 3 == 0) == (one.value == "de")]
        assert one.n == len(mine)
        assert one.base == pytest.approx(spearmanr(whole[mine], told[mine]).statistic, abs=1e-6)
    if split:
        tuned = Tuned(encoder, Identity())
        again = evaluate(rows, model=tuned, against=encoder, slices=["lang"])
        assert [one.base for one in again.slices] == pytest.approx([one.base for one in found.slices])


def test_items_pairs_and_users_are_sliced_too() -> None:
    rng = np.random.default_rng(0)
    names = [f"t{i}" for i in range(120)]
    encoder = items(names, rng)
    classes = [
        {"text": one, "label": f"c{i % 2}", "lang": "de" if i < 40 else "en"} for i, one in enumerate(names)
    ]
    pairs = [
        {
            "sentence1": names[2 * i],
            "sentence2": names[2 * i + 1],
            "score": i % 5,
            "lang": "de" if i < 20 else "en",
        }
        for i in range(60)
    ]
    chosen = [
        {
            "user": f"u{u:02d}",
            "item": names[(7 * u + 11 * k) % 120],
            "timestamp": 60 * k,
            "lang": "de" if u < 30 else "en",
        }
        for u in range(50)
        for k in range(6)
    ]
    expected = {"classification": (40, 80), "similarity": (20, 40), "recommendation": (30, 20)}
    methods = {
        "classification": "discriminant",
        "similarity": "pair-metric",
        "recommendation": "factors",
    }
    for data in (classes, pairs, chosen):
        dataset = read(data, slices=["lang"])
        verdict = fine_tune(
            base_model=encoder, data=dataset, slices=["lang"], method=methods[dataset.task]
        ).verdict
        assert {one.value: one.n for one in verdict.slices} == dict(
            zip(("de", "en"), expected[dataset.task], strict=True)
        )
