"""The README of an export: what it is, what was measured, and the lines that run it without embedtune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedtune.encoders.engines.exported import Exported

_ONNX = """\
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

{tokenizer}
{prompts}
files = {models}
models = {{file: onnxruntime.InferenceSession(file) for file in set(files.values())}}


def encode(texts, kind="document"):
    rows = tokenizer.encode_batch([prompts[kind] + text for text in texts])
    feed = {{
{feed}
    }}
    vectors = models[files[kind]].run(None, feed)[0]
    return {result}
"""

_OPENVINO = """\
import numpy as np
import openvino
from tokenizers import Tokenizer

{tokenizer}
{prompts}
exact = {{"INFERENCE_PRECISION_HINT": "f32"}}  # "bf16" is faster where the processor has it
files = {models}
models = {{file: openvino.Core().compile_model(file, "CPU", exact) for file in set(files.values())}}


def encode(texts, kind="document"):
    rows = tokenizer.encode_batch([prompts[kind] + text for text in texts])
    feed = {{
{feed}
    }}
    vectors = models[files[kind]](feed)[0]
    return {result}
"""

_ATTRIBUTES = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


def readme(exported: Exported) -> str:
    """Give the README of an export, in Markdown."""
    package = {"onnx": "onnxruntime", "openvino": "openvino"}[exported.format]
    limit = f"{exported.max_tokens} tokens" if exported.max_tokens else "no limit of tokens"
    lines = [
        f"# {exported.name}, exported to {exported.format}",
        f"Vectors of {exported.dimension} dimensions, compared by {exported.similarity}; {limit}; "
        f"{exported.precision}. {_measured(exported)}",
    ]
    if exported.notes.get("without"):
        lines.append(f"Not part of it: {' and '.join(exported.notes['without'])} of the tuned model.")
    lines += [
        f"To run it without torch and embedtune, here, after `pip install numpy tokenizers {package}`:",
        f"```python\n{code(exported)}```",
        "Embedtune opens it as a base model: `--base FOLDER`, or `load_encoder(FOLDER)`.",
    ]
    return "\n\n".join(lines) + "\n"


def code(exported: Exported) -> str:
    """Give the Python that encodes texts with the export, to be run in its folder."""
    padding = exported.padding
    steps = ['tokenizer = Tokenizer.from_file("tokenizer.json")']
    if exported.max_tokens:
        steps.append(
            f'tokenizer.enable_truncation({exported.max_tokens}, direction="{padding["truncation"]}")'
        )
    steps.append(
        f'tokenizer.enable_padding(direction="{padding["side"]}", pad_id={padding["id"]}, '
        f"pad_type_id={padding['type']})"
    )
    feed = [
        f'        "{name}": np.array([row.{_ATTRIBUTES[name]} for row in rows], np.int64),'
        for name in exported.inputs
    ]
    unit = "vectors / np.linalg.norm(vectors, axis=1, keepdims=True)"
    return (_ONNX if exported.format == "onnx" else _OPENVINO).format(
        tokenizer="\n".join(steps),
        prompts=f"prompts = {exported.prompts!r}",
        models=repr(exported.models),
        feed="\n".join(feed),
        result=unit if exported.similarity == "cosine" else "vectors",
    )


def told(quality: Mapping[str, Any]) -> str:
    """Give what int8 costs (:class:`embedtune.exporting.int8.Quality` as a dict) in words."""
    return (
        f"cosine to float32 {quality['cosine_mean']:.4f} on average, {quality['cosine_min']:.4f} at least; "
        f"nDCG@10 {quality['int8']:.3f} against {quality['float32']:.3f}"
    )


def _measured(exported: Exported) -> str:
    """Say what was measured at export."""
    if "int8" in exported.notes:
        return f"On {exported.notes['int8']['texts']} held-out texts: {told(exported.notes['int8'])}."
    return f"Coordinates differ from torch by {exported.notes['largest_difference']:.1g} at most."
