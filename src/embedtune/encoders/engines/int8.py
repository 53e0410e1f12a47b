"""OpenVINO with dense products in int8, scaled token by token: where bfloat16 is not faster, or not there.

Weights are rounded to 8 bits, 64 inputs of an output at a time. While the model runs, each token's
activations are rounded too, 64 at a time, by scales that are theirs alone. So nothing is calibrated, and a
text's vector does not depend on the texts beside it, as it does where a scale serves a whole batch. What
attention averages (its values) is computed in float32: of MiniLM that is a twelfth of the work, and half of
the error.

nncf compresses weights as well, but by one scale an output, and takes seconds to do so at each opening.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.encoders.engines.sessions import OpenVinoSession
from embedtune.types import Vectors

GROUP = 64
"""Inputs that share a scale. With 128, MiniLM is 5 % faster and errs half as much again."""

LEVELS = 255

ON_THE_WAY = frozenset({"Add", "Convert", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""What lies between the product that makes attention's values and the one that averages them."""


class Int8Session(OpenVinoSession):
    """A file in float32 whose dense products OpenVINO computes in int8."""

    settings: ClassVar[Mapping[str, str]] = {
        **OpenVinoSession.settings,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(GROUP),
    }

    def _read(self, core: Any, file: Path) -> Any:
        return with_int8_weights(core.read_model(str(file)))


def with_int8_weights(model: Any) -> Any:
    """Give an OpenVINO model whose dense products have weights in int8; the model itself is changed."""
    ops: Any = importlib.import_module("openvino.opset13")

    products = [op for op in model.get_ops() if op.get_type_name() == "MatMul"]
    exact = {name for product in products if (name := _values_of(product)) is not None}
    for product in products:
        weights = _weights(product)
        if weights is None or product.get_friendly_name() in exact:
            continue
        rounded, zero, scale = rounded_weights(weights)
        centred = ops.subtract(
            ops.convert(ops.constant(rounded), "f32"), ops.convert(ops.constant(zero), "f32")
        )
        restored = ops.reshape(
            ops.multiply(centred, ops.constant(scale)), np.array(weights.shape, np.int64), False
        )
        turned = product.get_attributes()["transpose_a"]
        made = ops.matmul(product.input_value(0), restored, turned, transpose_b=True)
        product.output(0).replace(made.output(0))
    model.validate_nodes_and_infer_types()
    return model


def _weights(product: Any) -> Vectors | None:
    """Give the weights (outputs, inputs) of a dense product; None of a product of two activations."""
    node = product.input_value(1).get_node()
    if node.get_type_name() != "Constant" or len(node.get_output_shape(0)) != 2:
        return None
    weights: Vectors = np.asarray(node.data, np.float32)
    return weights if product.get_attributes()["transpose_b"] else np.ascontiguousarray(weights.T)


def _values_of(product: Any) -> str | None:
    """Give the name of the dense product whose outputs this one averages, if it is one of attention."""
    if product.input_value(0).get_node().get_type_name() != "Softmax":
        return None
    node = product.input_value(1).get_node()
    while node.get_type_name() in ON_THE_WAY:
        sources = [value.get_node() for value in node.input_values()]
        node = next((one for one in sources if one.get_type_name() != "Constant"), sources[0])
    return str(node.get_friendly_name()) if node.get_type_name() == "MatMul" else None


def rounded_weights(weights: Vectors) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Vectors]:
    """Round weights to 256 levels: ``(rounded - zero) * scale`` gives them back, zeros exactly.

    Parameters
    ----------
    weights : numpy.ndarray
        float32 (outputs, inputs).

    Returns
    -------
    rounded : numpy.ndarray
        uint8 (outputs, groups, inputs of a group): groups of 64, or one where the inputs do not divide so.
    zero, scale : numpy.ndarray
        uint8 and float32 (outputs, groups, 1).

    Examples
    --------
    >>> rounded, zero, scale = rounded_weights(np.array([[-1.0, 0.0, 1.55]], np.float32))
    >>> rounded.tolist(), zero.tolist(), scale.round(3).tolist()
    ([[[0, 100, 255]]], [[[100]]], [[[0.009999999776482582]]])
    """
    outputs, inputs = weights.shape
    grouped = weights.reshape(outputs, -1, inputs if inputs % GROUP else GROUP)
    low = np.minimum(grouped.min(axis=2, keepdims=True), 0)
    high = np.maximum(grouped.max(axis=2, keepdims=True), 0)
    scale = ((high - low) / LEVELS).astype(np.float32)
    scale[scale == 0] = 1  # nothing but zeros
    zero = np.rint(-low / scale)
    rounded = np.clip(np.rint(grouped / scale) + zero, 0, LEVELS)
    return rounded.astype(np.uint8), zero.astype(np.uint8), scale
