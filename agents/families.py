"""Which family fits an action space."""

from dataclasses import dataclass
from typing import Literal

import gymnasium as gym

from trpo.agents.actions import LeafAdapter
from trpo.agents.betas import Betas
from trpo.agents.discrete import Bernoullis, Categoricals
from trpo.agents.family import Family
from trpo.agents.gaussians import LOG_STD_BOUNDS, Gaussian, StateGaussian
from trpo.agents.joint_family import JointFamily
from trpo.agents.observations import leaves
from trpo.validation import ConfigError, require


@dataclass(frozen=True)
class BoxConfig:
    """Distributions over the actions of a Box."""

    distribution: Literal["gaussian", "beta"] = "gaussian"
    """Of a Box's actions: Gaussian, or Beta, which reaches no farther than a bounded Box does (Chou
    et al. 2017)."""
    initial_log_std: float = -0.5
    """Log of the Gaussian policy's initial standard deviation, as a share of half of the action's
    range where that is bounded, else in its units (Achiam 2018, Spinning Up; measured: with -1,
    Hopper-v5 and Walker2d-v5 stop learning early)."""
    log_std: Literal["shared", "state"] = "shared"
    """Log of the Gaussian policy's standard deviation: the same in every state, or the network's to
    say, between -5 and 2."""

    def __post_init__(self) -> None:
        require(self, "initial_log_std", -20 <= self.initial_log_std <= 5, "a number in [-20, 5]")
        low, high = LOG_STD_BOUNDS
        within = self.log_std == "shared" or low < self.initial_log_std < high
        require(self, "initial_log_std", within, f"a number in ({low}, {high}) with log_std state")

    def family(self, space: gym.spaces.Box) -> Family:
        """Make the family of a Box's actions.

        Args:
            space: of any shape.

        Returns:
            Gaussian or Beta, with A the numbers in it.

        Raises:
            ConfigError: if it is to be Beta, and is not bounded.
        """
        size = gym.spaces.flatdim(space)
        if self.distribution == "beta":
            bounded = LeafAdapter(space).scaled
            require(
                self, "distribution", bounded, f"gaussian, as {space} has no bounds to scale by"
            )
            return Betas(size)
        gaussian = StateGaussian if self.log_std == "state" else Gaussian
        return gaussian(size, self.initial_log_std)


def make_family(space: gym.Space, box: BoxConfig) -> Family:
    """Make the family that fits an action space.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them, nested.
        box: how a Box's actions are distributed.

    Returns:
        A family whose actions have A numbers, the space's own, flattened, leaf after leaf.

    Raises:
        ConfigError: if a leaf is none of the four, or there is none, or it has no such family.
    """
    match space:
        case gym.spaces.Box():
            return box.family(space)
        case gym.spaces.Discrete(n=n):
            return Categoricals((int(n),))
        case gym.spaces.MultiDiscrete(nvec=nvec):
            return Categoricals(tuple(nvec.flatten().tolist()))
        case gym.spaces.MultiBinary():
            return Bernoullis(gym.spaces.flatdim(space))
        case gym.spaces.Dict() | gym.spaces.Tuple() if leaves(space):
            return JointFamily([make_family(leaf, box) for leaf in leaves(space)])
    expected = "expected Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them"
    raise ConfigError(f"action space {space} is not supported: {expected}")
