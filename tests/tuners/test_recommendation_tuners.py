"""EASE in factors against EASE itself, next items and content by hand, and the tuners as a whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from embedtune.errors import UserError
from embedtune.training.interactions import Interactions
from embedtune.transforms import Identity, ItemFactors, Pooling
from embedtune.transforms.pooling import Pooled, history_vectors
from embedtune.tuners.content import content_maps
from embedtune.tuners.cooccurrence import decompose, found
from embedtune.tuners.factors import FactorsTuner, PoolingTuner
from embedtune.tuners.held import Held
from embedtune.tuners.next_items import mix, next_item_vectors, pooled_moment


def ease(x: np.ndarray, penalty: float) -> np.ndarray:
    """Steck 2019, as printed in the paper."""
    inverse = np.linalg.inv(x.T @ x + penalty * np.eye(x.shape[1]))
    b = inverse / -np.diag(inverse)
    b[np.diag_indices(len(b))] = 0
    return b


def some(users: int, items: int, seed: int = 0) -> csr_matrix:
    rng = np.random.default_rng(seed)
    return csr_matrix((rng.random((users, items)) < 0.2).astype(np.float32))


@pytest.mark.parametrize("shape", [(15, 40), (40, 15)])
def test_all_factors_give_ease_off_the_diagonal(shape: tuple[int, int]) -> None:
    x = some(*shape)
    u, v = decompose(x, rank=100).factors(penalty=3.0)
    b = u @ v.T
    np.fill_diagonal(b, 0)
    np.testing.assert_allclose(b, ease(x.toarray().astype(float), 3.0), atol=1e-4)


def test_the_decomposition_of_large_data_agrees_with_the_exact_one() -> None:
    rng = np.random.default_rng(0)
    x = csr_matrix(random_array((60, 8), density=0.5, rng=rng) @ random_array((8, 90), density=0.3, rng=rng))
    exact, bounded = decompose(x, 8), decompose(x, 8, small=10)
    np.testing.assert_allclose(bounded.values, exact.values, rtol=1e-4)
    for one, other in zip(exact.factors(2.0), bounded.factors(2.0), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4)


def history(*sequences: list[int], items: int = 4, d: int = 4, timed: bool = True) -> Interactions:
    user = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences])
    item = np.concatenate(sequences)
    x = np.eye(items, d, dtype=np.float32)
    time = np.arange(len(item)) if timed else None
    return Interactions.of(x, user, item, [f"i{n}" for n in range(items)], time=time)


def test_next_items_by_hand() -> None:
    # histories 0→1→2 and 0→2 with u = unit vectors and half-lives of 1:
    # moments z: 0 | e0 | e0/2 + e1 for the first user, 0 | e0 for the second
    train = history([0, 1, 2], [0, 2])
    u = np.eye(4, dtype=np.float32)
    v = next_item_vectors(train, u, Pooling(half_life=1.0), ahead=1.0, penalty=0.1)
    z = np.array([[1, 0, 0, 0], [0.5, 1, 0, 0], [1, 0, 0, 0]], float)
    wanted = np.array([[0, 1, 0.5, 0], [0, 0, 1, 0], [0, 0, 1, 0]], float)  # what followed each moment
    hold = 0.1 * np.trace(z.T @ z) / 4
    expected = np.linalg.solve(z.T @ z + hold * np.eye(4), z.T @ wanted).T
    np.testing.assert_allclose(v, expected, atol=1e-6)


def test_mixing_gives_both_parts_the_same_weight() -> None:
    u = np.array([[0.5, 0], [0, 0.5]], np.float32)
    ease = found(u)  # |u|² is 1/4, so v = u / (3/4)
    np.testing.assert_allclose(ease, u / 0.75, rtol=1e-6)
    moment = pooled_moment(csr_matrix(np.array([[2.0, 0], [1, 1]], np.float32)), u)
    np.testing.assert_allclose(moment, [[1.25, 0.25], [0.25, 0.25]], rtol=1e-6)
    same = 10 * ease
    mix(same, u, 0.5, moment)
    np.testing.assert_allclose(same, ease, rtol=1e-6)
    turned = np.array([[0, 3.0], [0, 0]], np.float32)
    mix(turned, u, 0.25, np.eye(2))  # lengths: ease (2/3)√2, the other 3
    np.testing.assert_allclose(turned, 0.75 * ease + 0.25 * np.array([[0, 8**0.5 / 3], [0, 0]]), rtol=1e-6)


def test_content_map_by_hand() -> None:
    items = np.array([[2, 0], [0, 2], [5, 5]], np.float32)
    (found,) = content_maps(items, np.array([0, 1]), (np.array([[1.0], [3.0]], np.float32),), 1.0)
    # moment 4 I, its mean eigenvalue 4: (4 + 4)⁻¹ [2 · 1, 2 · 3]
    np.testing.assert_allclose(found, [[0.25, 0.75]], rtol=1e-6)


def grouped(users: int = 60, groups: int = 3, each: int = 12, seed: int = 0) -> Interactions:
    """Users choose within a group of items, whose content says the group."""
    rng = np.random.default_rng(seed)
    items = groups * each
    x = np.eye(groups, 8)[np.arange(items) % groups] + 0.05 * rng.standard_normal((items, 8))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    rows = [
        (u, i * groups + u % groups, n) for u in range(users) for n, i in enumerate(rng.permutation(each)[:6])
    ]
    user, item, time = np.array(rows).T
    return Interactions.of(x, user, item, [f"i{n}" for n in range(items)], time=time)


def test_the_tuner_keeps_the_width_and_finds_the_group_also_for_new_items() -> None:
    data = grouped()
    known = data.take(data.item >= 6)  # items 0 to 5, two of each group, are new
    fitted = FactorsTuner().fit(known)
    assert isinstance(fitted, ItemFactors)
    documents = fitted.documents(data.items, data.item_ids)
    assert documents.shape == data.items.shape
    np.testing.assert_allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-5)
    queries = known.matrix(fitted.pooling) @ history_vectors(fitted, data.items, data.item_ids)
    scores = queries @ documents.T
    for items in (np.arange(6), np.arange(6, 36)):
        best = items[scores[:, items].argmax(axis=1)]
        assert np.mean(best % 3 == np.arange(60) % 3) > 0.95


def test_boosts_are_judged_as_the_maps_that_they_make() -> None:
    data = grouped(users=200, groups=5, each=40)
    rng = np.random.default_rng(0)
    held = Held.of(data, data.last(0.3), rng.random(len(data.items)) < 0.2, rng)
    fitted = FactorsTuner(penalty=5.0, pooling=Pooling(half_life=3.0), boost=1.0, rank=7).fit(held.train)
    boosts = (0.1, 0.3, 0.6, 1.0, 1.5, 40.0)  # by the last some are longer than any known item
    recalls = held.boosted(fitted, boosts)
    x, ids = data.items, data.item_ids
    queries = held.train.matrix(fitted.pooling)[held.rows] @ fitted.histories(x, ids)
    targets, seen = (one.matrix()[held.rows].toarray() > 0 for one in (held.targets, held.train))
    for boost, recall in zip(boosts, recalls, strict=True):
        one = replace(fitted, content_found=np.float32(boost) * fitted.content_found)
        scores = np.where(seen, -np.inf, queries @ one.documents(x, ids).T)
        first = np.argsort(-scores, axis=1)[:, :20]
        hits = np.take_along_axis(targets, first, 1).sum(axis=1) / targets.sum(axis=1)
        assert recall == pytest.approx(hits.mean())
    assert len(set(recalls)) > 2


def test_ranking_is_that_of_the_factors_products() -> None:
    data = grouped()
    tuner = FactorsTuner(rank=5, following=0.0, penalty=2.0, pooling=Pooling(), boost=1.0)
    fitted = tuner.fit(data)
    u, v = decompose(data.matrix(), 5).factors(2.0)
    documents = fitted.documents(data.items, data.item_ids)
    assert documents.shape[1] == 6
    got = history_vectors(fitted, data.items, data.item_ids) @ documents.T
    longest = np.linalg.norm(v[data.popularity > 0], axis=1).max()
    np.testing.assert_allclose(got * longest, u @ v.T, atol=1e-3)  # in half precision


def test_the_same_seed_gives_the_same_map() -> None:
    one, two = (FactorsTuner().fit(grouped(), seed=3).state() for _ in range(2))
    assert one[1] == two[1]
    assert all(np.array_equal(t, two[0][name]) for name, t in one[0].items())


def test_nothing_chosen_and_nothing_to_hold_out() -> None:
    data = grouped()
    assert isinstance(FactorsTuner().fit(data.take(np.zeros(len(data), bool))), Identity)
    singles = data.take(data.place == 0)
    assert isinstance(FactorsTuner().fit(singles), ItemFactors)
    assert isinstance(PoolingTuner().fit(singles), Pooled)


def test_without_times_nothing_is_recent() -> None:
    data = replace(grouped(), time=None)
    assert not data.age.any()
    assert FactorsTuner().fit(data).pooling.half_life is None


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(UserError, match="following"):
        FactorsTuner(following=2)
    with pytest.raises(UserError, match="half_life"):
        Pooling(half_life=0)


def test_of_two_equal_choices_the_latest_counts() -> None:
    x = np.eye(3, dtype=np.float32)
    data = Interactions.of(
        x, [0, 1, 0, 0], [2, 1, 0, 2], ["a", "b", "c"], rating=[1, 5, 3, 4], time=[1, 9, 2, 3]
    )
    assert data.user.tolist() == [0, 0, 1]
    assert data.item.tolist() == [0, 2, 1]
    assert data.rating.tolist() == [3, 4, 5]
    assert data.age.tolist() == [1, 0, 0]
    np.testing.assert_allclose(data.liking, [-0.5, 0.5, 0])
    assert data.matrix(Pooling(half_life=1.0)).toarray().tolist() == [[0.5, 0, 1], [0, 1, 0]]


def test_low_ratings_keep_a_tenth() -> None:
    weights = Pooling(rating=1.0, spread=2.0).weights(np.zeros(3), np.array([2.0, -1.0, -9.0]))
    np.testing.assert_allclose(weights, [2, 0.5, 0.1])


def test_items_that_nobody_chose_change_no_factors() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 8)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    chosen = np.sort(rng.permutation(30)[:20])
    user, item = np.repeat(np.arange(12), 5), chosen[np.r_[np.arange(20), rng.integers(0, 20, 40)]]
    time = np.arange(60)
    names = [f"i{row}" for row in range(30)]
    every = Interactions.of(x, user, item, names, time=time)
    among = every.among_chosen
    assert among.item_ids == [names[row] for row in chosen]
    np.testing.assert_array_equal(among.matrix().toarray(), every.matrix().toarray()[:, chosen])
    alone = Interactions.of(x[chosen], user, np.searchsorted(chosen, item), among.item_ids, time=time)
    tuner = FactorsTuner(penalty=1.0, pooling=Pooling(), boost=1.0)
    one, other = tuner.fit(every), tuner.fit(alone)
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.history, other.history)
    np.testing.assert_array_equal(one.found, other.found)
