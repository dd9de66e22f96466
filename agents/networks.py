"""Multilayer perceptrons and their initialisation."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

Activation = Literal["tanh", "relu", "elu", "silu"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU}


def mlp(
    inputs: int, hidden: Sequence[int], outputs: int, activation: Activation, last_gain: float, generator: torch.Generator
) -> nn.Sequential:
    """Build inputs → hidden … → outputs, orthogonally initialised with zero biases (Engstrom et al. 2020).

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
        nn.init.orthogonal_(layer.weight, last_gain if layer is linear[-1] else 2**0.5, generator=generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
