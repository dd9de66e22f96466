"""Bounded Box actions: Beta distributions, whose support is the Box."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Beta, Distribution, Independent, constraints
from torch.distributions.kl import register_kl
from torch.distributions.utils import lazy_property
from torch.nn.functional import softplus

from trpo.agents.distributions.family import Family
from trpo.linearization import Tensors

TRIES = 6  # per sample: all are rejected at most once in 6e7, which is below float32's resolution
EDGE = 1e-6  # a density may be 0 at ±1


class Betas(Family):
    """Box actions in [-1, 1]: 2x − 1, x ~ Beta(α(s), β(s)) with α, β > 1 (Chou et al. 2017).

    α = 1 + c softplus(z), β = 1 + c softplus(z'), z and z' the halves of the output; at 0, both are
    the initial concentration. Samples are ratios of Gamma samples by rejection (Marsaglia & Tsang
    2000), with proposals drawn beforehand.

    Args:
        action_size: A.
        initial_concentration: α and β to start from, > 1.
    """

    def __init__(self, action_size: int, initial_concentration: float) -> None:
        super().__init__(2 * action_size, action_size, torch.float32, (2, 2 * action_size, TRIES))
        self.scale = (initial_concentration - 1) / math.log(2)  # c: softplus(0) = log 2

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale}"

    def forward(self, *eta: Tensor) -> Distribution:  # noqa: D102
        alpha, beta = self._concentrations(eta[0]).chunk(2, dim=-1)
        return Independent(BetaOnInterval(alpha, beta, validate_args=False), 1, validate_args=False)

    def fisher(self, output: Tensor) -> Callable[[Tensors], Tensors]:
        """Return u ↦ Mu: ψ'(α) − ψ'(α + β) and so on, times the concentrations' slopes.

        Args:
            output: (B, 2A).

        Returns:
            A linear map from (B, 2A) to the same.
        """
        slope = self.scale * torch.sigmoid(output)
        concentrations = self._concentrations(output)
        own = torch.polygamma(1, concentrations)
        common = torch.polygamma(1, _pair_sums(concentrations))

        def product(u: Tensors) -> Tensors:
            w = slope * u[0]
            return (slope * (own * w - common * _pair_sums(w)),)

        return product

    def draw_noise(self, steps: int, envs: int, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        shape = (steps, envs, *self.noise_shape[1:])
        normal = torch.randn(shape, generator=generator)
        # n²/2 − log u: the part of the acceptance test that depends on the noise only
        slack = torch.rand(shape, generator=generator).log_().neg_()
        slack.addcmul_(normal, normal, value=0.5)
        return torch.stack([normal, slack], dim=2)

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:  # noqa: D102
        concentrations = self._concentrations(output)  # which are the Gammas' means
        gammas = concentrations if noise is None else _gammas(concentrations, noise)
        first, second = gammas.chunk(2, dim=-1)
        return ((first - second) / (first + second)).clamp(EDGE - 1, 1 - EDGE)

    def deviations(self, output: Tensor) -> Tensor:  # noqa: D102
        return self(output).stddev.mean(0)

    def _concentrations(self, output: Tensor) -> Tensor:
        """Return the slopes of α, then of β: (B, 2A) to (B, 2A)."""
        return 1 + self.scale * softplus(output)


def _pair_sums(x: Tensor) -> Tensor:
    """Return α's + β's, for each of both: (B, 2A) to (B, 2A)."""
    return x + x.roll(x.shape[-1] // 2, -1)


class BetaOnInterval(Beta):
    """2x − 1 of a Beta variable x, so on [-1, 1]."""

    support = constraints.interval(-1, 1)

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return 2 * super().mean - 1

    @property
    def mode(self) -> Tensor:  # noqa: D102
        return 2 * super().mode - 1

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return 4 * super().variance

    @lazy_property
    def log_normalizer(self) -> Tensor:
        """Return log B(α, β), once for KL in both directions.

        Returns:
            Batch shape.
        """
        alpha, beta = self.concentration1, self.concentration0
        return alpha.lgamma() + beta.lgamma() - (alpha + beta).lgamma()

    def rsample(self, sample_shape: Any = ()) -> Tensor:  # noqa: D102
        return 2 * super().rsample(sample_shape) - 1

    def log_prob(self, value: Tensor) -> Tensor:  # noqa: D102
        return super().log_prob((value + 1) / 2) - math.log(2)

    def entropy(self) -> Tensor:  # noqa: D102
        return super().entropy() + math.log(2)


@register_kl(BetaOnInterval, BetaOnInterval)  # type: ignore[untyped-decorator]
def _kl_of_betas(p: BetaOnInterval, q: BetaOnInterval) -> Tensor:
    # of an exponential family: log B(q) − log B(p) + E_p[log x] Δα + E_p[log(1 − x)] Δβ
    alpha, beta = p.concentration1, p.concentration0
    common = (alpha + beta).digamma()
    return (
        q.log_normalizer
        - p.log_normalizer
        + (alpha.digamma() - common) * (alpha - q.concentration1)
        + (beta.digamma() - common) * (beta - q.concentration0)
    )


def _gammas(concentrations: Tensor, noise: Tensor) -> Tensor:
    """Return Gamma(concentrations, 1) samples: dv of the first try n, u that is accepted.

    v = (1 + n/√(9d))³, d = concentration − ⅓; accepted if log u < n²/2 + d − dv + d log v.
    """
    normal, slack = noise.unbind(1)  # (N, 2A, TRIES) each
    d = (concentrations - 1 / 3).unsqueeze(-1)
    root = torch.addcmul(normal.new_ones(()), normal, d.rsqrt(), value=1 / 3)
    v = root**3
    accepted = d * torch.sub(v - 1, root.log(), alpha=3) < slack  # never where v < 0: NaN
    first = accepted.view(torch.uint8).argmax(-1, keepdim=True)
    return (d * v.gather(-1, first)).squeeze(-1)
