"""The value fit: Gauss–Newton against least squares, Adam against its own loss."""

import math
from dataclasses import replace

import pytest
import torch

from tests.helpers import ACTION_SPACES, OBSERVATION_SIZE, make_problem
from trpo.agents.metrics import METRICS
from trpo.agents.networks.encoders import flat_features
from trpo.agents.updates.value_fit import FitReport, log_likelihood, make_fit
from trpo.agents.value_function import ValueConfig, ValueFunction
from trpo.model import surrogate_gradient
from trpo.parameters import flatten
from trpo.reference import dense_fisher
from trpo.report import Status, StepReport
from trpo.validation import ConfigError


def setup(config: ValueConfig, size=200):
    batch = make_problem(ACTION_SPACES["discrete"], (), size=size).batch
    value = ValueFunction(
        flat_features(OBSERVATION_SIZE), config, torch.Generator().manual_seed(0)
    ).double()
    return value, batch


def error(value, batch):
    return (value(batch.observations) - batch.returns).square().mean().item()


def test_one_gauss_newton_step_solves_a_linear_problem():
    config = ValueConfig(
        hidden=(), newton_steps=1, damping=0.0, max_change=1e9, cg_iterations=50, fisher_stride=1
    )
    value, batch = setup(config)
    make_fit(value, config, microbatch_size=10_000)(batch, torch.Generator())
    design = torch.cat([batch.observations, torch.ones(len(batch), 1)], dim=1)
    best = torch.linalg.lstsq(design, batch.returns).solution
    assert torch.allclose(value(batch.observations), design @ best, atol=1e-6)


def test_its_fisher_matrix_is_gauss_newtons():
    value, batch = setup(ValueConfig(hidden=(4,)), size=20)
    rows = [
        torch.cat([
            g.reshape(-1)
            for g in torch.autograd.grad(value(o[None]).sum(), list(value.parameters()))
        ])
        for o in batch.observations
    ]
    J = torch.stack(rows)
    assert torch.allclose(dense_fisher(value.model(), [batch]), J.T @ J / len(batch), atol=1e-12)


def test_gauss_newtons_matrix_may_be_of_every_nth_sample():
    """The gradient is of all of them."""
    config = ValueConfig(
        hidden=(4,), newton_steps=1, damping=0.1, max_change=1e9, cg_iterations=60, fisher_stride=3
    )
    value, batch = setup(config, size=20)
    _, g = surrogate_gradient(value.model(), log_likelihood, [batch])
    F = dense_fisher(value.model(), [batch.rows(slice(None, None, 3))])
    x = torch.linalg.solve(F + 0.1 * torch.eye(len(F)).double(), g)
    before = flatten(list(value.parameters())).detach()
    report = make_fit(value, config, microbatch_size=5)(batch, torch.Generator())
    moved = flatten(list(value.parameters())).detach() - before
    torch.testing.assert_close(moved, report.step_fraction * x, rtol=1e-4, atol=1e-6)


def test_adam_goes_by_shuffled_minibatches_of_the_squared_error():
    config = ValueConfig(hidden=(4,), fit="adam", learning_rate=1e-2, epochs=3, minibatch_size=64)
    (value, batch), (twin, _) = setup(config), setup(config)
    make_fit(value, config, 10_000)(batch, torch.Generator().manual_seed(0))
    adam, shuffles = torch.optim.Adam(twin.parameters(), 1e-2), torch.Generator().manual_seed(0)
    for _ in range(3):
        order = torch.randperm(200, generator=shuffles)
        for start in range(0, 200, 64):
            rows = order[start : start + 64]
            adam.zero_grad()
            (twin(batch.observations[rows]) - batch.returns[rows]).square().mean().backward()
            adam.step()
    torch.testing.assert_close(
        flatten(list(value.parameters())), flatten(list(twin.parameters())), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("fit", ["gauss-newton", "adam"])
def test_fit_reduces_the_error(fit):
    config = ValueConfig(fit=fit, learning_rate=1e-2)
    value, batch = setup(config)
    batch = replace(batch, returns=batch.observations.sum(1).sin())
    before = error(value, batch)
    make_fit(value, config, 10_000)(batch, torch.Generator().manual_seed(0))
    assert error(value, batch) < 0.7 * before


def test_microbatches_make_no_difference():
    config = ValueConfig(hidden=(8,), fisher_stride=1)
    (one, batch), (other, _) = setup(config), setup(config)
    make_fit(one, config, 10_000)(batch, torch.Generator())
    make_fit(other, config, 33)(batch, torch.Generator())
    assert torch.allclose(one(batch.observations), other(batch.observations), rtol=1e-8)


@pytest.mark.parametrize("fit", ["gauss-newton", "adam"])
def test_a_fit_goes_on_from_its_state(fit):
    config = ValueConfig(fit=fit)
    (one, batch), (other, _) = setup(config), setup(config)
    first, second = make_fit(one, config, 10_000), make_fit(other, config, 10_000)
    first(batch, torch.Generator().manual_seed(0))
    other.load_state_dict(one.state_dict())
    second.load_state_tensors({
        name: tensor.clone() for name, tensor in first.state_tensors().items()
    })
    first(batch, torch.Generator().manual_seed(1))
    second(batch, torch.Generator().manual_seed(1))
    assert torch.equal(one(batch.observations), other(batch.observations))


def test_gauss_newton_reports_what_its_steps_measured():
    config = ValueConfig(newton_steps=2)
    value, batch = setup(config)
    report = make_fit(value, config, 10_000)(batch, torch.Generator())
    assert report.accepted == 1
    assert 0 < report.step_fraction <= 1
    assert 0 < report.gain_ratio <= 1
    assert set(report.metrics()) == {"value/accepted", "value/gain_ratio", "value/step_fraction"}
    assert set(report.metrics()) <= set(METRICS)


def test_a_report_of_several_steps_is_of_their_means_and_the_last_kept():
    failed = StepReport(Status.LINE_SEARCH_FAILED, -1.0, 1.0)
    one, other = (
        StepReport(Status.ACCEPTED, -1.0, 1.0, gain_ratio=gain_ratio, step_fraction=fraction)
        for gain_ratio, fraction in ((0.9, 1.0), (0.4, 0.25))
    )
    assert FitReport.of_steps([one, other, failed, failed]) == FitReport(0.5, 0.4, 0.3125)
    assert FitReport.of_steps([failed]) == FitReport(0.0, None, 0.0)


def test_what_v_explains_is_measured_before_the_fit_and_after():
    value, batch = setup(ValueConfig(hidden=(8,)))
    returns = batch.observations.sum(1).sin() + 2
    before = value.predict(batch.observations, 33)
    make_fit(value, ValueConfig(), 10_000)(replace(batch, returns=returns), torch.Generator())
    after = value(batch.observations).detach()
    unexplained = [((returns - v).var() / returns.var()).item() for v in (before, after)]
    assert value.metrics(batch.observations, returns, before, 33) == pytest.approx({
        "value/mean_return": returns.mean().item(),
        "value/mean_squared_change": (after - before).square().mean().item(),
        "value/explained_variance": 1 - unexplained[0],
        "value/explained_variance_after": 1 - unexplained[1],
    })
    constant = value.metrics(batch.observations, torch.ones(200).double(), before, 33)
    assert set(constant) == {"value/mean_return", "value/mean_squared_change"}


@pytest.mark.parametrize("poison", [torch.nan, 1e308])
@pytest.mark.parametrize("fit", ["gauss-newton", "adam"])
def test_a_fit_out_of_the_numbers_is_put_back(fit, poison):
    """V, and Adam's state, as they were: 1e308 overflows when it is squared."""
    config = ValueConfig(fit=fit)
    value, batch = setup(config)
    learner = make_fit(value, config, 10_000)
    learner(batch, torch.Generator().manual_seed(0))
    before = {n: t.clone() for n, t in (value.state_dict() | learner.state_tensors()).items()}
    returns = batch.returns.clone()
    returns[0] = poison
    report = learner(replace(batch, returns=returns), torch.Generator().manual_seed(1))
    assert report.accepted == 0
    after = value.state_dict() | learner.state_tensors()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_fit_by_adam_is_put_back(error, monkeypatch):
    config = ValueConfig(fit="adam")
    value, batch = setup(config)
    learner = make_fit(value, config, 10_000)
    learner(batch, torch.Generator().manual_seed(0))
    before = {n: t.clone() for n, t in (value.state_dict() | learner.state_tensors()).items()}
    learned, calls = value.network.learned, []
    forward = learned.forward

    def interrupted(observations):
        calls.append(1)
        if len(calls) == 3:
            raise error
        return forward(observations)

    monkeypatch.setattr(learned, "forward", interrupted)
    with pytest.raises(error):
        learner(replace(batch, returns=3 * batch.returns), torch.Generator().manual_seed(1))
    after = value.state_dict() | learner.state_tensors()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("max_change", [0.01, 0.1])
def test_a_step_changes_v_no_further_than_its_trust_region(max_change):
    config = ValueConfig(hidden=(8,), newton_steps=1, damping=0.0, max_change=max_change)
    value, batch = setup(config)
    before, error_before = value(batch.observations).detach(), error(value, batch)
    report = make_fit(value, config, 33)(batch, torch.Generator())
    change = (value(batch.observations) - before).square().mean().item() / 2
    assert report.accepted == 1
    assert 0.2 * max_change * error_before < change <= max_change * error_before


def test_one_fall_among_nearly_identical_states_says_little_of_others():
    """V has learned a function; then comes a batch of one state, and one fall."""

    def damage(config):
        value, batch = setup(config, size=2000)
        batch = replace(batch, returns=batch.observations.sum(1).sin())
        fit = make_fit(value, config, 10_000)
        for _ in range(50):
            fit(batch, torch.Generator())
        before = error(value, batch)
        near = 0.05 * batch.observations
        near[:40] += torch.linspace(0, 2, 40, dtype=torch.float64)[:, None]
        returns = value(near).detach()
        returns[:40] -= torch.linspace(0, 4, 40, dtype=torch.float64)
        fit(replace(batch, observations=near, returns=returns), torch.Generator())
        return error(value, batch) - before

    assert damage(ValueConfig()) < 0.15 < damage(ValueConfig(max_change=1e9))


@pytest.mark.parametrize("field", ["learning_rate", "damping"])
def test_a_setting_that_is_not_finite_is_refused(field):
    for value in (math.inf, math.nan):
        with pytest.raises(ConfigError, match=rf"^{field} = {value} is out of range"):
            ValueConfig(**{field: value})
