"""Folders of images by label: ``<label>/x.jpg``, or ``train/<label>/x.jpg`` beside ``test/<label>/…``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from embedtune.data.dataset import Dataset
from embedtune.data.images import SUFFIXES
from embedtune.data.readers import Request
from embedtune.data.readers.formats import FORMATS, Row
from embedtune.data.readers.rows import Part, build
from embedtune.data.readers.values import split_name
from embedtune.errors import DataError

_SPLITS = ("train", "dev", "test")


class ImageFolder:
    """Reads a folder whose subfolders are labels; a label may be several folders deep: ``Greek/alpha``."""

    def accepts(self, source: object) -> bool:
        """Say whether ``source`` is a folder with images in subfolders and no files of rows beside them."""
        if not isinstance(source, Path) or not source.is_dir():
            return False
        if any(path.suffix.lower() in FORMATS for path in source.iterdir() if path.is_file()):
            return False
        return next(_images(source), None) is not None

    def read(self, source: Path, asked: Request) -> Dataset:
        """Read the folder; where all its subfolders are called train, dev or test, they are the splits.

        An item's id is its path, relative to the folder.

        Raises
        ------
        DataError
            When an image lies in no label's folder, or cannot be read.
        """
        if asked.task not in (None, "classification") or asked.roles:
            what = "a folder of images by label is a classification dataset with fixed roles"
            raise DataError(what, where=str(source), fix="leave out task and roles")
        folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
        if all(split_name(folder.name) in _SPLITS for folder in folders):
            by_split = sorted(folders, key=lambda folder: _SPLITS.index(split_name(folder.name)))
            parts = [
                Part(str(source), split_name(folder.name), _rows(source, folder), str(source))
                for folder in by_split
            ]
        else:
            parts = [Part(str(source), "train", _rows(source, source), str(source))]
        return build(parts, asked, str(source))


def _rows(root: Path, folder: Path) -> Iterator[Row]:
    for path in _images(folder):
        label = path.relative_to(folder).parent.as_posix()
        if label == ".":
            fix = "put it into a folder that is called as its label"
            raise DataError("this image is in no label's folder", where=str(path), fix=fix)
        name = path.relative_to(root).as_posix()
        yield 0, {"image": name, "label": [label], "id": name}


def _images(folder: Path) -> Iterator[Path]:
    """Give the images below a folder, in order; hidden files and folders are passed over."""
    for where, inside, files in os.walk(folder):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(where, name)
