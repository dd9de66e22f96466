"""The Gauss–Newton step against dense least squares in float64."""

import pytest
import torch
from torch.distributions import Normal

from trpo.gauss_newton import gauss_newton_step
from trpo.model import Model
from trpo.parameters import flatten
from trpo.report import Status

DAMPING = 1e-3


def problem(hidden: bool = True):
    """A network V, states with targets."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)]
    network = torch.nn.Sequential(*(layers if hidden else [torch.nn.Linear(3, 1)])).double()
    states = torch.randn(50, 3, dtype=torch.float64)
    targets = states.prod(1).sin() + 3
    model = Model(
        list(network.parameters()),
        lambda rows: (network(states[rows]).squeeze(-1),),
        lambda v: Normal(v, torch.ones_like(v), validate_args=False),
    )
    return model, lambda p, rows: p.log_prob(targets[rows]), states, targets


ALL = slice(None)


def values(model: Model) -> torch.Tensor:
    return model.outputs(ALL)[0].detach()


def step(model, log_likelihood, **options):
    return gauss_newton_step(
        model, log_likelihood, [ALL], DAMPING, 200, cg_tolerance=1e-12, **options
    )


def test_is_the_damped_normal_equations_solution():
    """x = (JᵀJ/B + βI)⁻¹ Jᵀ(y − V)/B, and the full step is x."""
    model, log_likelihood, _, targets = problem()
    V = model.outputs(ALL)[0]
    J = torch.stack([
        flatten(torch.autograd.grad(v, model.parameters, retain_graph=True)) for v in V
    ])
    A = J.T @ J / len(V) + DAMPING * torch.eye(J.shape[1], dtype=torch.float64)
    x = torch.linalg.solve(A, J.T @ (targets - V.detach()) / len(V))
    before = flatten(model.parameters).detach()
    report = step(model, log_likelihood)
    assert report.status is Status.ACCEPTED
    moved = flatten(model.parameters).detach() - before
    assert torch.allclose(moved, report.step_fraction * x, rtol=1e-6, atol=1e-8)
    assert report.step_norm == pytest.approx(moved.norm().item(), rel=1e-9)
    assert report.mean_kl == pytest.approx(0.5 * (values(model) - V).square().mean().item())
    gain = 0.5 * ((targets - V).square().mean() - (targets - values(model)).square().mean())
    assert report.surrogate_after - report.surrogate_before == pytest.approx(gain.item())


def test_a_linear_function_is_fitted_in_one_step():
    model, log_likelihood, states, targets = problem(hidden=False)
    report = gauss_newton_step(model, log_likelihood, [ALL], 0.0, 50, cg_tolerance=1e-12)
    ones = torch.ones(len(states), 1, dtype=torch.float64)
    X = torch.cat([states, ones], dim=1)
    fitted = X @ torch.linalg.lstsq(X, targets[:, None]).solution
    assert report.step_fraction == 1
    assert torch.allclose(values(model), fitted[:, 0], atol=1e-8)
    assert report.gain_ratio == pytest.approx(0.5)  # of a quadratic's full step


@pytest.mark.parametrize("limit", [1e-6, 1e-2, 0.5])
def test_mean_squared_change_is_held_under_its_limit(limit):
    model, log_likelihood, *_ = problem()
    before = values(model)
    report = step(model, log_likelihood, max_change=limit)
    change = (values(model) - before).square().mean().item()
    assert report.status is Status.ACCEPTED
    assert 0.2 * limit < change <= limit  # a halving may leave a quarter of it
    assert change == pytest.approx(2 * report.mean_kl)


@pytest.mark.parametrize("limit", [1e-2, 0.5, 5.0])
def test_the_limit_holds_by_measurement_where_the_quadratic_model_is_wrong(limit):
    """Hardly damped, the step is long enough for V's curvature to matter: it has to be halved."""
    model, log_likelihood, _, targets = problem()
    targets.mul_(5)
    before = values(model)
    report = gauss_newton_step(
        model, log_likelihood, [ALL], 1e-6, 200, max_change=limit, cg_tolerance=1e-12
    )
    assert report.status is Status.ACCEPTED
    assert report.backtracks >= 1
    assert report.step_fraction == 0.5**report.backtracks
    assert (values(model) - before).square().mean().item() <= limit


def test_a_limit_that_does_not_bind_changes_nothing():
    parameters = []
    for limit in (None, 1e6):
        model, log_likelihood, *_ = problem()
        step(model, log_likelihood, max_change=limit)
        parameters.append(flatten(model.parameters).detach())
    assert torch.equal(*parameters)


def test_microbatches_and_fewer_states_for_the_matrix():
    parameters = []
    for pieces in ([ALL], [slice(0, 20), slice(20, 50)]):
        model, log_likelihood, *_ = problem()
        gauss_newton_step(
            model, log_likelihood, pieces, DAMPING, 6, fisher_microbatches=[slice(0, None, 3)]
        )
        parameters.append(flatten(model.parameters).detach())
    assert torch.allclose(*parameters, rtol=1e-9, atol=1e-9)  # of a step 4 long
    model, log_likelihood, *_ = problem()
    gauss_newton_step(model, log_likelihood, [ALL], DAMPING, 6)
    assert not torch.allclose(flatten(model.parameters), parameters[0])


@pytest.mark.parametrize(("target", "status"), [
    (torch.nan, Status.NON_FINITE),
    (torch.inf, Status.NON_FINITE),
    (None, Status.ZERO_GRADIENT),
])  # fmt: skip
def test_failure_has_a_status_and_leaves_every_bit(target, status):
    model, log_likelihood, _, targets = problem()
    targets.copy_(values(model)) if target is None else targets[:1].fill_(target)
    before = flatten(model.parameters).detach()
    assert step(model, log_likelihood).status is status
    assert torch.equal(flatten(model.parameters), before)
