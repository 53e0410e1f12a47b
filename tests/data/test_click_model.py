"""The position-based model against answers worked by hand, and what becomes of a log that is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtune.data import read
from embedtune.data.click_model import position_based
from embedtune.errors import DataError


def counts(examination, attraction, shown):
    """Expected clicks of every pair in every position: n * examination * attraction."""
    rows = [
        (pair, position, shown * theta * gamma, shown)
        for pair, gamma in enumerate(attraction)
        for position, theta in enumerate(examination)
    ]
    pair, position, clicks, impressions = (np.array(column) for column in zip(*rows, strict=True))
    return pair, position, clicks.astype(float), impressions.astype(float)


def test_expected_counts_give_examination_and_attraction_back() -> None:
    examination, attraction = [1.0, 0.6, 0.25], [0.8, 0.4, 0.1]
    model = position_based(*counts(examination, attraction, 1000), prior=0)
    np.testing.assert_allclose(model.examination, examination, atol=1e-3)
    np.testing.assert_allclose(model.attraction, attraction, atol=1e-3)
    np.testing.assert_allclose(model.looks, [1850] * 3, rtol=1e-3)  # 1000 * (1 + .6 + .25)


def test_a_swap_separates_position_from_attraction() -> None:
    # A stood first 900 times and second 100 times, B the other way round; both attract with .5, and the
    # second position is looked at half as often: raw shares of clicks are .475 and .275.
    pair, position = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    shown = np.array([900.0, 100.0, 100.0, 900.0])
    clicks = shown * 0.5 * np.array([1.0, 0.5, 1.0, 0.5])
    model = position_based(pair, position, clicks, shown, prior=0)
    np.testing.assert_allclose(model.attraction, [0.5, 0.5], atol=2e-3)
    np.testing.assert_allclose(model.examination, [1, 0.5], atol=2e-3)


def test_without_swaps_positions_keep_their_share_of_clicks() -> None:
    model = position_based(
        np.array([0, 1]), np.array([0, 1]), np.array([40.0, 10.0]), np.array([100.0, 100.0]), prior=0
    )
    np.testing.assert_allclose(model.examination, [1, 0.25], atol=1e-6)
    np.testing.assert_allclose(model.attraction, [0.4, 0.4], atol=1e-6)


def test_the_prior_draws_rare_pairs_to_the_mean() -> None:
    # one position; 10 clicks on 101 looks in all: the mean is 10/101; the second pair has 1 click on 1 look
    model = position_based(np.array([0, 1]), np.array([0, 0]), np.array([9.0, 1.0]), np.array([100.0, 1.0]))
    mean = 10 / 101
    np.testing.assert_allclose(model.attraction, [(9 + mean) / 101, (1 + mean) / 2], rtol=1e-6)


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 50), st.integers(0, 50)), min_size=1
    )
)
def test_estimates_are_chances_whatever_the_counts(rows) -> None:
    pair, position, clicks, more = (np.array(column) for column in zip(*rows, strict=True))
    model = position_based(pair, position, clicks.astype(float), (clicks + more).astype(float))
    for values in (model.examination, model.attraction):
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert (values <= 1).all()


LOG = [
    # query, document, position, clicks, impressions
    ("flu", "Influenza", 1, 40, 100),
    ("flu", "Influenza", 2, 20, 100),
    ("flu", "Common cold", 2, 10, 100),
    ("flu", "Common cold", 1, 20, 100),
    ("flu", "Broken bone", 1, 0, 100),
    ("flu", "Sunburn", 1, 0, 2),
    ("rash", "Eczema", 1, 0, 100),
]


def test_a_log_becomes_graded_judgements() -> None:
    names = ("query", "document", "position", "clicks", "impressions")
    data = read([dict(zip(names, row, strict=True)) for row in LOG])
    assert data.task == "retrieval"
    assert data.document_texts[:3] == ["Influenza", "Common cold", "Broken bone"]
    grades = dict(zip(data.qrels["document"].to_pylist(), data.qrels["grade"].to_pylist(), strict=True))
    assert grades[0] == pytest.approx(0.4, abs=0.01)
    assert grades[1] == pytest.approx(0.2, abs=0.01)
    assert grades[2] == 0  # looked at often enough, and never clicked
    assert set(grades) == {0, 1, 2}  # Sunburn was hardly seen, and rash had no clicks at all
    assert data.roles["examination of positions"] == "1: 1.00, 2: 0.50"
    assert data.query_rows(["train"]).tolist() == [0]


def test_single_impressions_add_up_and_clicks_by_mistake_do_not_count() -> None:
    rows = [{"query": "q", "document": "good", "clicks": int(n < 60)} for n in range(100)]
    rows += [{"query": "q", "document": "bad", "clicks": int(n < 2)} for n in range(100)]
    data = read(rows)
    assert data.qrels["grade"].to_pylist() == [pytest.approx((60 + 0.31) / 101), 0]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"clicks": "3", "impressions": "2"}, "3 clicks on 2 impressions"),
        ({"clicks": "-1", "impressions": "2"}, "-1 clicks"),
        ({"clicks": "many", "impressions": "2"}, "'many' is not a number"),
        ({"clicks": "1", "impressions": "2", "position": "1.5"}, "1.5 is no position"),
        ({"clicks": "0", "impressions": "2"}, "nothing was clicked"),
    ],
)
def test_impossible_counts_are_named(tmp_path: Path, cells: dict[str, str], message: str) -> None:
    row = {"query": "q", "document": "d", **cells}
    path = tmp_path / "log.csv"
    path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n", "utf-8")
    with pytest.raises(DataError) as caught:
        read(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
