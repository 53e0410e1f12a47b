"""Folders as Vertex AI's tuning of text embeddings takes them: labels beside corpus and queries.

The layout is BEIR's but for the labels: ``train.tsv``, ``validation.tsv`` and ``test.tsv`` lie in the
folder itself, and their column ``score`` may be left out, which says 1.
"""

from __future__ import annotations

from pathlib import Path

from embedtune.data.readers.beir import Beir
from embedtune.data.readers.values import split_name

_SPLITS = ("train", "dev", "test")


class Vertex(Beir):
    """Reads corpus.jsonl, queries.jsonl and train.tsv, with validation.tsv and test.tsv where they are."""

    def accepts(self, source: object) -> bool:
        """Say whether ``source`` is a folder with a corpus, queries and labels beside them, and no qrels."""
        if not isinstance(source, Path) or (source / "qrels").exists():
            return False
        items = all((source / name).is_file() for name in ("corpus.jsonl", "queries.jsonl"))
        return items and bool(self.qrels_files(source))

    def qrels_files(self, folder: Path) -> list[tuple[Path, str]]:
        """Find the files of labels and their splits, train, dev and test first."""
        found = [
            (path, split_name(path.stem.removesuffix("_labels"))) for path in sorted(folder.glob("*.tsv"))
        ]
        known = [(path, split) for path, split in found if split in _SPLITS]
        return sorted(known, key=lambda file: _SPLITS.index(file[1]))
