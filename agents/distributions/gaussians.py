"""Box actions: Gaussians whose standard deviation is the same in every state, or depends on it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from trpo.agents.distributions.family import Family
from trpo.linearization import Tensors

LOG_STD_BOUNDS = -5.0, 2.0  # where it depends on the state


class _NormalNoise(Family):
    def draw_noise(self, steps: int, envs: int, generator: torch.Generator | None) -> Tensor:
        return torch.randn(steps, envs, *self.noise_shape, generator=generator)


class Gaussian(_NormalNoise):
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
        """Return u ↦ Mu: a Gaussian's Fisher matrix is 1/σ² for the mean, 2 for log σ.

        Args:
            mean: (B, A).
            log_std: (A,), shared by the B states.

        Returns:
            A linear map from (B, A) and (A,) to the same.
        """
        precision = (-2 * log_std).exp()
        return lambda u: (u[0] * precision, 2 * len(mean) * u[1])

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        return output if noise is None else torch.addcmul(output, self.log_std.exp(), noise)

    def deviations(self, output: Tensor) -> Tensor:  # noqa: ARG002, D102
        return self.log_std.detach().exp()


class StateGaussian(_NormalNoise):
    """Box actions: N(mean(s), diag(σ(s))²); the network says log σ, too, within bounds.

    log σ = (low + high)/2 + (high − low)/2 · tanh(z + offset), z the second half of the output; z =
    0 gives the initial log σ.

    Args:
        action_size: A.
        initial_log_std: log σ to start from, within `LOG_STD_BOUNDS`.
    """

    def __init__(self, action_size: int, initial_log_std: float) -> None:
        super().__init__(2 * action_size, action_size, torch.float32, (action_size,))
        low, high = LOG_STD_BOUNDS
        self.middle, self.reach = (low + high) / 2, (high - low) / 2
        self.offset = math.atanh((initial_log_std - self.middle) / self.reach)

    def extra_repr(self) -> str:  # noqa: D102
        return f"offset={self.offset}"

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

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        mean, log_std = self._mean_and_log_std(output)
        return mean if noise is None else torch.addcmul(mean, log_std.exp(), noise)

    def deviations(self, output: Tensor) -> Tensor:  # noqa: D102
        _, log_std = self._mean_and_log_std(output)
        return log_std.exp().mean(0)
