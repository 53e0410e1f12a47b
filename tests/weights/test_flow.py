"""From labels to a verdict on tuned weights, for every task; and what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune import evaluate, fine_tune, load
from embedtune.data import read
from embedtune.data.dataset import titled
from embedtune.encoders import load_encoder
from embedtune.errors import UserError
from embedtune.judging.labelled import Labelled
from embedtune.steps import chosen
from embedtune.training.budget import Budget
from embedtune.tuners.auto import choose
from embedtune.weights import RUNGS, flow
from embedtune.weights import methods as settings
from embedtune.weights.asked import Kept, Reached
from embedtune.weights.methods import Full, Layers
from embedtune.weights.reach import check_base, reach, rung_of

ORGANS = ["heart", "lung", "liver", "kidney", "skin", "eye", "ear", "nose", "head", "stomach", "bone"]

ON_AND_ON = "as the book says in so many words"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the methods fit a model of 20,000 weights and 200 labels."""
    for one in (settings.Layers, settings.Full, settings.Lora):
        quicker = {"rate": 4e-3, "batch": 16, "passes": 3.0, "checks": 3, "precision": "float32"}
        monkeypatch.setattr(one.__init__, "__kwdefaults__", {**one.__init__.__kwdefaults__, **quicker})


def slowly(monkeypatch: pytest.MonkeyPatch, method: Any, rate: float) -> None:
    monkeypatch.setattr(method.__init__, "__kwdefaults__", {**method.__init__.__kwdefaults__, "rate": rate})


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", ["full", "lora", "layers"])
def test_tuned_weights_are_judged_saved_and_loaded(
    deep_model: Path, rows: list[dict[str, str]], tmp_path: Path, method: str
) -> None:
    library = pytest.importorskip("sentence_transformers")
    if method == "lora":
        pytest.importorskip("peft")
    stages: list[str] = []
    tuned = fine_tune(
        base_model=str(deep_model), data=rows, method=method, layers=1 if method == "layers" else None,
        progress=lambda stage, done, total: stages.append(stage),
    )  # fmt: skip
    verdict = tuned.verdict
    assert verdict.decision == "tune", verdict.text()
    assert verdict.method.startswith(f"{method} × ")
    assert verdict.tuned.overall > verdict.base.overall + 0.1
    assert verdict.judged_on == "test"
    assert verdict.moved["neighbours_changed"] > 0
    names = [one["method"] for one in verdict.candidates]
    assert any(name.startswith(f"{method} × ") and "+" not in name for name in names)  # the weights alone
    assert any(name.startswith(f"{method} × ") and "linear" in name for name in names)
    assert "linear (both)" in names  # adapters on the base, of the same rows
    assert any("held-out gain" in stage for stage in stages)
    tuned.save(tmp_path / "out")
    texts = ["heart ache", "red skin itch"]
    loaded = load(tmp_path / "out", verify="full")
    np.testing.assert_allclose(loaded.encode_queries(texts), tuned.encode_queries(texts), atol=1e-5)
    assert tuned.manifest["base"]["tuned_from"]["name"] == "deep"  # no path of this machine
    found = evaluate(rows, model=tuned)
    assert (found.base.overall, found.tuned.overall) == pytest.approx(
        (verdict.base.overall, verdict.tuned.overall)
    )
    again = loaded.save(tmp_path / "again")  # what was loaded can be saved, whatever there was before
    np.testing.assert_allclose(load(again).encode_queries(texts), tuned.encode_queries(texts), atol=1e-5)
    if tuned.manifest["stock_loader"] == "exact":
        model = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
        np.testing.assert_allclose(model.encode_query(texts), tuned.encode_queries(texts), atol=1e-5)


@pytest.mark.usefixtures("quick")
def test_titles_and_ends_of_documents_are_encoded_anew_by_tuned_weights(
    deep_model: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = [row["positive"] for row in rows]
    dataset = read([{**row, "positive": f"{row['positive']} {(ON_AND_ON + ' ') * 3}"} for row in rows])
    dataset = replace(dataset, documents=titled(dataset.documents, dict(enumerate(called))))
    pools: list[Labelled] = []
    choose = flow.choose

    def watched(pool: Labelled, **own: Any) -> Any:
        pools.append(pool)
        return choose(pool, **own)

    monkeypatch.setattr(flow, "choose", watched)
    tuned = fine_tune(base_model=str(deep_model), data=dataset, method="full")
    before, after = (pool.pseudo for pool in pools)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before.documents, after.documents)
    own = tuned.encoder.encode(called, kind="query")
    np.testing.assert_allclose(after.vectors, own, atol=1e-5)
    assert not np.allclose(before.vectors, own, atol=1e-2)
    unread_before, unread_after = (pool.unread for pool in pools)
    assert unread_before is not None
    assert unread_after is not None
    np.testing.assert_array_equal(unread_before.documents, unread_after.documents)
    windows, of = tuned.encoder.later_windows(dataset.document_texts)
    mean = np.array([tuned.encoder.encode(windows)[of == row].mean(axis=0) for row in unread_after.documents])
    np.testing.assert_allclose(unread_after.vectors, mean, atol=1e-5)
    assert not np.allclose(unread_before.vectors, mean, atol=1e-2)
    assert tuned.verdict is not None
    names = [one["method"] for one in tuned.verdict.candidates]
    assert any(name.startswith("full × ") and "linear (both, titles)" in name for name in names)


@pytest.mark.usefixtures("quick")
def test_weights_that_are_worse_are_refused_and_the_base_is_kept(
    deep_model: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = {**settings.Full.__init__.__kwdefaults__, "rate": 3.0, "clip": 1e6, "strengths": (1.0,)}
    monkeypatch.setattr(settings.Full.__init__, "__kwdefaults__", wild)
    monkeypatch.setattr(flow, "choose", _only_the_base(flow.choose))
    tuned = fine_tune(base_model=str(deep_model), data=rows, method="full")
    assert tuned.verdict.decision.startswith("do not tune"), tuned.verdict.text()
    assert tuned.verdict.gain < 0
    assert tuned.encoder.fingerprint == load_encoder(str(deep_model)).fingerprint


def _only_the_base(plain: Callable[..., Any]) -> Callable[..., Any]:
    def choose(*args: Any, **options: Any) -> Any:
        return plain(*args, **{**options, "method": "identity"})

    return choose


@pytest.mark.usefixtures("quick")
def test_labels_train_weights(deep_model: Path) -> None:
    rows = [
        {
            "text": f"{degree} {organ} {word}",
            "label": word,
            "split": "test" if degree == "broken" else "train",
        }
        for degree in ("high", "low", "strong", "red", "broken")
        for organ in ORGANS
        for word in ("ache", "pain", "itch", "rash")
    ]
    tuned = fine_tune(base_model=str(deep_model), data=rows, method="full")
    assert tuned.verdict.method.startswith("full × ")
    assert tuned.verdict.base.overall == 1.0  # the neighbours are right already, and come nearer
    assert tuned.verdict.tuned.metrics["map"] > tuned.verdict.base.metrics["map"] + 0.1
    assert tuned.verdict.decision == "do not tune: already good"
    assert tuned.predict(["low head itch"]) == ["itch"]


def test_few_classes_of_which_others_will_be_asked_for_train_no_weights(deep_model: Path) -> None:
    data = [
        {"text": f"{degree} {organ} {said}", "label": degree, "split": split}
        for split, degrees in {"train": ("high", "low", "strong", "blood"), "test": ("red", "broken")}.items()
        for degree in degrees
        for organ in ORGANS
        for said in ("ache", "weak", "itch", "cold")
    ]
    tuned = fine_tune(base_model=str(deep_model), data=data, method="full")
    assert tuned.verdict.decision.startswith("do not tune")
    assert "no weights were tuned: too few documents or classes have labels" in tuned.verdict.text()


def test_a_method_that_is_forced_says_how_many_labels_it_needs(
    deep_model: Path, rows: list[dict[str, str]]
) -> None:
    tuned = fine_tune(base_model=str(deep_model), data=rows[:40], method="full")
    assert "no weights were tuned: 100 labels are needed, and there are 40" in tuned.verdict.text()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_documents_for_many_queries_train_no_weights(deep_model: Path, count: int) -> None:
    queries = [f"{degree} {organ} {said}" for degree in ("high", "low", "red") for organ in ORGANS
               for said in ("ache", "weak", "itch", "cold")]  # fmt: skip
    answers = ["pain of the heart", "rash of the skin", "cough"][:count]
    data = [{"query": query, "positive": answers[i % count]} for i, query in enumerate(queries)]
    tuned = fine_tune(base_model=str(deep_model), data=data, method="full")
    assert tuned.verdict.decision.startswith("do not tune")
    assert "no weights were tuned: too few documents" in tuned.verdict.text()


@pytest.mark.usefixtures("quick")
def test_scores_train_weights(deep_model: Path) -> None:
    rng = np.random.default_rng(0)
    words = ["ache", "pain", "itch", "rash", "cough", "cold"]
    rows = []
    for number in range(240):
        a, b = rng.choice(6, 2)
        first, second = rng.choice(ORGANS, 2)
        score = 1.0 if a // 2 == b // 2 else 0.0
        split = "test" if number % 5 == 0 else "train"
        sentences = {
            "sentence1": f"{words[a]} {number % 7 * 'the '}{first}",
            "sentence2": f"{second} {words[b]}",
        }
        rows.append({**sentences, "score": score + 0.1 * rng.random(), "split": split})
    tuned = fine_tune(base_model=str(deep_model), data=rows, method="full", task="similarity")
    assert tuned.verdict.method.startswith("full × ")
    assert tuned.verdict.tuned.overall > tuned.verdict.base.overall


@pytest.mark.usefixtures("quick")
def test_auto_tunes_weights_only_where_a_budget_is_given(
    deep_model: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def tune_weights(method: Any, asked: Any, choice: Any) -> Kept:
        tried.append(method.name)
        assert choice is not None
        return Kept("there was no time")

    monkeypatch.setattr(flow, "tune_weights", tune_weights)
    plain = fine_tune(base_model=str(deep_model), data=rows)
    assert tried == []
    timed = fine_tune(base_model=str(deep_model), data=rows, budget="10m")
    assert tried == ["layers"]
    assert timed.verdict.method == plain.verdict.method


@pytest.mark.usefixtures("quick")
def test_auto_keeps_what_is_simpler_where_weights_are_not_better(
    deep_model: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly(monkeypatch, settings.Layers, 1e-9)
    plain = fine_tune(base_model=str(deep_model), data=rows)
    timed = fine_tune(base_model=str(deep_model), data=rows, budget="10m")
    assert timed.verdict.method == plain.verdict.method
    assert timed.encoder.fingerprint == plain.encoder.fingerprint


@pytest.mark.usefixtures("quick")
def test_auto_climbs_to_all_weights_where_the_top_layers_gained(
    asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly(monkeypatch, settings.Layers, 2e-4)  # enough to gain, and too little to gain all there is
    given = asked(budget=Budget(time.monotonic() + 600))
    choice = choose(
        given.pool, ladder=lambda *_: iter(()), method="auto", metric="ndcg@10", seed=0, budget=Budget()
    )
    given = replace(given, ladder=lambda *_: iter(()))
    reached = reach(given, None, choice)
    assert isinstance(reached, Reached)
    assert reached.choice.chosen.name.startswith("full × ")
    assert "tuned weights reach" in reached.note
    assert "; full reach " in reached.note
    names = [tried.name for tried in reached.choice.tried]
    assert [name.split(" ")[0] for name in names] == ["identity", "layers", "full"]
    top, everything = (tried.mean for tried in reached.choice.tried[1:])
    assert reached.choice.tried[0].mean < top < everything
    assert reached.encoder.name == "deep+full"


@pytest.mark.usefixtures("quick")
def test_auto_tries_all_weights_where_the_top_layers_gained_nothing(
    asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly(monkeypatch, settings.Layers, 1e-9)
    given = replace(asked(budget=Budget(time.monotonic() + 600)), ladder=lambda *_: iter(()))
    choice = choose(given.pool, ladder=given.ladder, method="auto", metric="ndcg@10", seed=0, budget=Budget())
    reached = reach(given, None, choice)
    assert isinstance(reached, Reached)
    assert reached.note.startswith("tuned weights gained nothing on rows held out of their training; full ")
    names = [tried.name.split(" ")[0] for tried in reached.choice.tried]
    assert names == ["identity", "full"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("gains", [True, False])
@pytest.mark.parametrize(
    ("late", "said", "tried"),
    [
        (True, None, ["layers"]),
        (False, "9 s at least, and 1 s are left", ["layers", "full"]),
        (False, None, ["layers", "full"]),
    ],
)
def test_auto_stays_with_the_top_layers_where_time_is_short(
    asked: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    late: bool,
    said: str | None,
    tried: list[str],
    gains: bool,
) -> None:
    """Late: their own training was cut short. Said: why all weights were not tuned."""
    given = asked(budget=Budget(time.monotonic() + 600))
    found: list[str] = []
    dear: Any = Reached(given.encoder, given.found, given.pool, object(), "all gain")
    cheap = replace(dear, note="layers gain", late=late) if gains else Kept("layers gain", late=late)

    def tune_weights(method: Any, asked: Any, choice: Any, *, below: Any = None) -> Any:
        found.append(method.name)
        assert (below is cheap) == (method.name == "full")
        return cheap if method.name == "layers" else Kept(said) if said else dear

    monkeypatch.setattr(flow, "tune_weights", tune_weights)
    reached: Any = reach(given, None, object())
    assert found == tried
    note = "layers gain" if late else f"layers gain; full: {said}" if said else "all gain"
    assert (reached if isinstance(reached, str) else reached.note) == note


@pytest.mark.usefixtures("quick")
def test_a_run_that_was_stopped_on_the_way_up_goes_on_there(
    deep_model: Path, rows: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly(monkeypatch, settings.Layers, 2e-4)
    monkeypatch.setattr(chosen, "LADDERS", {"retrieval": lambda *_: iter(())})  # no adapters
    given = {"base_model": str(deep_model), "data": rows, "budget": "10m", "checkpoint": tmp_path / "kept"}
    whole = fine_tune(**given)
    assert whole.encoder.name == "deep+full"
    assert not (tmp_path / "kept").exists()
    steps: list[int] = []

    def tell(stage: str, done: int, total: int) -> None:
        if stage.startswith("tune weights"):
            steps.append(done)
            if steps.count(3) == 2:  # the third step of the second training
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="interrupted at step 3 of"):
        fine_tune(**given, progress=tell)
    assert (tmp_path / "kept" / "full" / "state.json").is_file()
    steps.clear()
    again = fine_tune(
        **given,
        resume=True,
        progress=lambda stage, done, _: steps.append(done) if stage.startswith("tune weights") else None,
    )
    assert steps[0] == 4
    assert again.encoder.fingerprint == whole.encoder.fingerprint
    assert again.verdict.tuned == whole.verdict.tuned
    assert not (tmp_path / "kept").exists()


def test_what_is_held_out_trains_nowhere(asked: Callable[..., Any]) -> None:
    from embedtune.weights.work import material_of

    given = asked()
    pool: Labelled = given.pool
    round_ = pool.hold_out(0.2, 800, 0)
    material: Any = material_of(Full(), given, round_)
    held = {given.found.train_texts[row] for row in round_.held}
    trained = {material.texts.items[row][1] for row in material._query[material._rows]}
    asked_again = {material.texts.items[row][1] for row in material.judged[: len(material._validation)]}
    assert len(held) > 20
    assert not held & (trained | asked_again)
    assert not trained & asked_again
    both = [step().rows for step in material.steps(0)]
    encoded = {material.texts.items[row][1] for rows in both for row in rows}
    assert not encoded & (held | asked_again)


def test_a_base_without_weights_is_refused_with_what_can_be_done(rows: list[dict[str, str]]) -> None:
    ids = [f"v{i}" for i in range(3)]
    vectors = {"queries": (ids, np.eye(3, 4)), "documents": (ids, np.eye(3, 4))}
    with pytest.raises(UserError, match="are precomputed; take auto or one of the methods that map vectors"):
        fine_tune(base_model=vectors, data=rows, method="layers")


def test_a_method_for_another_kind_of_base_is_refused(deep_model: Path) -> None:
    encoder = load_encoder(str(deep_model))
    with pytest.raises(
        UserError, match="'table' is not for a transformer as deep is; take layers, lora or full"
    ):
        check_base(RUNGS.load("table")(), encoder)


def test_a_model_too_large_for_memory_is_refused_before_it_is_loaded(
    deep_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedtune.weights import room

    encoder = load_encoder(str(deep_model))
    monkeypatch.setattr(room, "available", lambda: 1e6)
    with pytest.raises(
        UserError, match=r"by 'full' would take about 1\.5 GB of memory, and 0\.0 GB are free"
    ):
        check_base(Full(), encoder)
    shapes = 43 * 32 + 32 * 32 + 2 * 32 + 2 * 32  # words, positions, types, norm
    layer = 4 * (32 * 32 + 32) + 2 * 32 * 64 + 64 + 32 + 4 * 32
    whole, folder = shapes + 2 * layer, deep_model
    assert room.needed(folder, Layers(layers=1, memory=0)) == 4 * (whole + 5 * layer)
    assert room.needed(folder, Full(memory=0)) == 4 * (whole + 5 * whole)


def test_layers_are_counted_for_their_method_alone() -> None:
    assert rung_of("layers", 3) == Layers(layers=3)
    assert rung_of("linear", None) is None
    with pytest.raises(UserError, match="layers are counted for method 'layers'"):
        rung_of("full", 3)
    with pytest.raises(UserError, match=r"no tuner called 'fulll'; .*layers, lora, full, table"):
        rung_of("fulll", None)


def test_tuned_weights_are_saved_whatever_map_comes_after_them(
    deep_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedtune.artifact import stock
    from embedtune.artifact.probes import uncached
    from embedtune.artifact.tuned import Tuned

    encoder: Any = load_encoder(str(deep_model))
    monkeypatch.setattr(stock, "_obstacle", lambda *_: "a map that has no module")
    monkeypatch.setattr(uncached(encoder), "tuned_from", {"name": "a", "fingerprint": "b"}, raising=False)
    tuned = Tuned(encoder)
    tuned.save(tmp_path / "out")
    assert tuned.manifest["stock_loader"] == "none"
    monkeypatch.setattr("embedtune.artifact.deferred.load_encoder", _only_from_a_view(load_encoder))
    loaded = load(tmp_path / "out", verify="full")
    np.testing.assert_allclose(
        loaded.encode_queries(["red eye"]), tuned.encode_queries(["red eye"]), atol=1e-5
    )


def _only_from_a_view(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Open nothing by its name alone."""

    def opened(place: str, **options: Any) -> Any:
        assert place.startswith("transformer:"), place
        return plain(place, **options)

    return opened
