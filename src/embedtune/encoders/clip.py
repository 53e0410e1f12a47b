"""Models of texts and images in one space, as sentence-transformers loads them from a folder (CLIP)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.data.images import ImagePath, ImageProblem, image_keys, in_parallel, open_image
from embedtune.encoders.cache import content_keys
from embedtune.encoders.model_folder import ModelFolder, read_json
from embedtune.encoders.transformer import TransformerEncoder, unit_rows
from embedtune.errors import DataError
from embedtune.extras import require
from embedtune.types import Kind, Vectors

BATCH = 32
"""Images that go through the model at once."""

SIDE = 512
"""Pixels that a JPEG is asked for; models read 224 to 448 of them."""


class ClipEncoder(TransformerEncoder):
    """A sentence-transformers folder that reads texts, and images given as ImagePath.

    Parameters are those of :class:`~embedtune.encoders.transformer.TransformerEncoder`.

    Raises
    ------
    MissingExtra
        When sentence-transformers or Pillow is not installed.
    """

    images = True

    def __init__(self, folder: str | Path, **options: Any) -> None:
        require("PIL.Image", extra="images", who="encoder 'clip'")
        super().__init__(folder, **options)

    @cached_property
    def dimension(self) -> int:
        """Width of the vectors, which only the model itself knows."""
        return int(self._forward(["a"], "document").shape[1])

    def content_keys(self, prompt: str, items: Sequence[str]) -> NDArray[np.uint8]:
        """Give the cache's keys, uint8 (n, 32): of images by the content of their files."""
        keys = np.empty((len(items), 32), np.uint8)
        pictured = np.array([isinstance(item, ImagePath) for item in items], bool)
        for rows, make in ((np.flatnonzero(~pictured), content_keys), (np.flatnonzero(pictured), image_keys)):
            if len(rows):
                keys[rows] = make(prompt, [items[row] for row in rows.tolist()])
        return keys

    def encode_parts(
        self, items: Sequence[str], *, kind: Kind = "document"
    ) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
        """Give rows of ``items``, texts or images, and their vectors, batch by batch.

        Raises
        ------
        DataError
            When images cannot be opened: one line for each.
        """
        pictured = np.array([isinstance(item, ImagePath) for item in items], bool)
        texts, images = np.flatnonzero(~pictured), np.flatnonzero(pictured)
        for rows, found in super().encode_parts([items[row] for row in texts.tolist()], kind=kind):
            yield texts[rows], found
        for start in range(0, len(images), BATCH):
            rows = images[start : start + BATCH]
            found = self._of_images([items[row] for row in rows.tolist()])
            yield rows, unit_rows(found) if self.similarity == "cosine" else found

    def later_windows(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
        """Cut what is not read of texts into windows; of images all is read."""
        return super().later_windows(["" if isinstance(text, ImagePath) else text for text in texts])

    def _of_images(self, paths: list[str]) -> Vectors:
        opened = list(in_parallel(_open, paths))
        wrong = [
            f"{path}: {one}" for path, one in zip(paths, opened, strict=True) if isinstance(one, ImageProblem)
        ]
        if wrong:
            raise DataError("\n".join(wrong), fix="mend or remove them")
        vectors = self._model.encode(opened, batch_size=len(opened), show_progress_bar=False)
        return np.array(vectors, np.float32)


def is_clip(folder: Path) -> bool:
    """Whether a folder is a sentence-transformers model that reads images too."""
    if not (folder / "modules.json").is_file():
        return False
    files = ModelFolder.read(folder)
    if "CLIPModel" in files.kinds():
        return True
    settings = [files.module_path(module) / "sentence_bert_config.json" for module in files.modules]
    return any("image" in (read_json(path, missing={}).get("modality_config") or {}) for path in settings)


def _open(path: str) -> Any:
    try:
        return open_image(path, side=SIDE)
    except ImageProblem as problem:
        return problem
