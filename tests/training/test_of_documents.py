"""What belongs to documents follows them when collections are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embedtune.training.of_documents import PseudoQueries, Unread


@pytest.mark.parametrize("kind", [PseudoQueries, Unread])
def test_of_some_documents_it_keeps_its_kind_and_their_new_places(kind: Any) -> None:
    every = kind(np.eye(4, dtype=np.float32), np.array([0, 2, 5, 2]))
    some = every.among(np.array([2, 3, 5]), 7)
    assert type(some) is kind
    assert some.documents.tolist() == [0, 2, 0]
    np.testing.assert_array_equal(some.vectors, np.eye(4)[1:])
