"""NUDGE as a tuner: the same vectors as the functions, on the same fifth of the queries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from embedtune.transforms import Identity, ItemDeltas
from embedtune.tuners.nudge import nudge_m, nudge_n
from embedtune.tuners.published_nudge import NudgeM, NudgeN


@pytest.mark.parametrize(("tuner", "method"), [(NudgeN(), nudge_n), (NudgeM(), nudge_m)])
def test_documents_end_where_the_published_method_puts_them(tuner, method, make_repeated: Callable) -> None:
    data = make_repeated().data
    order = np.random.default_rng(4).permutation(50)  # a fifth of 50 chooses the distance
    chosen, rest = np.sort(order[:10]), np.sort(order[10:])
    moved = method(
        data.documents, data.queries[rest], data.positives[rest], data.queries[chosen], data.positives[chosen]
    )
    fitted = tuner.fit(data, seed=4)
    assert isinstance(fitted, ItemDeltas)
    assert fitted.ids == tuple(f"d{row}" for row in moved.moved_rows)
    after = fitted.documents(data.documents, data.document_ids)
    np.testing.assert_allclose(after[moved.moved_rows], moved.new_vectors, atol=1e-6)
    assert fitted.normalise == (tuner.name == "nudge-n")


@pytest.mark.parametrize("tuner", [NudgeN(), NudgeM()])
def test_fewer_than_five_queries_move_nothing(tuner, make_world: Callable) -> None:
    assert isinstance(tuner.fit(make_world(4, 30).data), Identity)
