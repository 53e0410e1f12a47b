"""A budget that ends before there are vectors: the base is kept, and another run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slow_encoder import FakeClock, SlowEncoder

import embedtune
from embedtune import Tuned, fine_tune
from embedtune.collect import collect
from embedtune.collect.counting import count_labels, first_metric
from embedtune.data import read
from embedtune.encoders import CachedEncoder, VectorCache
from embedtune.judging.retention import probe_texts
from embedtune.teachers.model import ModelTeacher
from embedtune.transforms import Identity

ROWS = [{"query": f"asking {number:02}", "positive": f"answer {number:02}"} for number in range(40)]
"""80 texts of one length, 40 labels."""

PROBES = len(probe_texts())


def slow(clock: FakeClock, name: str = "slow", seconds: float = 1.0) -> CachedEncoder:
    return CachedEncoder(SlowEncoder(clock, seconds, name), VectorCache())


def tuned(base: Any, **options: Any) -> Tuned:
    return fine_tune(base_model=base, **{"data": ROWS, "method": "ridge", **options})


def test_the_base_is_kept_and_the_reason_says_how_far_it_came(clock: FakeClock) -> None:
    began = clock.now
    found = tuned(slow(clock), budget="25s")
    assert clock.now - began == 30.0  # three chunks; the third began before the end
    assert isinstance(found.transform, Identity)
    verdict = found.verdict
    assert verdict.reasons == [
        "30 of 80 texts were encoded within the budget of 25 s, so nothing was tried and the base is kept; "
        "the rest takes about 50 s, and another run goes on where this one stopped"
    ]
    assert verdict.text() == f"verdict: do not tune: {verdict.reasons[0]}"
    assert verdict.decision == "do not tune: too few labels to tell"
    assert (verdict.stopped, verdict.labels, verdict.labels_needed) == (True, 40, None)
    assert (verdict.candidates, verdict.base.overall, verdict.retention) == ([], None, None)
    assert verdict.seconds == {"read": 0.0, "encode": 30.0, "tune": 0.0, "judge": 0.0}


def test_another_run_goes_on_and_ends_as_one_without_a_budget(clock: FakeClock, tmp_path: Path) -> None:
    tuned(slow(clock), budget="25s")
    base = slow(clock)
    second = tuned(base, budget="1h")
    texts = [row["positive"] for row in ROWS[30:]] + [row["query"] for row in ROWS]
    assert base.encoder.asked[:50] == texts
    assert len(base.encoder.asked) == 50 + PROBES
    assert not second.verdict.stopped
    whole = tuned(CachedEncoder(SlowEncoder(clock), VectorCache(tmp_path / "other")))
    parts = second.verdict.to_dict() | {"seconds": {}}
    assert parts == whole.verdict.to_dict() | {"seconds": {}}


def test_the_end_may_come_among_the_queries(clock: FakeClock) -> None:
    (reason,) = tuned(slow(clock), budget="45s").verdict.reasons
    assert reason.startswith("50 of 80 texts were encoded within the budget of 45 s")
    assert "the rest takes about 30 s" in reason


def test_what_is_saved_loads_as_the_base(clock: FakeClock, tmp_path: Path) -> None:
    found = tuned(slow(clock), budget="25s")
    found.save(tmp_path / "out")
    again = embedtune.load(tmp_path / "out", base=slow(clock))
    np.testing.assert_array_equal(again.encode_queries(["new"]), SlowEncoder(clock).encode(["new"]))
    manifest = json.loads((tmp_path / "out/manifest.json").read_text("utf-8"))
    assert manifest["transforms"] == []
    assert manifest["verdict"]["reasons"] == found.verdict.reasons
    assert manifest["data"]["counts"] == {"queries": 40, "documents": 40, "judgements": 40}


def test_force_has_nothing_to_force(clock: FakeClock) -> None:
    found = tuned(slow(clock), budget="25s", force=True)
    assert isinstance(found.transform, Identity)
    assert found.verdict.method == "identity"
    assert found.settings["force"] is True


def test_an_encoder_of_ones_own_ends_too_and_nothing_of_it_is_kept(clock: FakeClock) -> None:
    base = SlowEncoder(clock)
    (reason,) = tuned(base, budget="25s").verdict.reasons
    assert len(base.asked) == 30
    assert reason.endswith("about 50 s, and nothing is kept of it, as there is no cache: give more time")
    assert tuned(base).verdict.gain == tuned(base, budget="1h").verdict.gain


def test_where_time_ends_among_the_probes_what_they_say_is_left_out(clock: FakeClock) -> None:
    found = tuned(slow(clock), budget="95s")
    assert found.verdict.retention is None
    assert found.verdict.reasons == ["nothing was tried within the budget of 95 s, so the base is kept"]
    assert found.verdict.base.overall is not None  # there are vectors


def test_where_they_are_needed_the_base_is_kept(clock: FakeClock) -> None:
    (reason,) = tuned(slow(clock), budget="95s", keep=0.9).verdict.reasons
    assert reason.startswith(f"100 of {80 + PROBES} texts were encoded within the budget of 95 s")


def test_a_teacher_that_takes_more_than_half_is_left_out_and_goes_on(clock: FakeClock) -> None:
    more = [f"asked  {number:02}" for number in range(20)]
    base = slow(clock, "base", seconds=0.0)
    teacher = slow(clock, "teacher")
    found = tuned(base, budget="40s", teacher=ModelTeacher(teacher), queries=more)
    assert teacher.encoder.asked == [row["positive"] for row in ROWS[:20]]
    assert found.verdict.reasons[-1] == (
        "the teacher teacher had done 20 of 40 texts or pairs when 50% of the time was over: its labels were "
        "left out, and the rest takes about 20 s; another run goes on where this one stopped"
    )
    alone = tuned(slow(clock, "base", seconds=0.0))
    assert found.verdict.gain == alone.verdict.gain
    assert found.verdict.reasons[:-1] == alone.verdict.reasons
    assert (found.verdict.made, found.verdict.stopped, alone.verdict.stopped) == (None, True, False)

    teacher = slow(clock, "teacher")
    found = tuned(base, budget="1h", teacher=ModelTeacher(teacher), queries=more)
    assert teacher.encoder.asked[:20] == [row["positive"] for row in ROWS[20:]]
    assert found.data["counts"]["queries"] == 60
    assert not found.verdict.stopped


def test_the_bases_documents_come_before_a_teacher(clock: FakeClock) -> None:
    base, teacher = slow(clock, "base"), slow(clock, "teacher")
    found = tuned(base, budget="25s", teacher=ModelTeacher(teacher), queries=["asked"])
    assert teacher.encoder.asked == []
    assert found.verdict.reasons[0].startswith("30 of 80 texts were encoded within the budget of 25 s")
    assert found.settings["teacher"] == "teacher"


TASKS = {
    "retrieval": (ROWS[:3] + [{**row, "split": "test"} for row in ROWS[3:5]], 3, "ndcg@10"),
    "classification": ([{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(6)], 6, "accuracy"),
    "several": ([{"text": f"text {n}", "labels": ["a", "bc"[n % 2]]} for n in range(6)], 6, "f1"),
    "similarity": (
        [{"sentence1": f"left {n}", "sentence2": f"right {n}", "score": n / 4} for n in range(5)],
        5,
        "spearman",
    ),
    "recommendation": (
        [{"user": f"u{n % 3}", "item": f"i{n}", "timestamp": n, "text": f"item {n}"} for n in range(9)],
        3,
        "recall@20",
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_labels_and_metric_are_known_without_vectors(clock: FakeClock, task: str) -> None:
    rows, labels, metric = TASKS[task]
    dataset = read([{**row, "split": row.get("split", "train")} for row in rows])
    found = collect(dataset, slow(clock), test="test")
    assert count_labels(dataset, ["train"]) == found.labels == labels
    assert first_metric(dataset) == found.metrics[0] == metric
