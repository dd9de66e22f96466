"""What the line search refuses, and that whatever is raised on the way leaves θ as it was."""

import math

import pytest
import torch

from tests.helpers import flat_parameters
from trpo.agents.updates.update_rule import importance_weighted_advantage
from trpo.line_search import SearchResult, backtracking_line_search
from trpo.measurement import Measurement
from trpo.trust_region import TrustRegionConfig, trust_region_step

NAN, INF = math.nan, math.inf


def search(measure, max_kl=0.01, max_backtracks=10):
    """Of a step from θ = 0 to θ = 1, so that θ is the fraction; also θ afterwards."""
    theta = torch.zeros(1, requires_grad=True)
    result = backtracking_line_search(
        [theta],
        torch.ones(1),
        lambda: measure(theta.item()),
        surrogate_before=1.0,
        max_kl=max_kl,
        backtrack_ratio=0.5,
        max_backtracks=max_backtracks,
    )
    assert theta.item() == result.fraction  # bit for bit: θ is the fraction that was accepted
    return result


def at(surrogate: float, kl: float) -> Measurement:
    return Measurement(surrogate, kl, kl, kl)


def test_takes_the_full_step_if_it_can():
    assert search(lambda t: at(1.0 + t, 0.01 * t)) == SearchResult(0, 1.0, at(2.0, 0.01))


def test_shrinks_until_kl_is_within_the_limit():
    result = search(lambda t: at(1.0 + t, 0.1 * t))
    assert (result.backtracks, result.fraction) == (4, 0.0625)
    assert result.accepted is not None
    assert result.accepted.mean_kl <= 0.01


def test_shrinks_until_the_surrogate_improves():
    result = search(lambda t: at(1.0 + t * (0.3 - t), 0.0))
    assert (result.backtracks, result.fraction) == (2, 0.25)


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
    tried = []

    def measure(t):
        tried.append(t)
        return never

    assert search(measure, max_backtracks=3) == SearchResult(3, 0.0, None)
    assert tried == [1.0, 0.5, 0.25, 0.125]


def test_an_infinite_kl_is_refused_even_without_a_limit():
    assert search(lambda t: at(2.0, INF), max_kl=INF).accepted is None
    assert search(lambda t: at(2.0, 1e9), max_kl=INF).accepted == at(2.0, 1e9)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("tries", [1, 3])
def test_whatever_is_raised_within_a_step_leaves_every_bit(problem, error, tries):
    """Raised at the line search's first or third look; the gradient's look comes before."""
    before, calls = flat_parameters(problem.policy), []

    def surrogate(distribution, batch):
        calls.append(flat_parameters(problem.policy))
        if len(calls) == 1 + tries:
            raise error
        value = importance_weighted_advantage(distribution, batch)
        return value if len(calls) == 1 else value - 1e9  # no try is accepted before

    with pytest.raises(error):
        trust_region_step(problem.policy.model(), surrogate, [problem.batch], TrustRegionConfig())
    assert not torch.equal(calls[-1], before)  # θ had moved
    assert torch.equal(flat_parameters(problem.policy).view(torch.int64), before.view(torch.int64))
