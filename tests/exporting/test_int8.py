"""int8: calibrated on half of the texts, judged on the other half, and refused where it loses."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from body_words import WORDS

from embedtune.encoders import load_encoder
from embedtune.errors import UserError
from embedtune.exporting import export_model, int8
from embedtune.exporting.int8 import Quality, judged

TEXTS = [f"{a} {b} {c} of the {b}" for a, b, c in itertools.permutations(WORDS[:5], 3)]
GOOD = Quality(texts=50, cosine_mean=0.995, cosine_min=0.991, float32=0.8, int8=0.795, ci95=(-0.02, 0.01))


class Bags:
    """A vector of word counts, unit length; some of its numbers may be off."""

    def __init__(self, off: float = 0.0) -> None:
        self.off = off

    def encode(self, texts: Any, *, kind: str = "document") -> Any:
        counts = np.array([[text.split().count(word) for word in WORDS] for text in texts], np.float32)
        counts[:, 0] += self.off
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


def judge(encoder: Any, texts: list[str]) -> Quality:
    original: Any = Bags()
    return judged(encoder, original, texts[1::2], texts, seed=0)


def test_the_same_vectors_are_accepted() -> None:
    texts = [f"{a} {a} {b} {b}" for a, b in itertools.pairwise(WORDS)]
    quality = judge(Bags(), texts)
    assert (quality.texts, quality.cosine_mean, quality.cosine_min) == (7, pytest.approx(1), pytest.approx(1))
    # halves "a a": the text itself is found first or second, beside the one that ends in a
    assert quality.float32 == quality.int8 > 0.6
    assert quality.accepted


def test_vectors_that_are_off_are_refused() -> None:
    quality = judge(Bags(off=3.0), TEXTS)
    assert quality.cosine_mean < 0.9
    assert not quality.accepted


@pytest.mark.parametrize(
    "change",
    [
        {"cosine_min": 0.9899},
        {"int8": 0.789},  # loses more than .01
        {"ci95": (-0.009, -0.001)},  # loses significantly
    ],
)
def test_each_condition_is_needed(change: dict[str, Any]) -> None:
    assert GOOD.accepted
    assert not dataclasses.replace(GOOD, **change).accepted


def test_too_few_texts_are_told(tiny_model: Path, tmp_path: Path) -> None:
    for module in ("sentence_transformers", "onnx", "openvino"):
        pytest.importorskip(module)
    with pytest.raises(UserError, match="2 different texts are too few"):
        export_model(tiny_model, tmp_path / "out", format="openvino", int8=["a", "b", "b"])
    assert not (tmp_path / "out").exists()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sentence_transformers", "onnx", "openvino", "nncf"):
        pytest.importorskip(module)
    monkeypatch.setattr(int8, "MOST", 40)


@pytest.mark.usefixtures("small")
def test_int8_of_a_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(int8, "LEAST", 0.8)  # a random model of width 32 is no judge of what int8 costs
    monkeypatch.setattr(int8, "LOSS", 0.2)
    exported = export_model(tiny_model, tmp_path / "out", format="openvino", int8=TEXTS)
    assert capsys.readouterr().out == ""  # standard output belongs to --json
    assert (exported.precision, exported.notes["int8"]["texts"]) == ("int8", 20)
    assert "held-out texts: cosine to float32" in (tmp_path / "out/README.md").read_text("utf-8")

    encoder: Any = load_encoder(str(tmp_path / "out"), cache=False)
    expected = load_encoder(str(tiny_model), cache=False).encode(TEXTS)
    vectors = encoder.encode(TEXTS)
    cosine = (vectors * expected).sum(axis=1)
    assert 0.9 < cosine.min() < cosine.max() < 1 - 1e-7  # close, and not float32 under another name
    # static scales: a text's vector does not depend on the texts beside it
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS[:8]])
    np.testing.assert_allclose(vectors[:8], alone, atol=1e-4)
    assert encoder.fingerprint != load_encoder(str(tiny_model), engine="openvino", cache=False).fingerprint
    with pytest.raises(UserError, match=r"does not run this export \(openvino, int8\)"):
        load_encoder(str(tmp_path / "out"), engine="onnx")


@pytest.mark.usefixtures("small")
def test_int8_that_loses_is_refused_in_one_line(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "LEAST", 1.1)
    monkeypatch.setattr(int8, "ATTEMPTS", int8.ATTEMPTS[:1])
    with pytest.raises(UserError, match=r"int8 is refused, .* cosine to float32 \d") as caught:
        export_model(tiny_model, tmp_path / "out", format="openvino", int8=TEXTS)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("failures", "how"),
    [
        (1, "the last products of the first two layers in float32"),
        (2, "products that write into the residual stream in float32"),
    ],
)
def test_where_every_product_in_int8_loses_some_stay_in_float32(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, how: str
) -> None:
    found = iter([dataclasses.replace(GOOD, cosine_min=0.986)] * failures + [GOOD])
    monkeypatch.setattr(int8, "judged", lambda *_, **__: next(found))
    exported = export_model(tiny_model, tmp_path / "out", format="openvino", int8=TEXTS)
    assert exported.notes["int8"]["how"] == how
    assert exported.notes["int8"]["cosine_min"] == GOOD.cosine_min


@pytest.mark.parametrize(
    ("name", "early"),
    [
        ("/model/model.0/encoder/layer.1/output/dense/MatMul", True),
        ("/model/model.0/encoder/layer.0/attention/output/dense/MatMul", False),
        ("/model/model.0/transformer/layer.0/ffn/lin2/MatMul", True),
        ("/model/model.0/encoder/layer.1/attention/attn/o/MatMul", False),
        ("/model/model.0/encoder/layer.2/output/dense/MatMul", False),
        ("/model/model.0/encoder/layer.10/output/dense/MatMul", False),
        ("/model/model.0/encoder/layer.0/intermediate/dense/MatMul", False),
    ],
)
def test_the_last_products_of_the_first_two_layers_are_told_by_their_names(name: str, early: bool) -> None:
    assert any(re.fullmatch(pattern, name) for pattern in int8.EARLY) == early
