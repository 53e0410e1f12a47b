"""The decision: a table of evidence, the labels that would do, text and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from embedtune.judging.comparison import Gain, Side
from embedtune.judging.verdict import (
    FEWEST,
    GOOD,
    WORTH,
    Evaluation,
    Evidence,
    Verdict,
    decide,
    labels_needed,
)

TUNE = "tune"
GOOD_ALREADY = "do not tune: already good"
TOO_FEW = "do not tune: too few labels to tell"
WORSE = "do not tune: worse"


def gain(low: float, high: float) -> Gain:
    return Gain((low + high) / 2, (low, high), 0.01 if low > 0 or high < 0 else 0.5, 100)


SURE, UNSURE, LOSS, NOTHING = gain(0.1, 0.3), gain(-0.1, 0.3), gain(-0.3, -0.1), gain(-WORTH / 2, WORTH / 2)
PLAIN = Evidence(True, SURE, {}, None, {}, base=0.4, base_low=0.35, spread=0.3, labels=100)
HIGH = {"base": (1 + GOOD) / 2, "base_low": GOOD + 0.01}


@pytest.mark.parametrize(
    ("changes", "decision"),
    [
        ({}, TUNE),
        ({"folded_strata": {"seen": SURE, "unseen": UNSURE}}, TUNE),
        ({"test": SURE}, TUNE),
        ({"test": gain(-0.05, 0.2)}, TUNE),  # sure out of fold, and test does not speak against it
        ({"folded": UNSURE, "test": SURE}, TUNE),
        ({"folded": None}, TOO_FEW),
        ({"folded": None, "test": SURE}, TOO_FEW),  # nothing was fitted: test judges the base with itself
        ({"folded": UNSURE}, TOO_FEW),
        ({"chosen": False, "folded": UNSURE}, TOO_FEW),
        ({"folded": UNSURE, "test": UNSURE}, TOO_FEW),
        ({"test": gain(-0.2, 0.1)}, TOO_FEW),  # sure out of fold, but less on the test split
        ({"test": LOSS}, WORSE),
        ({"chosen": False, "folded": LOSS}, WORSE),
        ({"chosen": False, "folded": LOSS, **HIGH}, GOOD_ALREADY),
        ({"folded_strata": {"seen": SURE, "unseen": LOSS}}, WORSE),
        ({"test": SURE, "test_strata": {"seen": SURE, "unseen": LOSS}}, WORSE),
        ({"chosen": False, "folded": NOTHING, "base": 0.1, "base_low": 0.05}, WORSE),
        ({"chosen": False, "folded": NOTHING, **HIGH}, GOOD_ALREADY),
        ({"chosen": False, "folded": UNSURE, **HIGH}, GOOD_ALREADY),
        ({"chosen": False, "folded": NOTHING, "base": 0.7, "base_low": 0.6}, GOOD_ALREADY),
    ],
)
def test_decisions(changes: dict, decision: str) -> None:
    found, reasons, needed = decide(replace(PLAIN, **changes))
    assert found == decision
    assert reasons
    assert all(reasons)
    assert (needed is not None) == (decision == TOO_FEW)


def test_strata_of_the_test_split_count_before_those_out_of_fold() -> None:
    evidence = replace(PLAIN, test=SURE, folded_strata={"unseen": LOSS}, test_strata={"unseen": SURE})
    assert decide(evidence)[0] == TUNE


def test_the_reason_names_who_loses() -> None:
    _, reasons, _ = decide(replace(PLAIN, folded_strata={"seen": SURE, "unseen": LOSS}))
    assert "unseen" in reasons[0]


def test_a_slice_that_loses_is_harm_and_is_named() -> None:
    decision, reasons, _ = decide(replace(PLAIN, harmed_slices=("team = a", "team = b")))
    assert decision == WORSE
    assert reasons == ["queries with team = a and with team = b would lose"]


def test_where_every_map_that_gains_harms_someone_it_is_not_for_want_of_labels() -> None:
    evidence = replace(PLAIN, chosen=False, harmed_slices=("team = a",))
    assert decide(evidence)[:2] == (WORSE, ["queries with team = a would lose"])
    assert decide(replace(evidence, folded=UNSURE))[0] == TOO_FEW
    assert decide(replace(evidence, folded=NOTHING, **HIGH))[0] == GOOD_ALREADY


@pytest.mark.parametrize("known", [{}, {"folded": None}, {"test": SURE}, {"test": LOSS}, HIGH])
def test_where_nothing_was_tried_nothing_is_said_of_the_labels(known: dict) -> None:
    decision, reasons, needed = decide(replace(PLAIN, untried="2 s", stopped=True, **known))
    assert decision == TOO_FEW
    assert reasons == ["nothing was tried within the budget of 2 s, so the base is kept"]
    assert needed is None


def test_the_line_that_is_read_says_that_nothing_was_tried() -> None:
    reason = "nothing was tried within the budget of 2 s, so the base is kept"
    found = replace(verdict(), decision=TOO_FEW, reasons=[reason, "more"], stopped=True)
    assert found.headline == f"do not tune: {reason}"
    assert found.text().startswith(f"verdict: do not tune: {reason}\nmore\n")
    assert "too few" not in found.text()
    assert found.to_dict()["verdict"] == TOO_FEW
    tried = replace(found, candidates=[*found.candidates, {"method": "ridge"}])
    assert tried.headline == TOO_FEW
    assert replace(found, stopped=False).text().startswith(f"verdict: {TOO_FEW}\n{reason}\n")


def test_labels_needed_by_hand() -> None:
    # (2.8 * .5 / .05)^2 = 28^2 = 784 -> 790
    assert labels_needed(0.05, 0.5, 10) == 790
    # (2.8 * .4 / .1)^2 = 11.2^2 = 125.44 -> 130
    assert labels_needed(0.1, 0.4, 10) == 130
    # (2.8 * .1 / .02)^2 = 196, but there are 300 already: half as many again, 450
    assert labels_needed(0.02, 0.1, 300) == 450
    assert labels_needed(1.0, 0.01, 1) == 2 * FEWEST


@pytest.mark.parametrize("labels", [25, 190, 3000])
@pytest.mark.parametrize("size", [0.01, 0.1])
def test_more_labels_are_needed_than_there_are(size: float, labels: int) -> None:
    needed = labels_needed(size, 0.3, labels)
    assert needed >= 1.5 * labels
    assert needed >= (2.8 * 0.3 / size) ** 2
    assert needed % 10 ** (math.floor(math.log10(needed)) - 1) == 0  # two digits


def side(overall: float) -> Side:
    return Side(overall, overall, overall, 10, 4, 6, {"ndcg@10": overall, "map": 0.5})


def verdict() -> Verdict:
    return Verdict(
        "retrieval", "ndcg@10", side(0.4), side(0.5), 0.1, (0.05, 0.15), 0.002,
        {"seen": SURE, "unseen": NOTHING},
        [{"query": "a", "base": 0.1, "tuned": 0.9}],
        decision="tune", reasons=["better"], method="linear (queries)", strength=0.75, labels=80,
        seconds={"read": 0.1, "encode": 0.2, "tune": 0.3, "judge": 0.4},
        candidates=[{"method": "identity", "strength": 0.0, "score": 0.4, "harms": None, "chosen": False}],
    )  # fmt: skip


def test_json_has_the_keys_that_are_promised() -> None:
    data = json.loads(json.dumps(verdict().to_dict()))
    assert {
        "task", "metric", "base", "tuned", "gain", "ci95", "p_value", "verdict", "method", "seconds",
        "candidates",
    } <= set(data)  # fmt: skip
    for model in ("base", "tuned"):
        assert {"overall", "seen", "unseen", "n", "n_seen", "n_unseen", "metrics"} <= set(data[model])
    assert data["verdict"] == "tune"
    assert data["ci95"] == [0.05, 0.15]
    assert set(data["seconds"]) == {"read", "encode", "tune", "judge"}


def test_text_says_decision_reason_and_numbers() -> None:
    text = verdict().text()
    assert text.startswith("verdict: tune\nbetter\n")
    assert "0.400 -> 0.500" in text
    assert "+0.050 to +0.150" in text
    assert "seen documents" in text
    assert "unseen documents" in text


def test_a_verdict_without_queries_still_speaks() -> None:
    nobody = Side(None, None, None, 0, 0, 0)
    empty = replace(
        verdict(), base=nobody, tuned=nobody, strata={}, decision=TOO_FEW, reasons=["3 are too few"]
    )
    assert empty.text() == f"verdict: {TOO_FEW}\n3 are too few"
    json.dumps(empty.to_dict())


def test_an_evaluation_has_no_verdict() -> None:
    one = Evaluation("retrieval", "map", side(0.4), side(0.4), 0.0, (0.0, 0.0), 1.0)
    assert "verdict" not in one.to_dict()
    assert "verdict" not in one.text()
    json.dumps(one.to_dict())
