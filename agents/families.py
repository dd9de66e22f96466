"""Families: distributions over an action, given a network's output, and how they are sampled.

Every family here samples as argmax, threshold or shift of (output + noise), with noise that depends
on nothing. So a whole rollout's noise is drawn at once, and zero noise gives the deterministic
action.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal

from trpo.agents.joint import Joint
from trpo.agents.observations import leaves
from trpo.fisher import family_fisher
from trpo.linearization import Tensors
from trpo.validation import ConfigError

LOG_STD_BOUNDS = -5.0, 2.0  # where it depends on the state


class Family(nn.Module, ABC):
    """π(·|η) over actions of A numbers; η is linear in a network's output and the family's own θ.

    Args:
        output_size: E, numbers that it asks of a network.
        action_size: A.
        action_dtype: of the actions.
        noise_shape: of the noise of one action.
    """

    # η ↦ (u ↦ Mu), M in closed form, where autograd's is slow
    fisher: Callable[..., Callable[[Tensors], Tensors]] | None = None

    def __init__(
        self,
        output_size: int,
        action_size: int,
        action_dtype: torch.dtype,
        noise_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.action_size = action_size
        self.action_dtype = action_dtype
        self.noise_shape = noise_shape

    def eta(self, output: Tensor, own: Tensors) -> tuple[Tensor, ...]:
        """Return the distribution's parameters η; being linear, this is their derivative, too.

        Args:
            output: (B, E).
            own: the family's own parameters, or a direction among them.

        Returns:
            η, differentiable in both.
        """
        return (output, *own)

    def eta_transposed(self, u: Tensors) -> tuple[Tensor, Tensors]:
        """Return what `eta`'s transpose makes of tensors shaped like η.

        Args:
            u: shaped like η.

        Returns:
            Shaped like the output, and like the family's own parameters.
        """
        return u[0], u[1:]

    @abstractmethod
    def forward(self, *eta: Tensor) -> Distribution:
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
            (T, N, *noise_shape), a slice for each call of `act`.
        """

    @abstractmethod
    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:
        """Return actions for network outputs.

        Args:
            output: (N, E).
            noise: one step of `draw_noise`; `None` for the distribution's mode.

        Returns:
            (N, A), of `action_dtype`: samples of the distribution.
        """

    def choices(self) -> list[int]:
        """Return the numbers of choices of an action's categorical parts, in a row."""
        return []

    def is_choice(self) -> Tensor:
        """Return which of a network's outputs are the logits of choices, (E,) bool."""
        return torch.zeros(self.output_size, dtype=torch.bool)

    def deviations(self) -> Tensor:
        """Return the standard deviations of what is Gaussian in an action, (≤ A,)."""
        return torch.empty(0)


class Gaussian(Family):
    """Box actions: N(mean(s), diag(exp(log_std))²); log_std is in θ, and the same in every state.

    Args:
        action_size: A.
        initial_log_std: log_std to start from.
    """

    def __init__(self, action_size: int, initial_log_std: float) -> None:
        super().__init__(action_size, action_size, torch.float32, (action_size,))
        self.log_std = nn.Parameter(torch.full((action_size,), initial_log_std))

    def forward(self, *eta: Tensor) -> Distribution:  # noqa: D102
        mean, log_std = eta
        return Independent(Normal(mean, log_std.exp(), validate_args=False), 1, validate_args=False)

    def fisher(self, mean: Tensor, log_std: Tensor) -> Callable[[Tensors], Tensors]:
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
        return torch.randn(steps, envs, *self.noise_shape, generator=generator)

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        return output if noise is None else torch.addcmul(output, self.log_std.exp(), noise)

    def deviations(self) -> Tensor:  # noqa: D102
        return self.log_std.detach().exp()


class StateGaussian(Family):
    """Box actions: N(mean(s), diag(σ(s))²); the network says log σ, too, within bounds.

    log σ = (low + high)/2 + (high − low)/2 · tanh(z + offset), z the second half of the output: at
    z = 0 it is where it is to start.

    Args:
        action_size: A.
        initial_log_std: log σ to start from, within `LOG_STD_BOUNDS`.
    """

    def __init__(self, action_size: int, initial_log_std: float) -> None:
        super().__init__(2 * action_size, action_size, torch.float32, (action_size,))
        low, high = LOG_STD_BOUNDS
        self.middle, self.reach = (low + high) / 2, (high - low) / 2
        self.offset = math.atanh((initial_log_std - self.middle) / self.reach)

    def _mean_and_log_std(self, output: Tensor) -> tuple[Tensor, Tensor]:
        mean, z = output.chunk(2, dim=-1)
        return mean, self.middle + self.reach * torch.tanh(z + self.offset)

    def forward(self, *eta: Tensor) -> Distribution:  # noqa: D102
        mean, log_std = self._mean_and_log_std(eta[0])
        return Independent(Normal(mean, log_std.exp(), validate_args=False), 1, validate_args=False)

    def fisher(self, output: Tensor) -> Callable[[Tensors], Tensors]:
        """Return u ↦ Mu: 1/σ² in the mean, 2 (∂log σ/∂z)² in z.

        Args:
            output: (B, 2A).

        Returns:
            A linear map from (B, 2A) to the same.
        """
        _, log_std = self._mean_and_log_std(output)
        slope = self.reach - (log_std - self.middle).square() / self.reach  # reach · (1 − tanh²)
        diagonal = torch.cat([(-2 * log_std).exp(), 2 * slope.square()], dim=-1)
        return lambda u: (u[0] * diagonal,)

    def draw_noise(self, steps: int, envs: int, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        return torch.randn(steps, envs, *self.noise_shape, generator=generator)

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        mean, log_std = self._mean_and_log_std(output)
        return mean if noise is None else torch.addcmul(mean, log_std.exp(), noise)


class Categoricals(Family):
    """Discrete and MultiDiscrete actions: a categorical each, sampled by the Gumbel-max trick.

    The network's output is all dimensions' logits in a row, (B, Σ choices).

    Args:
        choices: number of choices in each dimension.
    """

    slots: Tensor
    padding: Tensor

    def __init__(self, choices: tuple[int, ...]) -> None:
        widest = max(choices)
        super().__init__(sum(choices), len(choices), torch.int64, (len(choices), widest))
        # Where dimension d's logits stand in a row; a dimension with fewer choices than the widest
        # borrows slot 0, masked out.
        starts = torch.tensor([sum(choices[:d]) for d in range(len(choices))])[:, None]
        real = torch.arange(widest) < torch.tensor(choices)[:, None]  # (A, widest)
        self.register_buffer(
            "slots", torch.where(real, starts + torch.arange(widest), 0), persistent=False
        )
        self.register_buffer("padding", torch.where(real, 0.0, -1e9), persistent=False)
        self.uniform = len(set(choices)) == 1
        self._choices = list(choices)

    def choices(self) -> list[int]:  # noqa: D102
        return self._choices

    def is_choice(self) -> Tensor:  # noqa: D102
        return torch.ones(self.output_size, dtype=torch.bool)

    def _logits(self, row: Tensor) -> Tensor:
        # (B, Σ choices) → (B, A, widest), with choices that do not exist at -1e9: of probability 0,
        # and finite.
        if self.uniform:
            return row.unflatten(-1, self.slots.shape)
        return row[..., self.slots] + self.padding

    def forward(self, *eta: Tensor) -> Distribution:  # noqa: D102
        return Independent(
            Categorical(logits=self._logits(eta[0]), validate_args=False), 1, validate_args=False
        )

    def draw_noise(self, steps: int, envs: int, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        # Gumbel(0, 1)
        return -torch.empty(steps, envs, *self.noise_shape).exponential_(generator=generator).log()

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        logits = self._logits(output)
        return (logits if noise is None else logits + noise).argmax(dim=-1)


class Bernoullis(Family):
    """MultiBinary actions: A independent coins, logits from the network, logistic noise.

    Args:
        action_size: A.
    """

    def __init__(self, action_size: int) -> None:
        # float32: what Bernoulli's log_prob takes
        super().__init__(action_size, action_size, torch.float32, (action_size,))

    def forward(self, *eta: Tensor) -> Distribution:  # noqa: D102
        return Independent(Bernoulli(logits=eta[0], validate_args=False), 1, validate_args=False)

    def draw_noise(self, steps: int, envs: int, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        # Logistic(0, 1)
        return torch.rand(steps, envs, *self.noise_shape, generator=generator).logit(eps=1e-7)

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        return ((output if noise is None else output + noise) > 0).to(output.dtype)


class JointFamily(Family):
    """Dict and Tuple actions: a family for each leaf, independent of one another given the state.

    Outputs, own parameters, η, noise and actions are the parts', in a row.

    Args:
        parts: one a leaf.
    """

    def __init__(self, parts: list[Family]) -> None:
        self.output_sizes = [part.output_size for part in parts]
        self.action_sizes = [part.action_size for part in parts]
        self.noise_sizes = [torch.Size(part.noise_shape).numel() for part in parts]
        # choices are whole numbers in float32, too, up to 2²⁴
        super().__init__(
            sum(self.output_sizes), sum(self.action_sizes), torch.float32, (sum(self.noise_sizes),)
        )
        self.parts = nn.ModuleList(parts)
        self._parts = parts
        self.own_sizes = [len(list(part.parameters())) for part in parts]
        self.eta_sizes = [1 + own for own in self.own_sizes]

    def eta(self, output: Tensor, own: Tensors) -> tuple[Tensor, ...]:  # noqa: D102
        rows, owns = output.split(self.output_sizes, dim=-1), _split(own, self.own_sizes)
        etas = [part.eta(*two) for part, *two in zip(self._parts, rows, owns, strict=True)]
        return tuple(e for eta in etas for e in eta)

    def eta_transposed(self, u: Tensors) -> tuple[Tensor, Tensors]:  # noqa: D102
        parts = zip(self._parts, _split(u, self.eta_sizes), strict=True)
        outputs, owns = zip(*(part.eta_transposed(piece) for part, piece in parts), strict=True)
        return torch.cat(outputs, dim=-1), [o for own in owns for o in own]

    def forward(self, *eta: Tensor) -> Distribution:  # noqa: D102
        parts = zip(self._parts, _split(eta, self.eta_sizes), strict=True)
        return Joint([part(*piece) for part, piece in parts], self.action_sizes)

    def fisher(self, *eta: Tensor) -> Callable[[Tensors], Tensors]:
        """Return u ↦ Mu: M of independents has the parts' along its diagonal, and nothing else.

        Args:
            eta: the parts', in a row.

        Returns:
            A linear map between tensors shaped like η.
        """
        maps = [
            part.fisher(*piece) if part.fisher else family_fisher(part, *piece)
            for part, piece in zip(self._parts, _split(eta, self.eta_sizes), strict=True)
        ]
        return lambda u: [
            m
            for part, piece in zip(maps, _split(u, self.eta_sizes), strict=True)
            for m in part(piece)
        ]

    def draw_noise(self, steps: int, envs: int, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        noise = [part.draw_noise(steps, envs, generator).flatten(2) for part in self._parts]
        return torch.cat(noise, dim=-1)

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        rows = output.split(self.output_sizes, dim=-1)
        if noise is None:
            actions = [part.act(row, None) for part, row in zip(self._parts, rows, strict=True)]
        else:
            pieces = noise.split(self.noise_sizes, dim=-1)
            actions = [
                part.act(row, piece.unflatten(-1, part.noise_shape))
                for part, row, piece in zip(self._parts, rows, pieces, strict=True)
            ]
        return torch.cat([action.to(output.dtype) for action in actions], dim=-1)

    def choices(self) -> list[int]:  # noqa: D102
        return [n for part in self._parts for n in part.choices()]

    def is_choice(self) -> Tensor:  # noqa: D102
        return torch.cat([part.is_choice() for part in self._parts])

    def deviations(self) -> Tensor:  # noqa: D102
        return torch.cat([part.deviations() for part in self._parts])


def _split(tensors: Tensors, sizes: list[int]) -> list[Tensors]:
    """Return consecutive pieces of a sequence, as long as `sizes` says."""
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [tensors[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def make_family(space: gym.Space, initial_log_std: float, state_dependent: bool = False) -> Family:
    """Make the family that fits an action space.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them, nested.
        initial_log_std: of Gaussians.
        state_dependent: whether their deviations are the network's to say.

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
