"""Files of rows: one file, or a folder with a file for each split."""

from __future__ import annotations

import re
from pathlib import Path

from embedtune.data.dataset import Dataset
from embedtune.data.readers import Request
from embedtune.data.readers.formats import FORMATS
from embedtune.data.readers.rows import Part, build
from embedtune.data.readers.values import split_name
from embedtune.errors import DataError

_SPLIT_FILE = re.compile(r"(train|training|dev|validation|valid|val|test)([-_.].*)?", re.IGNORECASE)


class Files:
    """Reads a JSONL, JSON, CSV, TSV, Parquet or Arrow file, or train/dev/test files of a folder."""

    def accepts(self, source: object) -> bool:
        """Say whether ``source`` is a path."""
        return isinstance(source, Path)

    def read(self, source: Path, asked: Request) -> Dataset:
        """Read the file, or the split files of the folder.

        A single file is all 'train', unless it has a split column.

        Raises
        ------
        DataError
            When there is nothing there, or the ending is none of the known ones.
        """
        if source.is_dir():
            return build(split_files(source), asked, str(source))
        if not source.exists():
            raise DataError("there is no such file or folder", where=str(source), fix="check the path")
        if source.suffix.lower() not in FORMATS:
            fix = f"give a BEIR folder or a file that ends in {', '.join(FORMATS)}"
            raise DataError(f"the ending {source.suffix!r} is not known", where=str(source), fix=fix)
        return build([_part(source, "train")], asked, str(source))


def _part(path: Path, split: str) -> Part:
    return Part(str(path), split, FORMATS[path.suffix.lower()](path), str(path.parent))


def split_files(folder: Path) -> list[Part]:
    """Find train, dev and test, in this order; several files of one ending (shards) are one split."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _SPLIT_FILE.fullmatch(path.name.removesuffix(path.suffix))
        if match and path.suffix.lower() in FORMATS and path.is_file():
            found.setdefault(split_name(match[1]), []).append(path)
    for split, paths in found.items():
        if len({path.suffix for path in paths}) > 1:
            names = ", ".join(path.name for path in paths)
            raise DataError(
                f"split {split!r} is there twice: {names}", where=str(folder), fix="keep one of them"
            )
    if not found:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise DataError(
            f"no dataset in this folder; it holds {there}",
            where=str(folder),
            fix="give a file, a folder with train/dev/test files, or a BEIR folder "
            "(corpus.jsonl, queries.jsonl, qrels/)",
        )
    return [_part(path, split) for split in ("train", "dev", "test") for path in found.get(split, [])]
