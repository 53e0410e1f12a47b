"""Every metric against trec_eval itself, on random graded judgements."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.judging.metrics import evaluate_ranks

pytrec_eval = pytest.importorskip("pytrec_eval")

NAMES = {
    "ndcg": "ndcg",
    "ndcg@5": "ndcg_cut_5",
    "ndcg@10": "ndcg_cut_10",
    "recip_rank": "recip_rank",
    "mrr": "recip_rank",
    "map": "map",
    "map@10": "map_cut_10",
    "recall@5": "recall_5",
    "precision@10": "P_10",
    "hit@5": "success_5",
    "success@10": "success_10",
}


@pytest.mark.parametrize("highest_grade", [1, 4])
def test_as_trec_eval(highest_grade):
    rng = np.random.default_rng(highest_grade)
    n, size = 60, 40
    ranking = np.array([rng.permutation(size) for _ in range(n)])  # ranking[q, i]: the document at rank i + 1
    grades = rng.integers(1, highest_grade + 1, (n, size)) * (rng.random((n, size)) < rng.random((n, 1)) ** 2)
    grades[:, 0] = np.maximum(grades[:, 0], 1)
    run = {f"q{q}": {f"d{d}": float(size - i) for i, d in enumerate(row)} for q, row in enumerate(ranking)}
    qrels = {f"q{q}": {f"d{d}": int(g) for d, g in enumerate(row)} for q, row in enumerate(grades)}
    measures = {"ndcg", "ndcg_cut", "recip_rank", "map", "map_cut", "recall", "P", "success"}
    expected = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)

    relevance = csr_matrix(grades.astype(np.float32))
    ranks = (np.argsort(ranking, axis=1) + 1)[relevance.nonzero()]
    values = evaluate_ranks(ranks, relevance, list(NAMES))

    for ours, theirs in NAMES.items():
        np.testing.assert_allclose(
            values[ours], [expected[f"q{q}"][theirs] for q in range(n)], rtol=0, atol=1e-9
        )
