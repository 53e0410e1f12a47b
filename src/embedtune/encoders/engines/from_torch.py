"""A sentence-transformers model to ONNX: the whole chain, a file for each route, compared with torch.

Tracing (``dynamo=False``) and operator set 17 are what ONNX Runtime and OpenVINO both read. Pooling, dense
layers, routers and normalisation are part of the file, so that nothing but a tokenizer is needed beside it.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.encoders.engines.exported import NAME, TOKENIZER, Exported
from embedtune.encoders.engines.table import offered
from embedtune.encoders.model_folder import ModelFolder
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import MissingExtra, UserError
from embedtune.extras import require
from embedtune.files import sha256_file
from embedtune.manifest import write_json
from embedtune.types import Kind

OPSET = 17

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a text model may read."""

LARGEST = 1e-5
"""Largest difference of a coordinate from torch, of vectors of unit length."""

TEXTS = (
    "",
    "a",
    "How do I reset my password?",
    "  blue   cotton shirt, size M  ",
    "Äpfel, Birnen und Kürbisse; 東京の天気は晴れです",
    "def area(radius): return 3.14159 * radius ** 2",
    "It was not the first time that the old bridge had been closed for repairs in winter. " * 3,
    "a contract is void where one party could not have known its terms, and " * 60,
)
"""What an export is compared on: nothing, a word, several scripts, more than a model reads."""

KINDS: tuple[Kind, Kind] = ("query", "document")

WHO = "exporting a model"


def write_onnx(folder: Path, out: Path, *, content: str, name: str) -> Exported:
    """Export the model in ``folder`` into ``out``, an empty folder, and compare it with torch.

    Parameters
    ----------
    folder : pathlib.Path
        A sentence-transformers folder, of a base model or of an artifact.
    out : pathlib.Path
        Gets the model, its tokenizer and the manifest.
    content : str
        What the folder's ``content_hash`` gives.
    name : str
        What the model is called.

    Raises
    ------
    MissingExtra
        When torch, sentence-transformers, onnx or an engine to compare with is not installed.
    UserError
        When the model cannot be exported, or its export differs from torch by more than 1e-5.
    """
    require("onnx", extra="fast", who=WHO)
    require("sentence_transformers", extra="local", who=WHO)
    files = ModelFolder.read(folder)
    torch_encoder = TransformerEncoder(folder, name=name, device="cpu")
    model = torch_encoder._model.float().eval()
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise _refused("its tokenizer runs only in Python", folder)
    inputs = _inputs(model, folder)
    models: dict[str, str] = {kind: f"{kind}.onnx" if files.routed else "model.onnx" for kind in KINDS}
    with _plain_attention(model):
        for kind in KINDS[: 2 if files.routed else 1]:
            _trace(model, kind, inputs, out / models[kind], folder)
    read = {name for file in models.values() for name in _read_by(out / file)}
    tokenizer.save(str(out / TOKENIZER))
    exported = Exported(
        path=out,
        name=name,
        format="onnx",
        precision="f32",
        dimension=torch_encoder.dimension,
        similarity=torch_encoder.similarity,
        max_tokens=torch_encoder.max_tokens,
        own_prompts=torch_encoder.prompts,
        models=models,
        inputs=[name for name in inputs if name in read],
        padding={
            "id": model.tokenizer.pad_token_id or 0,
            "type": getattr(model.tokenizer, "pad_token_type_id", 0),
            "side": model.tokenizer.padding_side,
            "truncation": model.tokenizer.truncation_side,
        },
        source=content,
    )
    finish(exported)
    _compare(exported, torch_encoder, folder)
    return exported


def finish(exported: Exported) -> None:
    """Write the manifest, with the checksums of what is there."""
    names = sorted(path.name for path in exported.path.iterdir() if path.name not in (NAME, "README.md"))
    exported.files.clear()
    exported.files.update({name: sha256_file(exported.path / name) for name in names})
    write_json(exported.to_dict(), exported.path / NAME)


def _inputs(model: Any, folder: Path) -> list[str]:
    """Give the names of what the model reads, in the order of :data:`INPUTS`."""
    features = _features(model)
    tensors = [name for name, value in features.items() if hasattr(value, "dtype")]
    if "input_ids" not in tensors or set(tensors) - set(INPUTS):
        raise _refused(f"it reads {', '.join(tensors) or 'no tokens'}", folder)
    return [name for name in INPUTS if name in tensors]


def _read_by(file: Path) -> set[str]:
    """Give the inputs of a file: tracing leaves out those that the model was given and did not look at."""
    onnx: Any = importlib.import_module("onnx")
    return {one.name for one in onnx.load(str(file), load_external_data=False).graph.input}


def _features(model: Any) -> dict[str, Any]:
    """Give the inputs of two texts of different lengths, so that padding is traced too."""
    prepare = model.preprocess if hasattr(model, "preprocess") else model.tokenize  # before 5.4
    found: dict[str, Any] = prepare(["one two three four", "one"])
    return found


def _trace(model: Any, kind: Kind, inputs: list[str], file: Path, folder: Path) -> None:
    torch: Any = importlib.import_module("torch")
    width = getattr(model, "truncate_dim", None)

    class Chain(torch.nn.Module):  # type: ignore[misc]  # torch is Any
        """The model with its inputs one by one, as tracing wants them."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            features = dict(zip(inputs, tensors, strict=True))
            vectors = self.model(features, task=kind)["sentence_embedding"]
            return vectors if width is None else vectors[:, :width]

    features = _features(model)
    axes: dict[str, dict[int, str]] = {name: {0: "texts", 1: "tokens"} for name in inputs}
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                Chain(),
                tuple(features[name] for name in inputs),
                str(file),
                opset_version=OPSET,
                input_names=inputs,
                output_names=["vectors"],
                dynamic_axes={**axes, "vectors": {0: "texts"}},
                **({"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}),
            )
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _refused(reason, folder) from None


def _compare(exported: Exported, torch_encoder: TransformerEncoder, folder: Path) -> None:
    """Encode with both, both kinds, together and alone.

    Raises
    ------
    UserError
        When they differ.
    """
    from embedtune.encoders.engines.encoder import EngineEncoder

    engine = next((name for name in exported.engines if name in offered()), None)
    if engine is None:
        raise MissingExtra(WHO, "onnxruntime", "fast")
    encoder = EngineEncoder(exported.path, engine=engine)
    worst = 0.0
    for kind in KINDS:
        expected = torch_encoder.encode(TEXTS, kind=kind)
        scale = max(float(np.linalg.norm(expected, axis=1).max()), 1e-12)
        alone = np.concatenate([encoder.encode([text], kind=kind) for text in TEXTS])
        for found in (encoder.encode(TEXTS, kind=kind), alone):
            same_shape = found.shape == expected.shape
            worst = max(worst, float(np.abs(found - expected).max()) / scale if same_shape else np.inf)
    if not worst <= LARGEST:
        raise _refused(f"its export differs from torch by {worst:.1g}, and {LARGEST:g} is allowed", folder)
    exported.notes["largest_difference"] = worst
    finish(exported)


def _refused(why: str, folder: Path) -> UserError:
    return UserError(f"the model cannot be exported: {why}", where=str(folder), fix="take engine 'torch'")


@contextlib.contextmanager
def _plain_attention(model: Any) -> Iterator[None]:
    """Have attention traced as two products and a softmax, which OpenVINO runs 5 % faster."""
    changed = []
    for module in model.modules():
        before = getattr(getattr(module, "config", None), "_attn_implementation", None)
        if before is None or not hasattr(module, "set_attn_implementation"):
            continue
        with contextlib.suppress(ValueError, TypeError, AttributeError):  # it has but one
            module.set_attn_implementation("eager")
            changed.append((module, before))
    try:
        yield
    finally:
        for module, before in changed:
            module.set_attn_implementation(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on itself and on tracing from the terminal."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
