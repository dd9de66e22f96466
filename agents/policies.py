"""Policies: for an action space, a network, a distribution over its output, and a sampler.

Every policy here samples as argmax, threshold or shift of (output + noise), with noise that depends
on nothing. So a whole rollout's noise is drawn at once, and zero noise gives the deterministic
action.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal

from trpo.agents.encoders import Features
from trpo.agents.networks import Activation, Network, mlp
from trpo.agents.observations import HasObservations, Observation, map_pieces
from trpo.linearization import Linearization, Tensors
from trpo.model import Model
from trpo.reducer import SERIAL, Reducer
from trpo.validation import ConfigError, require


@dataclass(frozen=True)
class PolicyConfig:
    """The policy network."""

    hidden: tuple[int, ...] = (64, 64)
    """Width of each hidden layer (Schulman et al. 2017)."""
    activation: Activation = "tanh"
    """Nonlinearity (Andrychowicz et al. 2021: tanh)."""
    initial_log_std: float = -0.5
    """Log of the Gaussian policy's initial standard deviation, as a share of half of the action's
    range where that is bounded, else in its units (Achiam 2018, Spinning Up; measured: with -1,
    Hopper-v5 and Walker2d-v5 stop learning early)."""

    def __post_init__(self) -> None:
        require(self, "hidden", all(width >= 1 for width in self.hidden), "widths ≥ 1")
        require(self, "initial_log_std", -20 <= self.initial_log_std <= 5, "a number in [-20, 5]")


class Policy(nn.Module, ABC):
    """π_θ(a|s): a network from observations to an output (B, E), and a family over that output.

    Args:
        network: observations to output.
        output_size: E.
        action_size: A.
        action_dtype: of the actions.
    """

    # M in closed form, where autograd's is slow
    family_fisher: Callable[..., Callable[[Tensors], Tensors]] | None = None

    def __init__(
        self, network: Network, output_size: int, action_size: int, action_dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.network = network
        self.output_size = output_size
        self.action_size = action_size
        self.action_dtype = action_dtype

    def eta(self, output: Tensor) -> tuple[Tensor, ...]:
        """Return the distribution's parameters η for a network output.

        Args:
            output: (B, E).

        Returns:
            η, differentiable in θ.
        """
        return (output,)

    def linearize_eta(self, output: Linearization) -> Linearization:
        """Return η to first order in all of θ.

        Args:
            output: the network's, to first order in the network's parameters.

        Returns:
            What autograd would give, for less.
        """
        return output

    @abstractmethod
    def family(self, *eta: Tensor) -> Distribution:
        """Return the distribution with parameters η.

        Args:
            eta: what `eta` returns.

        Returns:
            Batch shape (B,), event shape (A,).
        """

    @abstractmethod
    def draw_noise(self, steps: int, envs: int, generator: torch.Generator | None) -> Tensor:
        """Return all the noise of a rollout.

        Args:
            steps: T.
            envs: N.
            generator: source of the noise; `None` for torch's own.

        Returns:
            (T, N, …), a slice for each call of `act`.
        """

    @abstractmethod
    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:
        """Return actions for network outputs.

        Args:
            output: (N, E).
            noise: one step of `draw_noise`; `None` for the distribution's mode.

        Returns:
            (N, A), of `action_dtype`: samples of `family(*eta(output))`.
        """

    def distribution(self, output: Tensor) -> Distribution:
        """Return the distribution over actions for a network output.

        Args:
            output: (B, E).

        Returns:
            Batch shape (B,), event shape (A,).
        """
        return self.family(*self.eta(output))

    def model(self) -> Model:
        """Return this policy as the mathematics sees it; its microbatches have `observations`."""

        def outputs(microbatch: HasObservations) -> tuple[Tensor, ...]:
            return self.eta(self.network(microbatch.observations))

        def linearize(microbatch: HasObservations) -> Linearization:
            return self.linearize_eta(self.network.linearize(microbatch.observations))

        by_hand = linearize if self.network.features.is_fixed else None
        return Model(list(self.parameters()), outputs, self.family, by_hand, self.family_fisher)

    @torch.no_grad()
    def metrics(
        self, observations: Observation, microbatch_size: int, reducer: Reducer = SERIAL
    ) -> dict[str, float]:
        """Return how much the policy explores.

        Args:
            observations: tensors (B, *shape).
            microbatch_size: observations to look at together, at most.
            reducer: brings every process's samples together.

        Returns:
            By name, of `trpo.agents.metrics.METRICS`.
        """
        outputs = map_pieces(self.network, observations, microbatch_size)  # (B, E)
        entropy = self.distribution(outputs).entropy()  # (B,)
        (mean,) = reducer.pool_means([entropy.mean()], len(entropy))
        return {"policy/entropy": mean.item()}


class GaussianPolicy(Policy):
    """Box actions: N(mean(s), diag(exp(log_std))²); log_std is in θ, and the same in every state.

    Args:
        network: observations to the mean, (B, A).
        action_size: A.
        initial_log_std: log_std to start from.
    """

    def __init__(self, network: Network, action_size: int, initial_log_std: float) -> None:
        super().__init__(network, action_size, action_size, torch.float32)
        self.log_std = nn.Parameter(torch.full((action_size,), initial_log_std))

    def eta(self, output: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        return output, self.log_std

    def family(self, *eta: Tensor) -> Distribution:  # noqa: D102
        mean, log_std = eta
        return Independent(Normal(mean, log_std.exp(), validate_args=False), 1, validate_args=False)

    def linearize_eta(self, output: Linearization) -> Linearization:  # noqa: D102
        # θ stands in the order of named_parameters, the network's own with log_std among them
        at = [name for name, _ in self.named_parameters()].index("log_std")

        def jvp(v: Tensors) -> Tensors:
            return *output.jvp([*v[:at], *v[at + 1 :]]), v[at]

        def vjp(u: Tensors) -> Tensors:
            network = output.vjp(u[:-1])
            return [*network[:at], u[-1], *network[at:]]

        return Linearization((*output.eta, self.log_std.detach()), jvp, vjp)

    def family_fisher(self, mean: Tensor, log_std: Tensor) -> Callable[[Tensors], Tensors]:
        """Return u ↦ Mu: a Gaussian's Fisher matrix is 1/σ² in its mean, 2 in its log-deviation.

        Args:
            mean: (B, A).
            log_std: (A,), shared by the B states.

        Returns:
            A linear map from (B, A) and (A,) to the same.
        """
        precision = (-2 * log_std).exp()
        return lambda u: (u[0] * precision, 2 * len(mean) * u[1])

    def draw_noise(self, steps: int, envs: int, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        return torch.randn(steps, envs, len(self.log_std), generator=generator)

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        return output if noise is None else torch.addcmul(output, self.log_std.exp(), noise)

    def metrics(  # noqa: D102
        self, observations: Observation, microbatch_size: int, reducer: Reducer = SERIAL
    ) -> dict[str, float]:
        std = self.log_std.detach().exp().mean().item()
        return super().metrics(observations, microbatch_size, reducer) | {"policy/std": std}


class CategoricalPolicy(Policy):
    """Discrete and MultiDiscrete actions: a categorical each, sampled by the Gumbel-max trick.

    Args:
        network: observations to all dimensions' logits in a row, (B, Σ choices).
        choices: number of choices in each dimension.
    """

    slots: Tensor
    padding: Tensor

    def __init__(self, network: Network, choices: tuple[int, ...]) -> None:
        super().__init__(network, sum(choices), len(choices), torch.int64)
        widest = max(choices)
        # Where dimension d's logits stand in a row; a dimension with fewer choices than the widest
        # borrows slot 0, masked out.
        starts = torch.tensor([sum(choices[:d]) for d in range(len(choices))])[:, None]
        real = torch.arange(widest) < torch.tensor(choices)[:, None]  # (A, widest)
        self.register_buffer(
            "slots", torch.where(real, starts + torch.arange(widest), 0), persistent=False
        )
        self.register_buffer("padding", torch.where(real, 0.0, -1e9), persistent=False)
        self.uniform = bool(real.all())

    def _logits(self, row: Tensor) -> Tensor:
        # (B, Σ choices) → (B, A, widest), with choices that do not exist at -1e9: of probability 0,
        # and finite.
        if self.uniform:
            return row.unflatten(-1, self.slots.shape)
        return row[..., self.slots] + self.padding

    def family(self, *eta: Tensor) -> Distribution:  # noqa: D102
        return Independent(
            Categorical(logits=self._logits(eta[0]), validate_args=False), 1, validate_args=False
        )

    def draw_noise(self, steps: int, envs: int, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        # Gumbel(0, 1)
        return -torch.empty(steps, envs, *self.slots.shape).exponential_(generator=generator).log()

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        logits = self._logits(output)
        return (logits if noise is None else logits + noise).argmax(dim=-1)


class BernoulliPolicy(Policy):
    """MultiBinary actions: A independent coins, logits from the network, logistic noise.

    Args:
        network: observations to logits, (B, A).
        action_size: A.
    """

    def __init__(self, network: Network, action_size: int) -> None:
        # float32: what Bernoulli's log_prob takes
        super().__init__(network, action_size, action_size, torch.float32)

    def family(self, *eta: Tensor) -> Distribution:  # noqa: D102
        return Independent(Bernoulli(logits=eta[0], validate_args=False), 1, validate_args=False)

    def draw_noise(self, steps: int, envs: int, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        # Logistic(0, 1)
        return torch.rand(steps, envs, self.action_size, generator=generator).logit(eps=1e-7)

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        return ((output if noise is None else output + noise) > 0).to(output.dtype)


def make_policy(
    features: Features, action_space: gym.Space, config: PolicyConfig, generator: torch.Generator
) -> Policy:
    """Build the policy that fits an action space.

    Its last layer is small: near uniform at first (Andrychowicz et al. 2021).

    Args:
        features: from observations.
        action_space: Box, Discrete, MultiDiscrete or MultiBinary, of one environment.
        config: network and initial deviation.
        generator: source of the initial weights.

    Returns:
        A policy whose actions have A numbers, the space's own, flattened.

    Raises:
        ConfigError: if the space is none of the four.
    """

    def network(outputs: int) -> Network:
        head = mlp(
            features.size,
            config.hidden,
            outputs,
            config.activation,
            last_gain=0.01,
            generator=generator,
        )
        return Network(features, head)

    match action_space:
        case gym.spaces.Box():
            size = gym.spaces.flatdim(action_space)
            return GaussianPolicy(network(size), size, config.initial_log_std)
        case gym.spaces.Discrete(n=n):
            return CategoricalPolicy(network(int(n)), (int(n),))
        case gym.spaces.MultiDiscrete(nvec=nvec):
            return CategoricalPolicy(network(int(nvec.sum())), tuple(nvec.flatten().tolist()))
        case gym.spaces.MultiBinary():
            size = gym.spaces.flatdim(action_space)
            return BernoulliPolicy(network(size), size)
    expected = "expected Box, Discrete, MultiDiscrete or MultiBinary"
    raise ConfigError(f"action space {action_space} is not supported: {expected}")
