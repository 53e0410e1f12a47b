"""The table of engines, and which of them this machine can run."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from embedtune.errors import UserError
from embedtune.extras import need
from embedtune.registry import Entry, Registry

AUTO = "auto"
"""The engine that a trial on the user's texts chooses."""

TORCH = "torch"
"""The engine that is taken where none is asked for."""

INT8 = "openvino-int8"
"""The engine whose vectors are only close to float32. An int8 export is another thing, with fixed scales."""

ENGINES = Registry(
    "engine",
    {
        TORCH: Entry(
            "embedtune.encoders.transformer:TransformerEncoder",
            "torch in float32: the default",
            extra="local",
            module="sentence_transformers",
        ),
        "onnx": Entry(
            "embedtune.encoders.engines.sessions:OnnxSession",
            "ONNX Runtime in float32: the vectors of torch to 1e-5",
            extra="fast",
            module="onnxruntime",
        ),
        "openvino": Entry(
            "embedtune.encoders.engines.sessions:OpenVinoSession",
            "OpenVINO in float32: the vectors of torch to 1e-5",
            extra="fast",
            module="openvino",
        ),
        "openvino-bf16": Entry(
            "embedtune.encoders.engines.sessions:Bf16Session",
            "OpenVINO in bfloat16, where the processor computes in it: cosine to float32 above 0.999",
            extra="fast",
            module="openvino",
        ),
        INT8: Entry(
            "embedtune.encoders.engines.int8:Int8Session",
            "OpenVINO with products in int8, scaled token by token: cosine to float32 above 0.99",
            extra="fast",
            module="openvino",
        ),
    },
)
"""Whose vector of a text depends on the texts beside it (int8 scaled batch by batch) must not be in it."""

TOLERANCES: Mapping[str, float] = {"openvino-bf16": 0.02, INT8: 0.1}
"""Largest difference of a coordinate from float32 that counts as the same model; 1e-4 for the others."""


def check_engine(name: str) -> None:
    """Make sure that an engine exists and that this machine can run it.

    Raises
    ------
    UserError
        When there is no such engine, or the processor cannot run it.
    MissingExtra
        When what runs it is not installed.
    """
    if name == AUTO:
        return
    if name not in ENGINES:
        choices = ", ".join([*ENGINES, AUTO])
        raise UserError(f"there is no engine called {name!r}", fix=f"choose from {choices}")
    ENGINES.load(name)
    if name == "openvino-bf16" and not has_bf16():
        raise UserError(
            "engine 'openvino-bf16' needs a processor that computes in bfloat16 (avx512_bf16, AMX)",
            fix="take engine 'openvino'",
        )


def offered() -> list[str]:
    """Give the engines that are installed and that the processor can run, in the order of the table."""
    return [name for name in ENGINES if _is_there(name)]


def has_bf16() -> bool:
    """Say whether OpenVINO computes in bfloat16 on this processor, rather than imitating it."""
    openvino: Any = need("openvino", extra="fast", who="engine 'openvino-bf16'")
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _is_there(name: str) -> bool:
    module = ENGINES[name].module
    if module is not None and importlib.util.find_spec(module) is None:
        return False
    return name != "openvino-bf16" or has_bf16()
