"""Discrete, MultiDiscrete and MultiBinary actions: categoricals and Bernoullis, from logits."""

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent

from trpo.agents.distributions.family import Family


class Categoricals(Family):
    """Discrete and MultiDiscrete actions: one categorical each, sampled by the Gumbel-max trick.

    The network's output is the concatenation of all dimensions' logits, (B, Σ choices).

    Args:
        choices: number of choices in each dimension.
    """

    slots: Tensor
    padding: Tensor

    def __init__(self, choices: tuple[int, ...]) -> None:
        widest = max(choices)
        super().__init__(sum(choices), len(choices), torch.int64, (len(choices), widest))
        # Where dimension d's logits are in the output; a dimension with fewer choices than the
        # widest is padded with slot 0, masked out.
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
        # (B, Σ choices) → (B, A, widest), with padding at -1e9: of probability 0, but finite.
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
    """MultiBinary actions: A independent Bernoullis, logits from the network, logistic noise.

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
