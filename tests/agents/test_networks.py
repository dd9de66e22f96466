"""The network's Jacobian by hand against autograd's, in float64, for every shape of network."""

import pytest
import torch

from tests.helpers import HIDDEN, OBSERVATION_SIZE
from trpo.agents.networks.network import ACTIVATIONS, Tanh, mlp
from trpo.linearization import jacobian, linearize

BATCH = 9


def make_network(hidden, outputs, activation="tanh"):
    generator = torch.Generator().manual_seed(0)
    network = mlp(
        OBSERVATION_SIZE, hidden, outputs, activation, last_gain=1.0, generator=generator
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():  # biases start at 0
            parameter += 0.3 * torch.randn(
                parameter.shape, generator=generator, dtype=torch.float64
            )
    return network, torch.randn(BATCH, OBSERVATION_SIZE, generator=generator, dtype=torch.float64)


def random_like(tensors, seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(tensor.shape, generator=generator, dtype=torch.float64) for tensor in tensors
    ]


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linearization_by_hand_equals_autograds(activation, hidden, outputs):
    network, x = make_network(hidden, outputs, activation)
    parameters = list(network.parameters())
    by_hand, twin = network.linearize(x), linearize([network(x)], parameters)
    assert torch.allclose(by_hand.eta[0], twin.eta[0], rtol=1e-14, atol=1e-14)
    for seed in range(2):  # what is kept must serve more than one product
        v, u = random_like(parameters, seed), random_like(by_hand.eta, seed)
        assert torch.allclose(by_hand.jvp(v)[0], twin.jvp(v)[0], rtol=1e-12, atol=1e-12)
        for one, other in zip(by_hand.vjp(u), twin.vjp(u), strict=True):
            assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("outputs", [1, 3])
def test_linearization_equals_the_jacobian_in_full(outputs):
    network, x = make_network((6, 5), outputs)
    parameters = list(network.parameters())
    J = jacobian(network(x).flatten(), parameters)
    v = random_like(parameters, 0)
    Jv = J @ torch.cat([part.flatten() for part in v])
    assert torch.allclose(network.linearize(x).jvp(v)[0].flatten(), Jv, rtol=1e-12, atol=1e-12)


def test_linearization_leaves_no_graph_and_asks_for_none():
    network, x = make_network((6,), 3)
    with torch.no_grad():
        here = network.linearize(x)
    products = (
        *here.eta,
        *here.jvp(random_like(network.parameters(), 0)),
        *here.vjp(random_like(here.eta, 0)),
    )
    assert not any(tensor.requires_grad for tensor in products)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 3e-7), (torch.float64, 1e-15)])
def test_tanh_without_gradients_is_the_one_with(dtype, rounding):
    z = torch.cat([torch.logspace(-8, 2, 400, dtype=dtype) * sign for sign in (-1, 1)]).reshape(
        40, 20
    )
    for layout in (z, z.T, z[:, ::2]):
        plain, twin = Tanh()(layout), Tanh()(layout.clone().requires_grad_())
        assert plain.dtype == dtype
        assert twin.requires_grad
        assert torch.allclose(plain, twin, rtol=rounding, atol=0)
