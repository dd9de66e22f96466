"""The value fit: Gauss–Newton against least squares, Adam against its own loss."""

import math
from dataclasses import replace

import pytest
import torch

from tests.helpers import ACTION_SPACES, OBSERVATION_SIZE, make_problem
from trpo.agents.encoders import flat_features
from trpo.agents.metrics import METRICS
from trpo.agents.value_fit import make_fit
from trpo.agents.value_function import ValueConfig, ValueFunction
from trpo.reference import dense_fisher
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
