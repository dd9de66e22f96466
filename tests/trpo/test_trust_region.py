"""The step as a whole: what it promises of KL, of the surrogate, and of θ when it fails."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests import sweep
from tests.helpers import ACTION_SPACES, flat_parameters, make_problem
from trpo.agents.updates.update_rule import importance_weighted_advantage
from trpo.measurement import measure_against_present
from trpo.model import Model, surrogate_gradient
from trpo.reducer import SERIAL
from trpo.reference import dense_fisher
from trpo.report import Status
from trpo.trust_region import TrustRegionConfig, trust_region_step
from trpo.validation import ConfigError

CONFIG = TrustRegionConfig(max_kl=0.01, damping=0.1, cg_iterations=50, cg_tolerance=1e-12)


def step(problem, config=CONFIG, surrogate=importance_weighted_advantage, fisher_microbatches=None):
    return trust_region_step(
        problem.policy.model(), surrogate, [problem.batch], config, fisher_microbatches
    )


def test_kl_is_within_the_limit_and_is_what_the_report_says(problem):
    policy, batch = problem.policy, problem.batch
    eta_old = [e.detach().clone() for e in policy.eta(policy.network(batch.observations))]
    report = step(problem)
    old, new = policy.family(*eta_old), policy.distribution(policy.network(batch.observations))
    assert report.status is Status.ACCEPTED
    kl = kl_divergence(old, new).detach()  # forward: KL(old ‖ new), in all four families
    assert 0 < report.mean_kl <= CONFIG.max_kl
    assert report.mean_kl == pytest.approx(kl.mean().item(), rel=1e-10)
    assert report.max_state_kl == pytest.approx(kl.max().item(), rel=1e-10)
    assert report.mean_reverse_kl == pytest.approx(kl_divergence(new, old).mean().item(), rel=1e-10)
    assert abs(report.mean_kl - report.mean_reverse_kl) > 1e-9  # the two directions are told apart


def test_surrogate_improves_and_is_what_the_report_says(problem):
    report = step(problem)
    batch = problem.batch
    ratio = (
        problem.policy.distribution(problem.policy.network(batch.observations)).log_prob(
            batch.actions
        )
        - batch.log_probs
    ).exp()
    assert report.surrogate_after == pytest.approx(
        (ratio * batch.advantages).mean().item(), rel=1e-10
    )
    assert report.surrogate_before == pytest.approx(batch.advantages.mean().item(), rel=1e-10)
    assert report.surrogate_after > report.surrogate_before


def test_the_surrogate_before_is_summed_as_the_one_after_it():
    """Else a step in float32 could win or lose by the rounding of a sum."""
    theta = torch.zeros(1, requires_grad=True)
    model = Model([theta], lambda terms: (theta.expand(len(terms)),), lambda m: Normal(m, 1.0))
    terms = 1 + torch.randn(4096, generator=torch.Generator().manual_seed(0))

    def surrogate(distribution, terms):
        return terms + 0 * distribution.mean

    before, _ = surrogate_gradient(model, surrogate, [terms])
    measured = measure_against_present(model, surrogate, [terms])().surrogate
    assert before == pytest.approx(measured, rel=1e-14)


def test_step_is_the_scaled_natural_gradient(problem):
    """θ − θ_old = t √(2δ / xᵀ(F + βI)x) · x with (F + βI)x = g, all computed densely."""
    model, batch = problem.policy.model(), problem.batch
    _, g = surrogate_gradient(model, importance_weighted_advantage, [batch])
    F = dense_fisher(model, [batch])
    A = F + CONFIG.damping * torch.eye(len(F), dtype=torch.float64)
    x = torch.linalg.solve(A, g)
    theta_old = flat_parameters(problem.policy)
    report = step(problem, replace(CONFIG, cg_iterations=500))
    expected = report.step_fraction * math.sqrt(2 * CONFIG.max_kl / (x @ A @ x).item()) * x
    assert torch.allclose(
        flat_parameters(problem.policy) - theta_old, expected, rtol=1e-6, atol=1e-9
    )
    assert report.step_norm == pytest.approx(expected.norm().item(), rel=1e-6)
    assert report.curvature == pytest.approx((x @ F @ x).item(), rel=1e-6)
    assert report.predicted_gain == pytest.approx((g @ expected).item(), rel=1e-6)
    gain = report.surrogate_after - report.surrogate_before
    assert report.gain_ratio == pytest.approx(gain / (g @ expected).item(), rel=1e-6)
    eigenvalues = torch.linalg.eigvalsh(A)
    assert (
        eigenvalues[0] * (1 - 1e-9)
        <= report.smallest_ritz
        <= report.largest_ritz
        <= eigenvalues[-1] * (1 + 1e-9)
    )


def test_undamped_small_step_moves_kl_by_the_limit():
    problem = make_problem(ACTION_SPACES["box"], ())
    config = replace(CONFIG, max_kl=1e-8, damping=0.0, cg_iterations=500, backtrack_ratio=0.999)
    assert step(problem, config).mean_kl == pytest.approx(1e-8, rel=1e-2)


def test_small_steps_gain_what_is_predicted(problem):
    assert step(problem, replace(CONFIG, max_kl=1e-8)).gain_ratio == pytest.approx(1.0, abs=0.02)


def test_delta_is_a_limit_and_not_a_goal(problem):
    """A short step is ηx by the dense Fisher matrix, and does depend on the advantages' scale."""
    model = problem.policy.model()
    _, g = surrogate_gradient(model, importance_weighted_advantage, [problem.batch])
    F = dense_fisher(model, [problem.batch])
    x = torch.linalg.solve(F + CONFIG.damping * torch.eye(len(F)).double(), g)
    theta_old = flat_parameters(problem.policy)
    short = replace(CONFIG, step_size=1e-3, cg_iterations=500, cg_tolerance=1e-12)
    report = step(problem, short, surrogate=lambda d, b: 0.1 * importance_weighted_advantage(d, b))
    assert torch.allclose(
        flat_parameters(problem.policy) - theta_old, 1e-4 * x, rtol=1e-5, atol=1e-12
    )
    assert 0 < report.mean_kl < 0.1 * CONFIG.max_kl


def test_a_long_step_size_changes_nothing(problem_of):
    one, other = (problem_of(ACTION_SPACES["box"], (6,)) for _ in range(2))
    step(one), step(other, replace(CONFIG, step_size=1e6))
    assert torch.equal(flat_parameters(one.policy), flat_parameters(other.policy))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_step_does_not_depend_on_the_advantages_scale(action_space, scale):
    one, other = (make_problem(action_space, (6,)) for _ in range(2))
    step(one)
    trust_region_step(
        other.policy.model(),
        lambda d, b: scale * importance_weighted_advantage(d, b),
        [other.batch],
        CONFIG,
    )
    assert torch.allclose(
        flat_parameters(one.policy), flat_parameters(other.policy), rtol=1e-6, atol=1e-10
    )


def test_microbatches_make_no_difference(action_space):
    whole, cut = make_problem(action_space, (6,)), make_problem(action_space, (6,))
    report = step(whole)
    cut_up = trust_region_step(
        cut.policy.model(), importance_weighted_advantage, cut.batch.microbatches(7, SERIAL), CONFIG
    )
    assert torch.allclose(
        flat_parameters(whole.policy), flat_parameters(cut.policy), rtol=1e-9, atol=1e-12
    )
    assert cut_up.mean_kl == pytest.approx(report.mean_kl, rel=1e-9)
    assert cut_up.max_state_kl == pytest.approx(report.max_state_kl, rel=1e-9)


def test_fisher_may_be_averaged_over_fewer_states():
    one, other = (make_problem(ACTION_SPACES["box"], (6,)) for _ in range(2))
    quarter = one.batch.rows(slice(None, None, 4))
    model = one.policy.model()
    _, g = surrogate_gradient(model, importance_weighted_advantage, [one.batch])
    F = dense_fisher(model, [quarter])
    x = torch.linalg.solve(F + CONFIG.damping * torch.eye(len(F)).double(), g)
    report = step(one, replace(CONFIG, cg_iterations=500), fisher_microbatches=[quarter])
    assert report.curvature == pytest.approx((x @ F @ x).item(), rel=1e-6)
    assert step(other).curvature != pytest.approx(report.curvature, rel=1e-3)


FAILURES = {
    "zero gradient": (Status.ZERO_GRADIENT, lambda d, b: 0 * importance_weighted_advantage(d, b)),
    "nan": (Status.NON_FINITE, lambda d, b: torch.nan * importance_weighted_advantage(d, b)),
    "infinite": (Status.NON_FINITE, lambda d, b: torch.inf * importance_weighted_advantage(d, b)),
    # Its value only falls, whatever its gradient says.
    "never improves": (
        Status.LINE_SEARCH_FAILED,
        lambda d, b: (
            (s := importance_weighted_advantage(d, b)) - 2 * (s - b.advantages).detach().abs()
        ),
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_has_a_status_and_leaves_every_bit(problem, name):
    status, surrogate = FAILURES[name]
    before = flat_parameters(problem.policy)
    report = step(problem, surrogate=surrogate)
    assert report.status is status
    assert torch.equal(flat_parameters(problem.policy).view(torch.int64), before.view(torch.int64))
    assert (report.mean_kl, report.step_norm, report.step_fraction) == (0.0, 0.0, 0.0)


def test_zero_advantages_do_not_divide_by_zero(problem):
    problem.batch.advantages.zero_()
    assert step(problem).status is Status.ZERO_GRADIENT


def test_no_curvature_is_a_status():
    problem = make_problem(ACTION_SPACES["discrete"], ())
    with torch.no_grad():  # a policy that is certain: its Fisher matrix is zero
        problem.policy.network.head[-1].weight.zero_()
        problem.policy.network.head[-1].bias.copy_(torch.tensor([1e4, 0.0, 0.0, 0.0]))
    before = flat_parameters(problem.policy)
    report = step(
        problem, replace(CONFIG, damping=0.0), surrogate=lambda d, b: d.base_dist.logits[:, 0, 1]
    )
    assert report.status is Status.NO_CURVATURE
    assert torch.equal(flat_parameters(problem.policy), before)


def test_huge_gradients_stay_within_the_limit():
    problem = make_problem(ACTION_SPACES["box"], (6,))
    problem.batch.advantages.mul_(1e120)
    report = step(problem)
    assert report.status is Status.ACCEPTED
    assert report.mean_kl <= CONFIG.max_kl
    assert flat_parameters(problem.policy).isfinite().all()


@pytest.mark.parametrize("seed", range(100))
def test_hard_problems_in_float32(seed):
    """The first of `make sweep`'s: never an exception, never KL > δ, never a bit lost."""
    _, broken_promise = sweep.step(seed)
    assert not broken_promise


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_kl", 0.0),
        ("max_kl", -1.0),
        ("max_kl", math.nan),
        ("max_kl", math.inf),
        ("step_size", 0.0),
        ("damping", -0.1),
        ("damping", math.inf),
        ("cg_iterations", 0),
        ("cg_tolerance", 1.0),
        ("backtrack_ratio", 0.0),
        ("backtrack_ratio", 1.0),
        ("max_backtracks", -1),
    ],
)
def test_configuration_is_validated(field, value):
    with pytest.raises(ConfigError, match=rf"^{field} = .* is out of range: expected .*"):
        TrustRegionConfig(**{field: value})
