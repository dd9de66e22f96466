"""The choice of a family for an action space."""

import math
from dataclasses import dataclass
from typing import Literal

import gymnasium as gym

from trpo.agents.actions import LeafAdapter
from trpo.agents.distributions.betas import Betas
from trpo.agents.distributions.discrete import Bernoullis, Categoricals
from trpo.agents.distributions.family import Family
from trpo.agents.distributions.gaussians import LOG_STD_BOUNDS, Gaussian, StateGaussian
from trpo.agents.distributions.joint_family import JointFamily
from trpo.agents.observations import check_space, leaves
from trpo.validation import require, require_numbers

INITIAL_LOG_STD = -0.5
MAX_CONCENTRATION = 10_000  # a standard deviation of 0.7 % of half the range


@dataclass(frozen=True)
class BoxConfig:
    """Distributions over the actions of a Box."""

    distribution: Literal["auto", "gaussian", "beta"] = "auto"
    """Distribution of Box actions. Beta has bounded support, so its actions are never clipped (Chou
    et al. 2017). auto: Beta for bounded Boxes, unless initial_log_std or log_std is set (measured:
    higher returns on HalfCheetah-v5, Ant-v5 and LunarLanderContinuous-v3)."""
    initial_log_std: float | None = None
    """Log of the Gaussian policy's initial standard deviation, in units of half the action range
    where that is bounded, else in the action's units. None: -0.5 (Achiam 2018, Spinning Up;
    measured: with -1, Hopper-v5 and Walker2d-v5 stop improving early)."""
    initial_concentration: float = 1 + math.log(2)
    """Initial α = β of the Beta policy: a standard deviation of 1/√(2α + 1) in units of half the
    action range, 0.48 for the default, 1 + softplus(0) (Chou et al. 2017), and 0.25 for 7.2."""
    log_std: Literal["shared", "state"] = "shared"
    """Log of the Gaussian policy's standard deviation: one parameter per action shared by all
    states, or an output of the network, between -5 and 2."""

    def __post_init__(self) -> None:
        require_numbers(self)
        initial, (low, high) = self._initial_log_std, LOG_STD_BOUNDS
        require(self, "initial_log_std", -20 <= initial <= 5, "a number in [-20, 5]")
        within = self.log_std == "shared" or low < initial < high
        require(self, "initial_log_std", within, f"a number in ({low}, {high}) with log_std state")
        concentrated = 1 < self.initial_concentration <= MAX_CONCENTRATION
        require(
            self, "initial_concentration", concentrated, f"a number in (1, {MAX_CONCENTRATION}]"
        )
        consistent = self.distribution != "beta" or self.log_std == "shared"
        require(self, "distribution", consistent, "gaussian or auto with log_std state")

    @property
    def _initial_log_std(self) -> float:
        return INITIAL_LOG_STD if self.initial_log_std is None else self.initial_log_std

    @property
    def _is_about_gaussians(self) -> bool:
        return self.initial_log_std is not None or self.log_std == "state"

    def family(self, space: gym.spaces.Box) -> Family:
        """Make the family of a Box's actions.

        Args:
            space: of any shape.

        Returns:
            Gaussian or Beta, with A the Box's size.

        Raises:
            ConfigError: if distribution is beta, but the Box is not bounded.
        """
        size, bounded = gym.spaces.flatdim(space), LeafAdapter(space).scaled
        is_beta = self.distribution == "beta" or (
            self.distribution == "auto" and bounded and not self._is_about_gaussians
        )
        expected = "gaussian where a Box is unbounded, or reaches beyond 1e6"
        require(self, "distribution", bounded or not is_beta, expected)
        if is_beta:
            return Betas(size, self.initial_concentration)
        gaussian = StateGaussian if self.log_std == "state" else Gaussian
        return gaussian(size, self._initial_log_std)


def make_family(space: gym.Space, box: BoxConfig) -> Family:
    """Make the family that fits an action space.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them, nested.
        box: how a Box's actions are distributed.

    Returns:
        A family whose actions have A numbers: the space's leaves, flattened and concatenated.

    Raises:
        ConfigError: if there are no leaves, or a leaf is none of the four, empty, or not suited to
            the distribution.
    """
    check_space("action", space)
    match space:
        case gym.spaces.Box():
            return box.family(space)
        case gym.spaces.Discrete(n=n):
            return Categoricals((int(n),))
        case gym.spaces.MultiDiscrete(nvec=nvec):
            return Categoricals(tuple(nvec.flatten().tolist()))
        case gym.spaces.MultiBinary():
            return Bernoullis(gym.spaces.flatdim(space))
    return JointFamily([make_family(leaf, box) for leaf in leaves(space)])
