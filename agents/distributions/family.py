"""The interface of families: distributions over an action, given a network's output.

Every family samples with a function of the output and noise, such as the argmax, threshold or shift
of their sum, and the noise depends on nothing. So a whole rollout's noise is drawn at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from trpo.linearization import Tensors


class Family(nn.Module, ABC):
    """π(·|η) over actions of A numbers; η is linear in a network's output and the family's own θ.

    Args:
        output_size: E, size of the network's output.
        action_size: A.
        action_dtype: of the actions.
        noise_shape: of the noise of one action.
    """

    # η ↦ (u ↦ Mu), M in closed form, if autograd is slow
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
        """Return the distribution's parameters η; as the map is linear, it is its own derivative.

        Args:
            output: (B, E).
            own: the family's own parameters, or a direction among them.

        Returns:
            η, differentiable in both.
        """
        return (output, *own)

    def eta_transposed(self, u: Tensors) -> tuple[Tensor, Tensors]:
        """Apply the transpose of `eta` to tensors shaped like η.

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
            noise: one step of `draw_noise`; `None` for the deterministic action: the mode, or a
                Beta's mean.

        Returns:
            (N, A), of `action_dtype`: samples of the distribution.
        """

    def choices(self) -> list[int]:
        """Return the numbers of choices of an action's categorical parts, as one tuple."""
        return []

    def is_choice(self) -> Tensor:
        """Return which of a network's outputs are the logits of choices, (E,) bool."""
        return torch.zeros(self.output_size, dtype=torch.bool)

    def deviations(self, output: Tensor) -> Tensor:
        """Return the standard deviations of a Box's actions.

        Args:
            output: (B, E).

        Returns:
            (≤ A,), means over the B states.
        """
        return output.new_empty(0)
