"""Labels that nobody gave are left out, and only those."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from embedtune.training.retrieval import TuningData
from embedtune.tuners.own_labels import OwnLabels
from embedtune.tuners.ridge import RidgeTuner


def data() -> TuningData:
    rng = np.random.default_rng(0)
    q, z = rng.standard_normal((8, 4)).astype(np.float32), rng.standard_normal((6, 4)).astype(np.float32)
    pairs = csr_matrix((np.ones(8, np.float32), (np.arange(8), rng.integers(0, 6, 8))), shape=(8, 6))
    return TuningData(
        q, z, pairs, pairs, [f"d{i}" for i in range(6)], "dot", pairs, np.arange(8, dtype=np.float32)
    )


def test_a_map_is_that_of_peoples_own_labels() -> None:
    made = np.arange(8) >= 5
    both, own = replace(data(), made=made), data()
    few = replace(
        own, queries=own.queries[:5], positives=own.positives[:5], known=own.known[:5],
        negatives=own.negatives[:5], weight=own.weight[:5],
    )  # fmt: skip
    found, expected = OwnLabels(RidgeTuner()).fit(both), RidgeTuner().fit(few)
    np.testing.assert_array_equal(found.query, expected.query)
    assert not np.array_equal(RidgeTuner().fit(both).query, expected.query)
    kept = both.own()
    assert len(kept) == kept.negatives.shape[0] == len(kept.weight) == 5
    assert kept.made is None
    assert own.own() is own


def test_where_nobody_gave_any_nothing_moves() -> None:
    assert OwnLabels(RidgeTuner()).fit(replace(data(), made=np.ones(8, bool))).kind == "identity"
