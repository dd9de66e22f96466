"""Running statistics: of observations, of rewards' discounted return, and of advantages.

Those of observations are frozen while a batch is collected and used, and updated between batches: a
policy normalised differently when acting and when updated would be two policies. Those of rewards
and advantages include a batch before they scale it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trpo.reducer import SERIAL, Reducer
from trpo.validation import require, require_numbers


@dataclass(frozen=True)
class NormalizationConfig:
    """Running statistics, saved with the policy."""

    observations: bool = True
    """Normalise observations to zero mean and unit variance (Andrychowicz et al. 2021: always)."""
    images: bool = True
    """If observations are normalised: large images, too, each channel by the mean and variance of
    its pixels. Otherwise images are only scaled to [0, 1] by their bounds (measured: on Pong-v5, V
    then learned nothing)."""
    observation_clip: float = 10.0
    """Largest magnitude of a normalised observation, in standard deviations."""
    rewards: bool = True
    """Divide rewards by the running standard deviation of the discounted return (Engstrom et al.
    2020)."""

    def __post_init__(self) -> None:
        require_numbers(self)
        require(self, "observation_clip", self.observation_clip > 0, "a number > 0")


class RunningMoments(nn.Module):
    """Running mean and variance in float64, merged by batches (Chan, Golub & LeVeque 1983).

    Args:
        size: features K.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def update(self, samples: Tensor, reducer: Reducer = SERIAL) -> Tensor:
        """Merge a batch; one that would make the moments non-finite is ignored.

        Args:
            samples: (B, K); B may be 0.
            reducer: pools the samples of all processes.

        Returns:
            The batch's own variance, (K,).
        """
        batch_count, batch_mean, batch_variance = reducer.moments(samples.double())
        total = self.count + batch_count
        shift = batch_mean - self.mean
        squares = (
            self.variance * self.count
            + batch_variance * batch_count
            + shift**2 * self.count * batch_count / total
        )
        mean, variance = self.mean + shift * batch_count / total, squares / total
        if mean.isfinite().all() and variance.isfinite().all():
            self.mean.copy_(mean)
            self.variance.copy_(variance)
            self.count.copy_(total)
        return batch_variance


class ObservationNormalizer(nn.Module):
    """s ↦ clip((s − mean) / √(variance + ε), ±clip); before its first update it only clips.

    Args:
        size: features O.
        clip: largest magnitude.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, size: int, clip: float) -> None:
        super().__init__()
        self.moments = RunningMoments(size)
        self.clip = clip
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def update(self, observations: Tensor, reducer: Reducer = SERIAL) -> None:
        """Merge a batch, and normalise with the new statistics from now on.

        Args:
            observations: (B, O), raw.
            reducer: pools the samples of all processes.
        """
        self.moments.update(observations, reducer)
        self.shift.copy_(self.moments.mean)
        self.scale.copy_((self.moments.variance + 1e-8).rsqrt())

    def forward(self, observations: Tensor) -> Tensor:
        """Normalise.

        Args:
            observations: (…, O), float32, raw.

        Returns:
            The same shape.
        """
        shifted = observations - self.shift
        return shifted.mul_(self.scale).clamp_(-self.clip, self.clip)


class RewardScaler(nn.Module):
    """Divides rewards by the discounted return's standard deviation (Engstrom et al. 2020, §3.2).

    Args:
        gamma: discount of the return.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.moments = RunningMoments(1)

    def update(
        self,
        rewards: Tensor,
        done: Tensor,
        valid: Tensor,
        carried: Tensor,
        reducer: Reducer = SERIAL,
    ) -> Tensor:
        """Merge a rollout's discounted returns R_t = r_t + γ R_{t−1}, 0 before each episode.

        Args:
            rewards: (T, N), raw.
            done: (T, N), whether the episode ended at this step.
            valid: (T, N), false for reset steps.
            carried: (N,), γR at the end of the previous rollout.
            reducer: pools the samples of all processes.

        Returns:
            (N,), γR at the end of this rollout, 0 where an episode ended with it.
        """
        keep = self.gamma * (~done).to(rewards.dtype)  # (T, N): the share of R_t in R_{t+1}
        returns = []
        for reward_t, keep_t in zip(rewards.unbind(), keep.unbind(), strict=True):
            returns.append(reward_t + carried)
            carried = keep_t * returns[-1]
        self.moments.update(torch.stack(returns)[valid].unsqueeze(-1), reducer)
        # or no later return of its episode would be finite
        return carried.where(carried.isfinite(), 0.0)

    def forward(self, rewards: Tensor) -> Tensor:
        """Scale.

        Args:
            rewards: any shape, raw.

        Returns:
            The same shape; unscaled until the first update.
        """
        return rewards * (self.moments.variance + 1e-8).rsqrt().to(rewards.dtype)


class AdvantageScale(nn.Module):
    """The size of a batch's advantages relative to the run's so far.

    Where nothing is left to learn, advantages are errors of the value function, and small.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moments = RunningMoments(1)

    def update(self, advantages: Tensor, reducer: Reducer = SERIAL) -> float:
        """Merge a batch's advantages.

        Args:
            advantages: (B,), B ≥ 2, in scaled rewards.
            reducer: pools the samples of all processes.

        Returns:
            Their standard deviation ÷ that of all advantages so far, these included.
        """
        variance = self.moments.update(advantages.unsqueeze(-1), reducer)
        return (variance / (self.moments.variance + 1e-32)).sqrt().item()
