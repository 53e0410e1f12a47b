"""The benchmark's sets: data through embedtune's readers, vectors through its encoders and their cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.data import Dataset, read
from embedtune.data.demo import load as load_demo
from embedtune.encoders import load_encoder
from embedtune.judging.metrics import evaluate_ranks
from embedtune.search import positive_ranks
from embedtune.types import Encoder, Vectors

SETS = (
    "demo",
    "scifact",
    "nl2bash",
    "medquad",
    "cosqa",
    "cranfield",
    "npl",
    "cisi",
    "abt-buy",
    "amazon-google",
    "rqe-clinical",
)
"""The retrieval sets; all but ``demo`` are folders of ``--data``, in BEIR's layout."""

CLASS_SETS = ("banking77", "hwu64", "trec6", "hint3", "medical-abstracts", "sst2", "unfair-tos")
"""Texts by class."""

IMAGE_SETS = ("clothing-small", "omniglot-small", "omniglot-small/unseen")
"""Images by class; in the last, the classes of the test split are others than those of train."""

SCORED_SETS = ("stsb", "sick")
HISTORY_SETS = ("movielens-small",)

IMAGE_BASE = "efficientnet-lite0"
DATA = Path("../shared/data")
BASE = "all-MiniLM-L6-v2"
METRIC = "ndcg@10"
STRATA = ("overall", "seen", "unseen")

Map = Callable[[Vectors], Vectors]


@dataclass(frozen=True)
class BenchmarkSet:
    """A dataset and the base's vectors of it."""

    name: str
    dataset: Dataset
    encoder: Encoder
    queries: Vectors
    """(n, d), every query of every split."""
    documents: Vectors
    """(N, d)."""
    encode_seconds: float
    """Near zero where the vectors were in the cache."""

    @cached_property
    def train(self) -> csr_matrix:
        """Positives of the train split, (n, N)."""
        return self.dataset.relevance(["train"])

    @cached_property
    def dev(self) -> csr_matrix:
        """Positives of the dev split, (n, N)."""
        return self.dataset.relevance(["dev"])

    @cached_property
    def test_rows(self) -> NDArray[np.int64]:
        """Rows of the queries that have a positive in the test split, (t,)."""
        return self.dataset.query_rows(["test"])

    @cached_property
    def test(self) -> csr_matrix:
        """Positives of the test queries, (t, N)."""
        return self.dataset.relevance(["test"])[self.test_rows]

    @cached_property
    def strata(self) -> dict[str, NDArray[np.bool_]]:
        """Which test queries are in which stratum, (t,); seen: a positive has a query in the train split."""
        trained = (np.asarray(self.train.sum(axis=0)).ravel() > 0).astype(np.float32)
        seen = (self.test != 0).astype(np.float32) @ trained > 0
        return {"overall": np.ones(len(seen), np.bool_), "seen": seen, "unseen": ~seen}

    def scores(self, map_queries: Map, map_documents: Map) -> NDArray[np.float64]:
        """nDCG@10 of each test query, (t,), by inner product of the mapped vectors."""
        ranks = positive_ranks(
            map_queries(self.queries[self.test_rows]), map_documents(self.documents), self.test
        )
        return evaluate_ranks(ranks, self.test, [METRIC])[METRIC]

    def means(self, scores: NDArray[np.float64]) -> dict[str, float | None]:
        """Mean of the scores (t,) in each stratum; None where it is empty."""
        return {
            name: float(scores[members].mean()) if members.any() else None
            for name, members in self.strata.items()
        }


def read_set(name: str, data: Path = DATA) -> Dataset:
    """Read the set called ``name``: the demo, or a folder of ``data``."""
    return load_demo() if name == "demo" else read(data / name)


def load_set(name: str, data: Path = DATA, base: str = BASE) -> BenchmarkSet:
    """Read and encode a set; ``{set}`` in ``base`` stands for its name (``vectors:somewhere/{set}``)."""
    dataset = read_set(name, data)
    encoder = load_encoder(base.replace("{set}", name))
    start = time.perf_counter()
    by_id = encoder.content == "id"
    queries = encoder.encode(dataset.query_ids if by_id else dataset.query_texts, kind="query")
    documents = encoder.encode(dataset.document_ids if by_id else dataset.document_texts, kind="document")
    return BenchmarkSet(name, dataset, encoder, queries, documents, time.perf_counter() - start)


def without_test(dataset: Dataset) -> Dataset:
    """Leave out the test judgements, and the queries that have no others."""
    other = [split != "test" for split in dataset.qrels["split"].to_pylist()]
    qrels = dataset.qrels.filter(pa.array(other))
    kept, row = np.unique(qrels["query"].to_numpy(), return_inverse=True)
    place = qrels.schema.get_field_index("query")
    qrels = qrels.set_column(place, "query", pa.array(row, pa.int32()))
    return replace(dataset, queries=dataset.queries.take(kept), qrels=qrels)


def chosen(names: Sequence[str]) -> list[str]:
    """Spell out ``all``."""
    return list(dict.fromkeys(one for name in names for one in (SETS if name == "all" else [name])))
