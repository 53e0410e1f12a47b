"""Metrics on a case worked by hand, and their names."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.errors import UserError
from embedtune.judging.metrics import METRICS, Metric, evaluate_ranks, parse_metric

# Query 0: grades 3, 1, 2 at ranks 2, 3, 12. Query 1: nothing judged. Query 2: grade 1 at rank 1.
RELEVANCE = csr_matrix(([3.0, 1.0, 2.0, 1.0], ([0, 0, 0, 2], [5, 6, 7, 0])), shape=(3, 20))
RANKS = np.array([2, 3, 12, 1], np.int32)
D = [math.log2(rank + 1) for rank in range(20)]  # D[r] = log2(r + 1)

EXPECTED = {
    "ndcg@10": (3 / D[2] + 1 / D[3]) / (3 / D[1] + 2 / D[2] + 1 / D[3]),
    "ndcg@2": (3 / D[2]) / (3 / D[1] + 2 / D[2]),
    "ndcg": (3 / D[2] + 1 / D[3] + 2 / D[12]) / (3 / D[1] + 2 / D[2] + 1 / D[3]),
    "mrr": 1 / 2,
    "recip_rank": 1 / 2,
    "mrr@1": 0.0,
    "mrr@2": 1 / 2,
    "recall@10": 2 / 3,
    "precision@10": 2 / 10,
    "map": (1 / 2 + 2 / 3 + 3 / 12) / 3,
    "map@10": (1 / 2 + 2 / 3) / 3,
    "hit@1": 0.0,
    "hit@2": 1.0,
    "success@2": 1.0,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_by_hand(name):
    values = evaluate_ranks(RANKS, RELEVANCE, [name])[name]

    assert values.dtype == np.float64
    assert values[0] == pytest.approx(EXPECTED[name], abs=1e-12)
    assert np.isnan(values[1])
    assert values[2] == (0.1 if name == "precision@10" else 1.0)


def test_every_metric_is_worked_by_hand():
    assert {name.partition("@")[0] for name in EXPECTED} == set(METRICS)


def test_the_order_of_pairs_within_a_query_does_not_matter():
    shuffled = csr_matrix(([2.0, 3.0, 1.0, 1.0], [7, 5, 6, 0], [0, 3, 3, 4]), shape=(3, 20))
    values = evaluate_ranks(np.array([12, 2, 3, 1]), shuffled, list(EXPECTED))

    for name, expected in EXPECTED.items():
        assert values[name][0] == pytest.approx(expected, abs=1e-12)


def test_grades_of_zero_and_less_are_no_positives():
    relevance = csr_matrix((np.array([1.0, -1.0]), np.array([0, 1]), np.array([0, 2])), shape=(1, 2))

    assert evaluate_ranks(np.array([2, 1]), relevance, ["recall@1", "mrr"]) == {
        "recall@1": [0.0],
        "mrr": [0.5],
    }


def test_names():
    assert parse_metric(" NDCG@10 ") == Metric("ndcg", 10)
    assert str(parse_metric("map")) == "map"
    assert str(parse_metric("hit@3")) == "hit@3"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ndgc@10", "there is no metric called 'ndgc@10'; did you mean 'ndcg'"),
        ("accuracy", "choose from ndcg, ndcg@k, mrr, mrr@k.*recall@k, precision@k"),
        ("ndcg@0", "cutoff of 'ndcg@0'"),
        ("ndcg@", "cutoff of 'ndcg@'"),
        ("mrr@ten", "write for example 'mrr@10'"),
        ("recall", "'recall' needs a cutoff"),
    ],
)
def test_wrong_names_say_what_would_be_right(name, message):
    with pytest.raises(UserError, match=message):
        parse_metric(name)


def test_ranks_that_do_not_belong_to_the_judgements():
    with pytest.raises(UserError, match="3 ranks for 4 judgements"):
        evaluate_ranks(RANKS[:3], RELEVANCE)
    with pytest.raises(UserError, match="a rank is 0"):
        evaluate_ranks(RANKS - 1, RELEVANCE)
