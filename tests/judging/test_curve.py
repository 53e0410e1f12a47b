"""The learning curve: recovers a power law, is sure where it can be, and says what more labels bring."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.errors import UserError
from embedtune.judging.curve import learning_curve

SIZES = [50, 100, 200, 400]


def law(n, a=0.2, b=0.1, c=0.5):
    return a - b * (np.asarray(n) / 400) ** -c


def rows_of(sizes, seed=0, r=400, noise=0.1, own=0.02, **of):
    """Judged rows with gains that go together over the sizes, as those of real rows do."""
    rng = np.random.default_rng(seed)
    common = noise * rng.standard_normal(r)
    return law(sizes, **of)[:, None] + common - common.mean() + own * rng.standard_normal((len(sizes), r))


def test_a_power_law_without_noise_is_found():
    found = learning_curve(SIZES, np.tile(law(SIZES)[:, None], (1, 5)))
    assert (found.limit, found.scale) == pytest.approx((0.2, 0.1), rel=0.1)
    assert found.at(400) == pytest.approx(law(400), abs=1e-3)
    twice, five = found.forecasts
    assert (twice.labels, five.labels) == (800, 2000)
    assert twice.gain == pytest.approx(law(800), abs=2e-3)
    assert five.gain == pytest.approx(law(2000), abs=4e-3)
    assert twice.more == pytest.approx(law(800) - law(400), abs=2e-3)
    assert "with 2× the labels (800): a gain of about +0.129" in found.text()


def test_intervals_hold_what_they_promise():
    inside = []
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        common, own = 0.3 * rng.standard_normal(300), 0.15 * rng.standard_normal((4, 300))
        found = learning_curve(SIZES, law(SIZES)[:, None] + common + own, samples=300, seed=seed)
        inside.append([one.ci95[0] <= law(one.labels) <= one.ci95[1] for one in found.forecasts])
    assert np.mean(inside, axis=0).min() > 0.85


def test_a_flat_curve_promises_nothing_and_a_falling_one_neither():
    flat = learning_curve(SIZES, np.full((4, 30), 0.1))
    assert flat.forecasts[1].more == pytest.approx(0, abs=1e-9)
    falling = learning_curve(SIZES, np.tile(np.array([[0.4], [0.3], [0.2], [0.1]]), (1, 30)))
    assert falling.scale == 0
    assert falling.forecasts[1].more == 0


def test_few_judged_rows_make_it_unsure():
    few = learning_curve(SIZES, rows_of(SIZES, r=20, own=0.2)).forecasts[1]
    many = learning_curve(SIZES, rows_of(SIZES, r=2000, own=0.2)).forecasts[1]
    assert np.diff(few.ci95) > 2 * np.diff(many.ci95)


def test_the_gain_can_not_pass_its_bound():
    steep = np.tile(law(SIZES, a=1.5, b=1.3, c=0.3)[:, None], (1, 30))
    assert learning_curve(SIZES, steep, bound=0.3).forecasts[1].gain <= 0.3


@pytest.mark.parametrize(
    ("sizes", "gains"),
    [
        ([1, 2], np.zeros((2, 5))),
        ([3, 2, 4], np.zeros((3, 5))),
        ([1, 2, 3], np.zeros((2, 5))),
        ([1, 2, 3], np.full((3, 1), np.nan)),
    ],
)
def test_what_is_no_curve_is_refused(sizes, gains):
    with pytest.raises(UserError):
        learning_curve(sizes, gains)


def test_a_curve_that_may_end_here_is_inside_and_new_rows_widen_by_the_root_of_two():
    found = learning_curve(SIZES, rows_of(SIZES))
    for one in found.forecasts:
        assert one.more_ci95[0] <= 0 <= one.more <= one.more_ci95[1]
        assert one.ci95[0] <= found.at(400) - 2**0.5 * (found.gains[-1] - found.ci95[-1][0]) + 0.005
        assert one.ci95[1] >= one.gain + 2**0.5 * (found.ci95[-1][1] - found.gains[-1]) - 0.005
    assert learning_curve(SIZES, rows_of(SIZES), bound=0.13).forecasts[1].ci95[1] <= 0.13
