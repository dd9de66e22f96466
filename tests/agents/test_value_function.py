"""The value fit: Gauss–Newton against least squares, Adam against its own loss."""

from dataclasses import replace

import pytest
import torch

from tests.conftest import ACTION_SPACES, OBSERVATION_SIZE, make_problem
from trpo.agents.encoders import flat_features
from trpo.agents.value_fit import make_fit
from trpo.agents.value_function import ValueConfig, ValueFunction
from trpo.reference import dense_fisher


def setup(config: ValueConfig, size=200):
    batch = make_problem(ACTION_SPACES["discrete"], (), size=size).batch
    value = ValueFunction(
        flat_features(OBSERVATION_SIZE), config, torch.Generator().manual_seed(0)
    ).double()
    return value, batch


def error(value, batch):
    return (value(batch.observations) - batch.returns).square().mean().item()


def test_one_gauss_newton_step_solves_a_linear_problem():
    config = ValueConfig(hidden=(), newton_steps=1, damping=0.0, cg_iterations=50, fisher_stride=1)
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


def test_chunks_make_no_difference():
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
