"""The line search accepts nothing that breaks the limit, nothing that fails to improve, and nothing that is not finite."""

import math

import pytest

from trpo.line_search import backtracking_line_search
from trpo.measurement import Measurement

NAN, INF = math.nan, math.inf


def search(measure, max_kl=0.01, max_backtracks=10):
    return backtracking_line_search(
        measure,
        surrogate_before=1.0,
        max_kl=max_kl,
        backtrack_ratio=0.5,
        max_backtracks=max_backtracks,
    )


def at(surrogate: float, kl: float) -> Measurement:
    return Measurement(surrogate, kl, kl, kl)


def test_takes_the_full_step_if_it_can():
    assert search(lambda t: at(1.0 + t, 0.01 * t)) == (0, 1.0, at(2.0, 0.01))


def test_shrinks_until_kl_is_within_the_limit():
    backtracks, fraction, accepted = search(lambda t: at(1.0 + t, 0.1 * t))
    assert (backtracks, fraction) == (4, 0.0625)
    assert accepted is not None
    assert accepted.mean_kl <= 0.01


def test_shrinks_until_the_surrogate_improves():
    backtracks, fraction, _ = search(lambda t: at(1.0 + t * (0.3 - t), 0.0))
    assert (backtracks, fraction) == (2, 0.25)


@pytest.mark.parametrize(
    "never",
    [
        at(2.0, 0.011),
        at(1.0, 0.0),
        at(0.5, 0.0),
        at(NAN, 0.0),
        at(2.0, NAN),
        at(INF, 0.0),
        at(2.0, INF),
        at(NAN, NAN),
    ],
    ids=str,
)
def test_refuses(never):
    assert search(lambda t: never, max_backtracks=3) == (3, 0.0, None)


def test_an_infinite_kl_is_refused_even_without_a_limit():
    assert search(lambda t: at(2.0, INF), max_kl=INF)[2] is None
    assert search(lambda t: at(2.0, 1e9), max_kl=INF)[2] == at(2.0, 1e9)
