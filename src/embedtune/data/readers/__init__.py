"""Readers: one file a kind of source, one line each in the table below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from embedtune.data.dataset import Dataset, Task
from embedtune.data.problems import Problems
from embedtune.data.slices import SliceColumns
from embedtune.registry import Entry, Registry


@dataclass(frozen=True)
class Request:
    """What the caller asked for, beside the source."""

    task: Task | None = None
    """The task; None infers it from the columns."""
    roles: Mapping[str, str | None] = field(default_factory=dict)
    """Role to column name; an empty name or None says that no column plays the role."""
    problems: Problems = field(default_factory=Problems)
    """Where rows that cannot be used are reported."""
    skip_bad: bool = False
    """Whether images that cannot be read are left out, also where reading is strict."""
    slices: SliceColumns = field(default_factory=SliceColumns)
    """Keeps the columns that results are wanted by; readers hand it every row that they use."""


class Reader(Protocol):
    """Turns one kind of source into a dataset."""

    def accepts(self, source: object) -> bool:
        """Say whether this reader is meant for ``source``; looks at names and types only."""
        ...

    def read(self, source: Any, asked: Request) -> Dataset:
        """Read ``source``."""
        ...


READERS = Registry(
    "reader",
    {
        "vertex": Entry(
            "embedtune.data.readers.vertex:Vertex",
            "folder of corpus.jsonl, queries.jsonl, train.tsv and test.tsv",
        ),
        "beir": Entry(
            "embedtune.data.readers.beir:Beir", "folder of corpus.jsonl, queries.jsonl and qrels/*.tsv"
        ),
        "interactions": Entry(
            "embedtune.data.readers.interactions:InteractionsReader",
            "folder of items.jsonl and train/dev/test files of (user, item[, rating][, timestamp]), "
            "or a dict of the two",
        ),
        "hugging-face": Entry(
            "embedtune.data.readers.hugging_face:HuggingFace",
            "a Hugging Face Dataset or DatasetDict, or a folder of save_to_disk",
        ),
        "llama-index": Entry(
            "embedtune.data.readers.llama_index:LlamaIndex",
            "JSON of LlamaIndex's EmbeddingQAFinetuneDataset: queries, corpus, relevant_docs",
        ),
        "image-folder": Entry("embedtune.data.readers.image_folder:ImageFolder", "folder of images by label"),
        "files": Entry(
            "embedtune.data.readers.files:Files",
            "a JSONL, JSON, CSV, TSV, Parquet or Arrow file, or a folder of train/dev/test files",
        ),
        "memory": Entry(
            "embedtune.data.readers.memory:Memory", "a list of dicts, a DataFrame or an Arrow table in memory"
        ),
    },
)
"""Readers are asked in this order; the first that accepts a source reads it."""
