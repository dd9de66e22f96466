"""What collapse is, on curves made up for it; and its statistics against scipy's."""

import itertools

import numpy as np
import pytest
from scipy import stats

from trpo.scripts.comparison.collapse import (
    Outcome,
    bootstrap_interval,
    breaking_update,
    interquartile_mean,
    judge,
    range_near_best,
    wilson_interval,
    window_means,
)

RISE = np.linspace(10, 110, 50)  # the untrained policy's return is 10 below
UNTRAINED, SCALE = 10.0, 100.0


def curve(*pieces) -> np.ndarray:
    return np.concatenate([np.asarray(piece, dtype=float) for piece in pieces])


CURVES = {
    "rises and stays": (curve(RISE, np.full(50, 110)), Outcome.HELD),
    "falls to the untrained policy's": (curve(RISE, np.full(50, 10)), Outcome.COLLAPSED),
    "falls below it": (curve(RISE, np.full(50, -500)), Outcome.COLLAPSED),
    "falls and comes back": (curve(RISE, np.full(40, 10), np.full(10, 90)), Outcome.HELD),
    "loses two fifths": (curve(RISE, np.full(50, 70)), Outcome.HELD),
    "loses three fifths": (curve(RISE, np.full(50, 50)), Outcome.COLLAPSED),
    "never rises": (np.full(100, 10.0), Outcome.NEVER_LEARNED),
    "breaks at once": (np.full(100, -500.0), Outcome.NEVER_LEARNED),
    "rises by a tenth of the scale, nearly": (
        curve(np.full(90, 19.9), np.full(10, 10)),
        Outcome.NEVER_LEARNED,
    ),
    "rises by a tenth of the scale, just": (
        curve(np.full(90, 20.1), np.full(10, 10)),
        Outcome.COLLAPSED,
    ),
    "one lucky update": (curve(np.full(50, 10), [109.0], np.full(49, 10)), Outcome.NEVER_LEARNED),
    "few episodes end": (
        np.where(np.arange(100) % 8, np.nan, curve(RISE, np.full(50, 110))),
        Outcome.HELD,
    ),
    "no episode ends": (np.full(100, np.nan), Outcome.NEVER_LEARNED),
    "three updates": (np.array([10.0, 110.0, 10.0]), Outcome.COLLAPSED),
}


@pytest.mark.parametrize("name", CURVES)
def test_outcomes(name):
    returns, outcome = CURVES[name]
    assert judge(returns, UNTRAINED, SCALE).outcome is outcome


@pytest.mark.parametrize("name", CURVES)
def test_an_outcome_does_not_depend_on_the_scale_of_returns(name):
    returns, outcome = CURVES[name]
    assert judge(-300 + 7 * returns, -300 + 7 * UNTRAINED, 7 * SCALE).outcome is outcome


def test_a_run_that_ended_in_numbers_that_are_not_finite_collapsed():
    assert judge(RISE, UNTRAINED, SCALE, stopped=True).outcome is Outcome.COLLAPSED
    assert (
        judge(np.full(100, 10.0), UNTRAINED, SCALE, stopped=True).outcome is Outcome.NEVER_LEARNED
    )


def test_where_nothing_learned_nothing_collapsed():
    assert judge(np.full(20, 5.0), 10.0, 0.0).outcome is Outcome.NEVER_LEARNED


def test_windows_are_a_tenth_and_returns_stand_until_the_next():
    returns = np.array([
        np.nan,
        1,
        np.nan,
        3,
        np.nan,
        np.nan,
        4,
        4,
        4,
        4,
        4,
        4,
        4,
        4,
        4,
        4,
        4,
        4,
        4,
        0,
    ])
    known = [np.nan, 1, 1, 3, 3, 3, 4, *[4] * 12, 0]
    expected = [(a + b) / 2 for a, b in itertools.pairwise(known)]
    np.testing.assert_allclose(window_means(returns), expected)


def test_the_update_that_broke_a_run_is_the_one_that_its_return_fell_after():
    returns = curve(
        RISE, np.full(20, 110), np.full(30, 10)
    )  # row 70 is the first of the broken policy
    kl = np.full(100, 0.01)
    kl[[5, 69, 80]] = (
        9.0,
        0.5,
        7.0,
    )  # one that did no harm, the one, and one of a policy broken already
    fall = breaking_update(returns, kl)
    assert (fall.index, fall.kl, fall.median_before, fall.return_before, fall.return_after) == (
        69,
        0.5,
        0.01,
        110,
        10,
    )
    assert fall.ratio == pytest.approx(50)


def test_where_episodes_end_rarely_the_largest_kl_since_the_last_is_to_blame():
    returns = np.where(
        np.arange(100) % 8, np.nan, curve(RISE, np.full(50, 10))
    )  # rows 48 and 56 are the ones around the fall
    kl = np.full(100, 0.01)
    kl[[47, 51, 56]] = 9.0, 0.5, 7.0
    assert breaking_update(returns, kl).index == 51


@pytest.mark.parametrize(
    "returns", [np.full(5, 3.0), RISE, np.full(5, np.nan), np.array([5.0, 1.0])]
)
def test_nothing_broke_a_run_that_never_fell_or_had_no_update_before(returns):
    assert breaking_update(returns, np.ones(len(returns))) is None


def test_statistics_are_those_of_scipy():
    rng = np.random.default_rng(3)
    for count, total in [(0, 10), (1, 10), (7, 10), (70, 70), (13, 700)]:
        theirs = stats.binomtest(count, total).proportion_ci(method="wilson")
        assert wilson_interval(count, total) == pytest.approx((theirs.low, theirs.high), abs=1e-6)
    for seeds in (1, 2, 3, 5, 10, 11):
        values = rng.normal(size=(4, seeds))
        np.testing.assert_allclose(
            interquartile_mean(values), stats.trim_mean(values, 0.25, axis=-1)
        )
    values = rng.normal(size=(2, 12))
    low, high = bootstrap_interval(values)
    for row, mine in zip(values, zip(low, high, strict=True), strict=True):
        theirs = stats.bootstrap(
            (row,),
            lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        assert mine == pytest.approx((theirs.low, theirs.high), abs=0.1)


def test_the_range_near_the_best_is_unbroken():
    sizes = [1, 2, 3, 4, 5, 6]
    assert range_near_best(sizes, [110, 10, 95, 111, 91, 90], UNTRAINED) == (
        3,
        5,
    )  # 90.8 is 80 % of the best gain
    assert range_near_best(sizes, [110, 110, 110, 110, 110, 110], UNTRAINED) == (1, 6)
    assert range_near_best(sizes, [10, 10, 10, 10, 10, 110], UNTRAINED) == (6, 6)
