"""Policies: a network from observations to an output, and a family of distributions over that."""

from dataclasses import dataclass

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from trpo.agents.distributions.factory import BoxConfig, make_family
from trpo.agents.distributions.family import Family
from trpo.agents.networks.encoders import Features
from trpo.agents.networks.masks import masked_network
from trpo.agents.networks.network import HIDDEN, Activation, Network, mlp
from trpo.agents.observations import HasObservations, Observation, map_pieces
from trpo.divergence import kl_divergence
from trpo.linearization import Linearization, Tensors
from trpo.model import Model
from trpo.reducer import SERIAL, Reducer
from trpo.validation import require


@dataclass(frozen=True)
class PolicyConfig(BoxConfig):
    """The policy network, and its distributions."""

    hidden: tuple[int, ...] | None = None
    """Width of each hidden layer. None: 64 and 64 (Schulman et al. 2017), but no layer between the
    features of nature or impala and the output if not recurrent (Mnih et al. 2015)."""
    activation: Activation = "tanh"
    """Nonlinearity (Andrychowicz et al. 2021: tanh)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "hidden", all(width >= 1 for width in self.hidden or ()), "widths ≥ 1")


class Policy(nn.Module):
    """π_θ(a|s): a network from observations to an output (B, E), and a family over that output.

    Args:
        network: observations to output.
        family: distributions over actions, given the output.
    """

    def __init__(self, network: Network, family: Family) -> None:
        super().__init__()
        self.family = family  # θ begins with its own parameters
        self.network = network

    def eta(self, output: Tensor) -> tuple[Tensor, ...]:
        """Return the distribution's parameters η for a network output.

        Args:
            output: (B, E).

        Returns:
            η, differentiable in θ.
        """
        return self.family.eta(output, list(self.family.parameters()))

    def distribution(self, output: Tensor) -> Distribution:
        """Return the distribution over actions for a network output.

        Args:
            output: (B, E).

        Returns:
            Batch shape (B,), event shape (A,).
        """
        distribution: Distribution = self.family(*self.eta(output))
        return distribution

    def model(self) -> Model:
        """Return this policy as the mathematics sees it; its microbatches have `observations`."""

        def outputs(microbatch: HasObservations) -> tuple[Tensor, ...]:
            return self.eta(self.network(microbatch.observations))

        features = self.network.features
        linearize = self._linearize if features.is_fixed or features.suits_dual_numbers else None
        return Model(list(self.parameters()), outputs, self.family, linearize, self.family.fisher)

    def _linearize(self, microbatch: HasObservations) -> Linearization:
        """Return η to first order in all of θ, cheaper than with autograd's two graphs."""
        network = self.network.linearize(microbatch.observations)
        own = [parameter.detach() for parameter in self.family.parameters()]

        def jvp(v: Tensors) -> Tensors:
            (output,) = network.jvp(v[len(own) :])
            return self.family.eta(output, v[: len(own)])

        def vjp(u: Tensors) -> Tensors:
            output, own = self.family.eta_transposed(u)
            return [*own, *network.vjp((output,))]

        (output,) = network.eta
        return Linearization(self.family.eta(output, own), jvp, vjp)

    @torch.no_grad()
    def outputs(self, observations: Observation, microbatch_size: int) -> Tensor:
        """Return the network's output for any number of observations.

        Args:
            observations: tensors (B, *shape).
            microbatch_size: maximum observations per forward pass.

        Returns:
            (B, E).
        """
        return map_pieces(self.network, observations, microbatch_size)

    @torch.no_grad()
    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """Return KL(π(·|old) ‖ π(·|new)) of two outputs for the same observations.

        Args:
            old: (B, E).
            new: (B, E).

        Returns:
            (B,) nats, computed in float64.
        """
        p, q = (self.family(*(e.double() for e in self.eta(output))) for output in (old, new))
        return kl_divergence(p, q)

    @torch.no_grad()
    def metrics(self, outputs: Tensor, reducer: Reducer = SERIAL) -> dict[str, float]:
        """Return measures of the policy's exploration.

        Args:
            outputs: (B, E), of the network.
            reducer: pools the samples of all processes.

        Returns:
            By name, of `trpo.agents.metrics.METRICS`.
        """
        entropy = self.distribution(outputs).entropy()  # (B,)
        means = {"policy/entropy": entropy.mean()}
        if len(deviations := self.family.deviations(outputs)):  # (≤ A,)
            means["policy/std"] = deviations.mean()
        pooled = reducer.pool_means(list(means.values()), len(entropy))
        return {name: mean.item() for name, mean in zip(means, pooled, strict=True)}


def make_policy(
    features: Features,
    action_space: gym.Space,
    config: PolicyConfig,
    generator: torch.Generator,
    mask: gym.Space | None = None,
) -> Policy:
    """Build the policy that fits an action space.

    Its last layer has small weights, so that actions hardly depend on the state at first
    (Andrychowicz et al. 2021).

    Args:
        features: from observations.
        action_space: Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them, of one
            environment.
        config: network and distributions.
        generator: source of the initial weights.
        mask: the space of `action_mask`, if the observations have one.

    Returns:
        A policy whose actions have A numbers, the space's own, flattened.

    Raises:
        ConfigError: if the space, or a leaf of it, is none of the four or has no such distribution,
            or the mask does not fit.
    """
    family = make_family(action_space, config)
    head = mlp(
        features.size,
        HIDDEN if config.hidden is None else config.hidden,
        family.output_size,
        config.activation,
        last_gain=0.01,
        generator=generator,
    )
    network = masked_network(features, head, family, mask) if mask else Network(features, head)
    return Policy(network, family)
