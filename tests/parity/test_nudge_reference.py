"""Our NUDGE against the authors' package, nudge-ft."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.tuners.nudge import nudge_m, nudge_n

reference = pytest.importorskip("nudge")


def case(seed):
    """Documents in clusters; queries near a place of their document's own, some with several positives."""
    rng = np.random.default_rng(seed)
    size, d, train, validation = 400, 24, 150, 60
    documents = rng.standard_normal((size, d)) + 2 * rng.standard_normal((20, d))[rng.integers(0, 20, size)]
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    asked_for = documents + 0.2 * rng.standard_normal((size, d))

    def queries(n):
        positives = rng.random((n, size)) < 0.3 / size
        positives[np.arange(n), rng.integers(0, 120, n)] = True
        vectors = positives @ asked_for + 0.1 * rng.standard_normal((n, d))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32), csr_matrix(positives.astype(np.float32))

    return documents.astype(np.float32), *queries(train), *queries(validation)


def as_lists(queries, relevance):
    return {"q_embs": queries, "q_ans_indx": [row.indices.tolist() for row in relevance]}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (nudge_m, "NUDGEM", {}),
        (nudge_n, "NUDGEN", {}),
        (nudge_n, "NUDGEN", {"k": 3}),
    ],
)
def test_as_published(seed, ours, theirs, options, capsys):
    documents, queries, relevance, validation, judged = case(seed)
    expected = getattr(reference, theirs)(device="cpu").finetune_embeddings(
        documents,
        as_lists(queries, relevance),
        as_lists(validation, judged),
        **({"val_k": options["k"]} if options else {}),
    )
    capsys.readouterr()  # it prints

    result = ours(documents, queries, relevance, validation, judged, **options)
    vectors = documents.copy()
    vectors[result.moved_rows] = result.new_vectors

    assert result.gamma > 0
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
