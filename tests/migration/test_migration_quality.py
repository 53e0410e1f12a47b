"""What is kept on labelled queries: exact where all is known, close where it is estimated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from unit_length import unit

from embedtune.judging.metrics import evaluate_ranks
from embedtune.migration.quality import judge, ratio
from embedtune.search import positive_ranks


@pytest.fixture
def world():
    """4,000 documents, 300 queries near one each; a map that adds noise."""
    rng = np.random.default_rng(0)
    new = unit(rng.standard_normal((4000, 16)))
    target = rng.integers(0, 4000, 300)
    queries = unit(new[target] + 0.35 * rng.standard_normal((300, 16)))
    mapped = unit(new + 0.15 * rng.standard_normal(new.shape))
    relevance = csr_matrix((np.ones(300, np.float32), (np.arange(300), target)), (300, 4000))
    return queries, relevance, mapped, new


def truth(queries, documents, relevance):
    return evaluate_ranks(positive_ranks(queries, documents, relevance), relevance, ["ndcg@10"])["ndcg@10"]


def run(world, rows, **more):
    queries, relevance, mapped, new = world
    return judge(
        queries=queries,
        relevance=relevance,
        mapped=mapped,
        sampled=(rows, new[rows]),
        encode=lambda asked: new[asked],
        today=None,
        metric="ndcg@10",
        **more,
    )


def test_it_is_exact_where_everything_is_sampled(world):
    queries, relevance, mapped, new = world
    found = run(world, np.random.default_rng(1).permutation(4000))
    assert found.encoded == 0
    assert found.full == pytest.approx(truth(queries, new, relevance))
    assert found.bridged == pytest.approx(truth(queries, mapped, relevance))


def test_a_tenth_tells_nearly_as_much(world):
    queries, relevance, mapped, new = world
    found = run(world, np.random.default_rng(1).permutation(4000)[:400])
    whole = truth(queries, new, relevance).mean()
    assert found.full.mean() == pytest.approx(whole, abs=0.02)
    kept = found.kept(0)
    assert kept.share == pytest.approx(truth(queries, mapped, relevance).mean() / whole, abs=0.02)
    assert kept.ci95[0] < kept.share < kept.ci95[1]
    assert 0 < found.encoded < 3000


def test_what_is_served_today(world):
    queries, relevance, mapped, new = world
    rows = np.arange(100)
    found = judge(
        queries=queries,
        relevance=relevance,
        mapped=mapped,
        sampled=(rows, new[rows]),
        encode=lambda asked: new[asked],
        today=(queries, new),
        metric="ndcg@10",
    )
    assert found.today == pytest.approx(truth(queries, new, relevance))


def test_ratio_by_hand():
    kept = ratio(np.array([0.5, 0.5, 0.0]), np.array([1.0, 0.5, 0.5]), 0)
    assert kept.share == 0.5
    assert kept.n == 3
    assert ratio(np.zeros(2), np.zeros(2), 0).share == 1
    assert ratio(np.ones(5), np.ones(5), 0).ci95 == (1, 1)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        full = rng.random(60)
        kept = ratio(full * rng.uniform(0.5, 1.1, 60), full, seed)
        held += kept.ci95[0] <= 0.8 <= kept.ci95[1]
    assert 0.9 <= held / 200 <= 0.99
