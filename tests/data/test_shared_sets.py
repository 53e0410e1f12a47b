"""The development sets, where the folder with them lies beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedtune.data import read

SETS = Path(__file__).resolve().parents[3] / "shared" / "data"
QUERIES = {"abt-buy": 1016, "amazon-google": 992, "cisi": 76, "cosqa": 1279, "cranfield": 225}
QUERIES |= {"medquad": 4424, "nl2bash": 11248, "npl": 93, "rqe-clinical": 3180, "scifact": 1107}
TEXTS = {"banking77": 13023, "hint3": 2358, "trec6": 5865, "medical-abstracts": 2770, "unfair-tos": 6391}

pytestmark = pytest.mark.skipif(
    not SETS.is_dir(), reason="the folder shared/data is not beside the repository"
)


@pytest.mark.parametrize("name", QUERIES)
def test_retrieval_sets(name: str) -> None:
    data = read(SETS / name)
    assert data.task == "retrieval"
    assert data.splits == ("train", "dev", "test")
    assert len(data.query_rows(data.splits)) == QUERIES[name]
    splits = [set(data.query_rows([split])) for split in data.splits]
    assert sum(map(len, splits)) == QUERIES[name]  # every query in one split only


@pytest.mark.parametrize("name", TEXTS)
def test_classification_sets(name: str) -> None:
    data = read(SETS / name)
    assert data.task == "classification"
    assert len(data.documents) == TEXTS[name]
    assert all(len(labels) == 1 for labels in data.labels)
