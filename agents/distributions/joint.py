"""The joint distribution of independent parts of an action."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.kl import register_kl

from trpo.divergence import kl_divergence


class Joint(Distribution):
    """π(a|η) = Π_k π_k(a_k|η_k): log-probability, entropy and KL are the parts' sums.

    Args:
        parts: of batch shape (b,), and event shapes (A_k,).
        sizes: A_k, the size of each part of an action.
    """

    def __init__(self, parts: Sequence[Distribution], sizes: Sequence[int]) -> None:
        super().__init__(parts[0].batch_shape, torch.Size([sum(sizes)]), validate_args=False)
        self.parts = parts
        self.sizes = list(sizes)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log π(a|η).

        Args:
            value: (b, A), the parts concatenated, in one dtype.

        Returns:
            (b,).
        """
        pieces = zip(self.parts, value.split(self.sizes, dim=-1), strict=True)
        return _sum([part.log_prob(piece) for part, piece in pieces])

    def entropy(self) -> Tensor:
        """Return the entropy, (b,), in nats."""
        return _sum([part.entropy() for part in self.parts])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return samples.

        Args:
            sample_shape: dimensions before the batch's.

        Returns:
            (*sample_shape, b, A), of floats.
        """
        return torch.cat([part.sample(sample_shape).float() for part in self.parts], dim=-1)


@register_kl(Joint, Joint)  # type: ignore[untyped-decorator]
def _kl_of_independents(p: Joint, q: Joint) -> Tensor:
    return _sum([kl_divergence(*parts) for parts in zip(p.parts, q.parts, strict=True)])


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum(0)
