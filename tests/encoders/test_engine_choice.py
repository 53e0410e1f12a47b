"""``engine="auto"``: the fastest that is right is chosen, and remembered."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune.encoders import load_encoder
from embedtune.encoders.engines.choose import chosen_engine, cosines
from embedtune.encoders.engines.table import offered
from embedtune.errors import ModelNotFound, UserError

TEXTS = [f"text number {i}" for i in range(40)]


class Clock:
    """Time that passes only when an encoder works."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake:
    """Vectors from a text's hash; takes ``seconds`` a call; may err, or look at its neighbours."""

    def __init__(self, clock: Clock, seconds: float, error: float = 0.0, neighbours: float = 0.0) -> None:
        self.clock, self.seconds, self.error, self.neighbours = clock, seconds, error, neighbours
        self.calls = 0

    def encode(self, texts: list[str], kind: str = "document") -> Any:
        self.calls += 1
        self.clock.now += self.seconds
        rows = [np.random.default_rng(len(text) * 1000 + ord(text[-1])).standard_normal(8) for text in texts]
        vectors = np.array(rows, np.float32)
        vectors[:, 0] += self.error * 10
        vectors[:, 1] += self.neighbours * 10 * (len(texts) == 1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def choose(clock: Clock, engines: dict[str, Any], texts: list[str] = TEXTS, content: str = "model") -> str:
    opened: Any = engines.__getitem__
    return chosen_engine(content, texts, list(engines), opened, clock=clock)


def test_the_fastest_is_chosen(clock: Clock) -> None:
    assert (
        choose(clock, {"torch": Fake(clock, 3.0), "onnx": Fake(clock, 1.0), "openvino": Fake(clock, 2.0)})
        == "onnx"
    )


@pytest.mark.parametrize(("seconds", "chosen"), [(0.9, "openvino"), (0.7, "openvino-int8")])
def test_int8_must_be_worth_its_rounding(clock: Clock, seconds: float, chosen: str) -> None:
    others = {"torch": Fake(clock, 3.0), "openvino": Fake(clock, 1.0)}
    assert choose(clock, {**others, "openvino-int8": Fake(clock, seconds)}) == chosen


def test_one_that_errs_is_not_chosen(clock: Clock) -> None:
    wrong = Fake(clock, 0.1, error=1.0)
    assert (
        choose(clock, {"torch": Fake(clock, 3.0), "onnx": wrong, "openvino": Fake(clock, 2.0)}) == "openvino"
    )


def test_one_whose_vectors_depend_on_the_batch_is_not_chosen(clock: Clock) -> None:
    leaky = Fake(clock, 0.1, neighbours=1.0)
    assert choose(clock, {"torch": Fake(clock, 3.0), "onnx": leaky}) == "torch"


def test_one_that_cannot_be_opened_is_left_out(clock: Clock) -> None:
    class Broken:
        def encode(self, texts: list[str]) -> Any:
            raise ModelNotFound("no")

    assert choose(clock, {"torch": Broken(), "onnx": Fake(clock, 2.0)}) == "onnx"
    with pytest.raises(ModelNotFound):
        choose(clock, {"torch": Broken(), "onnx": Broken()}, content="another")


def test_the_choice_is_remembered_for_model_and_machine(clock: Clock, cache_folder_of_its_own: Path) -> None:
    first = {"torch": Fake(clock, 3.0), "onnx": Fake(clock, 1.0)}
    assert choose(clock, first) == "onnx"
    later = {"torch": Fake(clock, 1.0), "onnx": Fake(clock, 3.0)}
    assert choose(clock, later, texts=[]) == "onnx"  # needs no texts any more
    assert later["torch"].calls == later["onnx"].calls == 0
    assert choose(clock, later, content="another model") == "torch"
    notes = list((cache_folder_of_its_own / "engines").iterdir())
    assert len(notes) == 2
    for note in notes:
        note.write_text("{")  # damaged: tried again
    assert choose(clock, later) == "torch"
    mended = [note for note in notes if note.read_text() != "{"]
    assert len(mended) == 1
    assert json.loads(mended[0].read_text())


def test_the_trial_takes_about_two_seconds(clock: Clock) -> None:
    encoders = {"torch": Fake(clock, 0.2), "onnx": Fake(clock, 0.1)}
    choose(clock, encoders)
    # opened, checked and timed once: 0.2 * 3 + 0.1 * 3 and little more, then rounds of 0.3 up to two seconds
    assert 2.0 <= clock.now < 4.0


def test_without_texts_the_first_time_there_is_a_line(clock: Clock) -> None:
    with pytest.raises(UserError, match="tries the engines on your texts, and there are none"):
        choose(clock, {"torch": Fake(clock, 3.0), "onnx": Fake(clock, 1.0)}, texts=[" "])
    assert choose(clock, {"torch": Fake(clock, 3.0)}, texts=[]) == "torch"  # nothing to choose from


def test_cosines_by_hand() -> None:
    x = np.array([[1, 0], [3, 4], [0, 0], [0, 0]], np.float32)
    y = np.array([[1, 1], [4, 3], [0, 0], [1, 0]], np.float32)
    # 1/sqrt(2); 24/25; both nothing: the same; nothing against something: not
    np.testing.assert_allclose(cosines(x, y), [0.70710678, 0.96, 1, 0], atol=1e-6)


def test_auto_on_a_model(tiny_model: Path) -> None:
    for module in ("sentence_transformers", "onnx", "onnxruntime", "openvino"):
        pytest.importorskip(module)
    texts = ["heart attack", "red skin", "fever and cough", "high blood pressure of the lung"]
    encoder: Any = load_encoder(str(tiny_model), engine="auto", texts=texts)
    name = getattr(encoder.encoder, "engine", "torch")
    assert name in offered()
    again = load_encoder(str(tiny_model), engine="auto")
    named = load_encoder(str(tiny_model), engine=name)
    assert encoder.fingerprint == again.fingerprint == named.fingerprint


def test_the_sample_is_spread_over_the_texts(clock: Clock) -> None:
    seen: list[str] = []

    class Watching(Fake):
        def encode(self, texts: list[str], kind: str = "document") -> Any:
            seen.extend(texts)
            return super().encode(texts, kind)

    choose(clock, {"torch": Watching(clock, 0.5), "onnx": Fake(clock, 0.5)})
    first = list(itertools.islice(seen, 16))
    assert (first[0], first[-1], len(set(first))) == (TEXTS[0], TEXTS[-1], 16)
