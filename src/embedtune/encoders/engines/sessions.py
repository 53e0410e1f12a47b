"""ONNX Runtime and OpenVINO behind one call: token ids in, float32 vectors out."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import ArtifactError
from embedtune.extras import need
from embedtune.types import Vectors

Feed = Mapping[str, NDArray[np.int64]]
"""Inputs of a batch by name, each int64 (texts, tokens)."""


class Session(Protocol):
    """One model file, opened."""

    def __init__(self, file: Path) -> None: ...

    def __call__(self, feed: Feed) -> Vectors:
        """Give the float32 vectors (texts, d) of a batch."""
        ...


class OnnxSession:
    """An ``.onnx`` file in ONNX Runtime, on the processor, in float32.

    Raises
    ------
    MissingExtra
        When onnxruntime is not installed.
    ArtifactError
        When the file cannot be opened.
    """

    def __init__(self, file: Path) -> None:
        library: Any = need("onnxruntime", extra="fast", who="engine 'onnx'")
        options = library.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads()
        try:
            self._session = library.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - its errors have no common ancestor
            raise _unreadable(file, error) from None

    def __call__(self, feed: Feed) -> Vectors:
        """Give the float32 vectors (texts, d) of a batch."""
        return np.asarray(self._session.run(None, dict(feed))[0], np.float32)


class OpenVinoSession:
    """An ``.onnx`` or ``.xml`` file in OpenVINO, on the processor, in float32 where it is not int8 itself.

    Raises
    ------
    MissingExtra
        When openvino is not installed.
    ArtifactError
        When the file cannot be opened.
    """

    settings: ClassVar[Mapping[str, str]] = {
        "INFERENCE_PRECISION_HINT": "f32",  # by itself it takes bfloat16 where it can
        "PERFORMANCE_HINT": "LATENCY",  # all threads work on one batch
    }

    def __init__(self, file: Path) -> None:
        library: Any = need("openvino", extra="fast", who="engine 'openvino'")
        settings = {**self.settings, **({"INFERENCE_NUM_THREADS": threads()} if threads() else {})}
        self._lock = threading.Lock()  # a request serves one batch at a time
        core = library.Core()
        try:
            compiled = core.compile_model(self._read(core, file), "CPU", settings)
            self._request = compiled.create_infer_request()
        except Exception as error:  # noqa: BLE001 - RuntimeError today; it is for the library to say
            raise _unreadable(file, error) from None

    def _read(self, core: Any, file: Path) -> Any:
        """Give what is compiled: the file, or the model in it."""
        return str(file)

    def __call__(self, feed: Feed) -> Vectors:
        """Give the float32 vectors (texts, d) of a batch."""
        with self._lock:
            return np.array(self._request.infer(dict(feed), share_inputs=True)[0], np.float32)


class Bf16Session(OpenVinoSession):
    """The same in bfloat16: half the bytes, and products that a processor with avx512_bf16 or AMX doubles."""

    settings: ClassVar[Mapping[str, str]] = {**OpenVinoSession.settings, "INFERENCE_PRECISION_HINT": "bf16"}


def threads() -> int:
    """Give ``OMP_NUM_THREADS``, which torch heeds too; 0 leaves it to the library."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() else 0


def _unreadable(file: Path, error: Exception) -> ArtifactError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ArtifactError(f"the model cannot be opened: {reason}", where=str(file), fix="export it again")
