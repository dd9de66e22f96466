"""Networks: features, then a multilayer perceptron; its products with J by hand.

Policies and value functions consist of a `Network`. If only the perceptron is learned, the network
is linearized by hand, in half the time that autograd takes.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from trpo.agents.networks.encoders import Features
from trpo.agents.networks.recurrence import RecurrentFeatures
from trpo.agents.observations import Observation, map_pieces
from trpo.linearization import Linearization, Tensors, linearize_network

HIDDEN = (64, 64)  # widths of hidden layers (Schulman et al. 2017)
Activation = Literal["tanh", "relu", "elu", "silu"]


class Tanh(nn.Module):
    """tanh, computed by NumPy if no gradient is needed, which is up to ten times as fast."""

    def forward(self, z: Tensor) -> Tensor:
        """Return tanh(z).

        Args:
            z: any shape.

        Returns:
            The same shape.
        """
        has_tangent = unpack_dual(z).tangent is not None
        if z.requires_grad or has_tangent or z.device.type != "cpu":
            return torch.tanh(z)
        return torch.from_numpy(np.tanh(z.numpy()))


ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "tanh": Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}


class MLP(nn.Sequential):
    """Linear layers z = xWᵀ + b, with a nonlinearity x = φ(z) between them."""

    def forward(self, x: Tensor) -> Tensor:
        """Return f(x).

        Args:
            x: (…, O).

        Returns:
            (…, E).
        """
        for layer in self:
            # for a rollout's few rows, nn.Module's call overhead equals the arithmetic
            x = layer.forward(x)
        return x

    @torch.no_grad()
    def linearize(self, x: Tensor) -> Linearization:
        """Return the network to first order in its parameters, in half the time of autograd.

        Args:
            x: (B, O), its input.

        Returns:
            The output (B, E), and products with its derivative in W and b of every layer, in their
            order.
        """
        inputs, weights, slopes = [], [], []  # x and W of each layer, φ'(z) between each two
        for layer in self:
            if isinstance(layer, nn.Linear):
                inputs.append(x)
                weights.append(layer.weight.detach())
                x = layer.forward(x)
            else:
                x, slope = _value_and_slope(layer, x)
                slopes.append(slope)
        if x.shape[1] == 1:
            return _linearize_scalar(x, inputs, weights, slopes)

        def jvp(v: Tensors) -> Tensors:  # forwards: dz = x dWᵀ + db + dx Wᵀ and dx = φ'(z) ∘ dz
            dz = torch.addmm(v[1], inputs[0], v[0].T)
            for x, W, slope, dW, db in zip(
                inputs[1:], weights[1:], slopes, v[2::2], v[3::2], strict=True
            ):
                dx = dz.mul_(slope)
                dz = torch.addmm(db, x, dW.T).addmm_(dx, W.T)
            return (dz,)

        def vjp(u: Tensors) -> Tensors:
            # backwards, from ∂z = u: ∂W = ∂zᵀx, ∂b = Σ ∂z, and before it ∂z = φ'(z) ∘ (∂z W)
            (dz,) = u
            gradients = _layer_gradient(dz, inputs[-1])
            for x, W, slope in zip(inputs[-2::-1], weights[:0:-1], slopes[::-1], strict=True):
                dz = (dz @ W).mul_(slope)
                gradients = _layer_gradient(dz, x) + gradients
            return gradients

        return Linearization((x,), jvp, vjp)


def _linearize_scalar(
    output: Tensor, inputs: Tensors, weights: Tensors, slopes: Tensors
) -> Linearization:
    # With one output, ∂output/∂z is one (B, H) matrix a layer: known beforehand, it saves half of
    # the matrix products.
    sensitivities = [torch.ones_like(output)]
    for W, slope in zip(weights[:0:-1], slopes[::-1], strict=True):
        sensitivities.insert(0, (sensitivities[0] @ W).mul_(slope))

    def jvp(v: Tensors) -> Tensors:
        total = torch.zeros_like(output)
        for s, x, dW, db in zip(sensitivities, inputs, v[::2], v[1::2], strict=True):
            total += torch.addmm(db, x, dW.T).mul_(s).sum(1, keepdim=True)
        return (total,)

    def vjp(u: Tensors) -> Tensors:
        return [
            part
            for s, x in zip(sensitivities, inputs, strict=True)
            for part in _layer_gradient(u[0] * s, x)
        ]

    return Linearization((output,), jvp, vjp)


def _value_and_slope(activation: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(activation, Tanh):
        x = activation(z)
        return x, 1 - x.square()
    with torch.enable_grad():
        x = activation(z.requires_grad_())
    (slope,) = torch.autograd.grad(x, z, torch.ones_like(x))
    return x.detach(), slope


def _layer_gradient(dz: Tensor, x: Tensor) -> list[Tensor]:
    # ∂W = ∂zᵀx and ∂b = Σ ∂z; a product with fewer rows than columns takes as little as a quarter
    # of its transpose's time
    dW = dz.T @ x if dz.shape[1] <= x.shape[1] else (x.T @ dz).T
    return [dW, dz.sum(0)]


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    activation: Activation,
    last_gain: float,
    generator: torch.Generator,
) -> MLP:
    """Build inputs → hidden … → outputs, orthogonal, with zero biases (Engstrom et al. 2020).

    Args:
        inputs: features in.
        hidden: width of each hidden layer; none makes a linear map.
        outputs: features out.
        activation: nonlinearity after each hidden layer.
        last_gain: gain of the last layer; the hidden layers' is √2.
        generator: source of the initial weights.

    Returns:
        The network, float32.
    """
    sizes = [inputs, *hidden, outputs]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    layers.pop()  # no nonlinearity after the last layer
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    for layer in linear:
        nn.init.orthogonal_(
            layer.weight, last_gain if layer is linear[-1] else 2**0.5, generator=generator
        )
        nn.init.zeros_(layer.bias)
    return MLP(*layers)


class Network(nn.Module):
    """Observations to outputs: features, then a multilayer perceptron.

    Args:
        features: observations, as the environment gives them, to F numbers.
        head: F numbers to E outputs.
        shared_features: whether another network owns the features, and alone learns them.
    """

    def __init__(self, features: Features, head: MLP, shared_features: bool = False) -> None:
        super().__init__()
        self.features = features
        self.head = head
        self.shared_features = shared_features

    @property
    def learned(self) -> nn.Module:
        """The part that is learned: only the head if features are fixed or shared, else all."""
        return self.head if self.shared_features or self.features.is_fixed else self

    @torch.no_grad()
    def inputs(self, observations: Observation, microbatch_size: int) -> Observation:
        """Return what `learned` takes.

        Args:
            observations: tensors (B, *shape).
            microbatch_size: observations to look at together, at most.

        Returns:
            Features (B, F) for a head, else the observations.
        """
        if self.learned is self:
            return observations
        return map_pieces(self.features, observations, microbatch_size)

    def forward(self, observation: Observation) -> Tensor:
        """Return the outputs.

        Args:
            observation: tensors (B, *shape).

        Returns:
            (B, E).
        """
        return self.output(self.features.forward(observation), observation)

    def output(self, features: Tensor, observation: Observation) -> Tensor:  # noqa: ARG002 for masks
        """Return the outputs, given precomputed features.

        Args:
            features: (B, F), of these observations.
            observation: tensors (B, *shape).

        Returns:
            (B, E).
        """
        return self.head.forward(features)

    def step(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Return the outputs of a recurrent network, and its state after each sequence.

        Args:
            observation: B observations, a concatenation of S sequences.

        Returns:
            (B, E) and (S, M).
        """
        assert isinstance(self.features, RecurrentFeatures)
        features, memory = self.features.step(observation)
        return self.output(features, observation), memory

    def linearize(self, observation: Observation) -> Linearization:
        """Return the outputs to first order in the parameters, cheaper than with autograd's graphs.

        Args:
            observation: tensors (B, *shape).

        Returns:
            The outputs (B, E), and products with their derivative in all of the parameters.
        """
        if self.features.is_fixed:
            return self.head.linearize(self.features.forward(observation))
        return linearize_network(nn.Sequential(self.features, self.head), observation)
