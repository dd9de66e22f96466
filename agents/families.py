"""Which family fits an action space."""

import gymnasium as gym

from trpo.agents.discrete import Bernoullis, Categoricals
from trpo.agents.family import Family
from trpo.agents.gaussians import Gaussian, StateGaussian
from trpo.agents.joint_family import JointFamily
from trpo.agents.observations import leaves
from trpo.validation import ConfigError


def make_family(space: gym.Space, initial_log_std: float, state_dependent: bool = False) -> Family:
    """Make the family that fits an action space.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them, nested.
        initial_log_std: of Gaussians.
        state_dependent: whether their standard deviations are the network's to say.

    Returns:
        A family whose actions have A numbers, the space's own, flattened, leaf after leaf.

    Raises:
        ConfigError: if a leaf is none of the four, or there is none.
    """
    match space:
        case gym.spaces.Box():
            gaussian = StateGaussian if state_dependent else Gaussian
            return gaussian(gym.spaces.flatdim(space), initial_log_std)
        case gym.spaces.Discrete(n=n):
            return Categoricals((int(n),))
        case gym.spaces.MultiDiscrete(nvec=nvec):
            return Categoricals(tuple(nvec.flatten().tolist()))
        case gym.spaces.MultiBinary():
            return Bernoullis(gym.spaces.flatdim(space))
        case gym.spaces.Dict() | gym.spaces.Tuple() if leaves(space):
            return JointFamily([
                make_family(leaf, initial_log_std, state_dependent) for leaf in leaves(space)
            ])
    expected = "expected Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them"
    raise ConfigError(f"action space {space} is not supported: {expected}")
