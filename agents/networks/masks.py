"""Action masks: choices that a state does not allow have probability 0 there.

A mask is a part of the observation, `action_mask`, with one number per choice, 0 where it is not
allowed. So it is applied wherever states are used: in sampling, log-probability, entropy, KL, F,
and the states that F remembers.
"""

import math

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from trpo.agents.distributions.family import Family
from trpo.agents.networks.encoders import Features
from trpo.agents.networks.network import MLP, Network
from trpo.agents.observations import Observation, plain
from trpo.linearization import Linearization, Tensors
from trpo.validation import ConfigError

MASK = "action_mask"
IMPOSSIBLE = -1e9  # a logit of probability 0, but finite


class MaskedNetwork(Network):
    """A network whose logits are −10⁹ for choices that the observation's mask forbids.

    These depend on no parameter: their rows of J are zero.

    Args:
        features: observations to F numbers.
        head: F numbers to E outputs.
        is_choice: (E,), which outputs are logits of choices.
    """

    column: Tensor

    def __init__(self, features: Features, head: MLP, is_choice: Tensor) -> None:
        super().__init__(features, head)
        # each output's choice, by number; one extra entry stands for all other outputs
        column = (is_choice.cumsum(0) - 1).where(is_choice, is_choice.sum())
        self.register_buffer("column", column, persistent=False)

    def _allowed(self, observation: Observation) -> Tensor:
        """Return which outputs the mask leaves unchanged, (B, E)."""
        observation = plain(observation)
        assert isinstance(observation, dict)
        mask = observation[MASK]
        assert isinstance(mask, Tensor)
        allowed = mask.flatten(1) != 0
        return torch.cat([allowed, torch.ones_like(allowed[:, :1])], dim=1)[:, self.column]

    def output(self, features: Tensor, observation: Observation) -> Tensor:  # noqa: D102
        return self.head.forward(features).where(self._allowed(observation), IMPOSSIBLE)

    def linearize(self, observation: Observation) -> Linearization:  # noqa: D102
        unmasked, allowed = super().linearize(observation), self._allowed(observation)

        def jvp(v: Tensors) -> Tensors:
            return (unmasked.jvp(v)[0] * allowed,)

        def vjp(u: Tensors) -> Tensors:
            return unmasked.vjp((u[0] * allowed,))

        return Linearization((unmasked.eta[0].where(allowed, IMPOSSIBLE),), jvp, vjp)


def mask_in(space: gym.Space) -> gym.Space | None:
    """Return the space of the mask in an observation's space, if there is one.

    Args:
        space: of one observation.
    """
    return space.spaces.get(MASK) if isinstance(space, gym.spaces.Dict) else None


def masked_network(features: Features, head: MLP, family: Family, mask: gym.Space) -> MaskedNetwork:
    """Make a network whose output a mask in the observation constrains.

    Args:
        features: observations to F numbers.
        head: F numbers to the family's output.
        family: says which outputs are choices.
        mask: its space.

    Returns:
        The network.

    Raises:
        ConfigError: if the mask and the actions differ in their number of choices.
    """
    numbers, count = math.prod(mask.shape or ()), sum(family.choices())
    if mask.shape is None or numbers != count or count == 0:
        given = "no shape" if mask.shape is None else f"{numbers} numbers"
        expected = f"expected {count}, one per choice" if count else "there are no choices to mask"
        raise ConfigError(
            f"observation.{MASK} has {given}: {expected}; --action-mask none removes it"
        )
    return MaskedNetwork(features, head, family.is_choice())


def without_choice(mask: np.ndarray, choices: list[int]) -> np.ndarray:
    """Return where a mask allows no choice for one of an action's parts.

    Args:
        mask: (n, …), 0 where a choice is not allowed.
        choices: numbers of choices of the action's parts.

    Returns:
        (n,) bool.
    """
    starts = np.cumsum([0, *choices[:-1]])
    allowed = np.logical_or.reduceat(mask.reshape(len(mask), -1) != 0, starts, axis=1)
    return np.any(~allowed, axis=1)
