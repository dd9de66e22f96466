"""Dict and Tuple actions: one family per leaf."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from trpo.agents.distributions.family import Family
from trpo.agents.distributions.joint import Joint
from trpo.fisher import family_fisher
from trpo.linearization import Tensors


class JointFamily(Family):
    """Dict and Tuple actions: one family per leaf, mutually independent given the state.

    Outputs, own parameters, η, noise and actions are the concatenation of the parts'.

    Args:
        parts: one per leaf.
    """

    def __init__(self, parts: list[Family]) -> None:
        self.output_sizes = [part.output_size for part in parts]
        self.action_sizes = [part.action_size for part in parts]
        self.noise_sizes = [torch.Size(part.noise_shape).numel() for part in parts]
        # float32 represents choices exactly, up to 2²⁴
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
        """Return u ↦ Mu: for independent parts, M is block-diagonal.

        Args:
            eta: the parts', concatenated.

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

    def deviations(self, output: Tensor) -> Tensor:  # noqa: D102
        rows = output.split(self.output_sizes, dim=-1)
        return torch.cat([
            part.deviations(row) for part, row in zip(self._parts, rows, strict=True)
        ])


def _split(tensors: Tensors, sizes: list[int]) -> list[Tensors]:
    """Return consecutive pieces of a sequence, of the given sizes."""
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [tensors[end - size : end] for end, size in zip(ends, sizes, strict=True)]
