"""What collapse is, on curves made up for it; and its statistics against scipy's."""

import itertools

import numpy as np
import pytest
from scipy import stats

from trpo.scripts.comparison.collapse import (
    Outcome,
    bootstrap_interval,
    find_fall,
    fisher_p,
    interquartile_mean,
    is_locked,
    judge,
    range_near_best,
    settling_kl,
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


@pytest.mark.parametrize(
    ("returns", "locked"),
    [
        (curve(RISE, np.full(50, 9)), True),
        (curve(RISE, np.full(17, 110), np.full(33, 9)), False),  # a third of 100 updates is 34
        (curve(RISE, np.full(16, 110), np.full(34, 9)), True),
        (curve(RISE, np.full(50, 10)), False),  # as good as untrained
        (curve(RISE, np.full(40, 9), [50.0], np.full(9, 9)), False),
        (curve(np.full(100, 9)), True),  # it need never have learned
        (np.full(100, np.nan), False),
        (np.where(np.arange(100) % 8, np.nan, curve(RISE, np.full(50, 9))), True),
    ],
)
def test_locked_is_below_the_untrained_policy_for_the_last_third(returns, locked):
    assert is_locked(returns, UNTRAINED) is locked
    assert is_locked(-300 + 7 * returns, -300 + 7 * UNTRAINED) is locked


def test_the_kl_of_a_run_is_that_of_its_first_tenth():
    kl = curve([1.0, 2.0, 9.0], np.zeros(27))
    assert settling_kl(kl) == 2.0
    assert settling_kl(np.array([3.0, 1.0])) == 3.0


def test_a_fall_is_found_by_returns_and_its_leap_by_kl_around_it():
    returns = curve(RISE, np.full(20, 110), np.full(30, 10))  # row 70 is the first after the fall
    kl = np.full(100, 0.01)
    kl[[5, 66, 80]] = 9.0, 0.5, 7.0
    fall = find_fall(returns, kl)
    assert (fall.index, fall.return_before, fall.return_after) == (69, 110, 10)
    assert fall.leap == pytest.approx(50)
    # from 20 updates on, all but those within twenty of the fall, with and without a leap
    assert len(fall.elsewhere) == 29 + 10
    assert fall.elsewhere.max() == pytest.approx(700)  # update 91, ten after the last of them
    assert find_fall(returns, np.roll(kl, 30)).index == 69


def test_a_fall_too_early_has_no_leap_that_can_be_told():
    returns = curve(np.full(12, 110), np.full(38, 10))
    assert np.isnan(find_fall(returns, np.full(50, 0.01)).leap)


@pytest.mark.parametrize("returns", [np.full(5, 3.0), RISE, np.full(30, np.nan), np.full(30, 1.0)])
def test_a_run_that_never_fell_has_no_fall(returns):
    assert find_fall(returns, np.full(len(returns), 0.01)) is None


def test_fishers_exact_test_is_of_two_rates():
    assert fisher_p(14, 35, 0, 35) == pytest.approx(2.4e-5, rel=0.02)
    assert fisher_p(4, 70, 0, 70) == pytest.approx(0.12, rel=0.02)
    assert fisher_p(3, 10, 3, 10) == 1


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
