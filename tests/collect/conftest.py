"""Encoders that take their time, and vectors that are known without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from embedtune.data import Dataset
from embedtune.encoders.vectors import VectorsEncoder


@pytest.fixture
def slow_down(clock: Any) -> Callable[[Any], None]:
    """Have every ten texts of an encoder take a second."""

    def slow_down(encoder: Any) -> None:
        encode = encoder.encode

        def slowly(items: list[str], *, kind: str = "document") -> Any:
            clock.now += 1.0
            return encode(items, kind=kind)

        encoder.encode = slowly

    return slow_down


@pytest.fixture
def by_id() -> Callable[[Dataset, Any], VectorsEncoder]:
    """Give the vectors of a dataset's texts by their ids alone."""

    def by_id(dataset: Dataset, encoder: Any) -> VectorsEncoder:
        return VectorsEncoder.from_arrays(
            {
                "queries": (dataset.query_ids, encoder.encode(dataset.query_texts)),
                "documents": (dataset.document_ids, encoder.encode(dataset.document_texts)),
            }
        )

    return by_id
