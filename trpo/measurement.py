"""Measurements of a candidate θ on the batch: surrogate, and KL to π_old in both directions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from trpo.divergence import kl_divergence
from trpo.model import Microbatch, Model, Surrogate
from trpo.reducer import SERIAL, Reducer, Totals


@dataclass(frozen=True)
class Measurement:
    """A candidate θ, measured on the batch against π_old; new = the candidate. KL in nats.

    Args:
        surrogate: mean surrogate L(θ).
        mean_kl: E_s[KL(old ‖ new)].
        max_state_kl: max_s KL(old ‖ new).
        mean_reverse_kl: E_s[KL(new ‖ old)].
    """

    surrogate: float
    mean_kl: float
    max_state_kl: float
    mean_reverse_kl: float


def measure_against_present(
    model: Model[Microbatch],
    surrogate: Surrogate[Microbatch],
    microbatches: Sequence[Microbatch],
    reducer: Reducer = SERIAL,
) -> Callable[[], Measurement]:
    """Fix π_old as the current model, and return a function that measures the model against it.

    KL and all sums are computed in float64: in float32, rounding errors of the states' KLs reach
    1e-6.

    Args:
        model: the distribution, at θ_old.
        surrogate: (π, microbatch) ↦ the per-sample terms of L, shape (b,).
        microbatches: the batch.
        reducer: sums the results over threads and processes.

    Returns:
        A function without arguments.
    """
    old_outputs = reducer.map(
        lambda microbatch: tuple(e.clone() for e in model.linearization_at(microbatch).eta),
        microbatches,
    )

    @torch.no_grad()
    def judge(microbatch_and_eta: tuple[Microbatch, tuple[Tensor, ...]]) -> Totals:
        microbatch, eta_old = microbatch_and_eta
        eta_new = model.outputs(microbatch)
        old, new = _in_float64(model, eta_old), _in_float64(model, eta_new)
        kl, reverse_kl = kl_divergence(old, new), kl_divergence(new, old)  # (b,) each
        terms = surrogate(model.family(*eta_new), microbatch)  # (b,)
        assert terms.shape == kl.shape == new.batch_shape, "one term, and one KL, a sample"
        sums = torch.stack([terms.double(), kl, reverse_kl]).sum(dim=1)  # (3,)
        return Totals(len(kl), (sums,), (kl.max(),))

    def measure() -> Measurement:
        totals = reducer.reduce(judge, list(zip(microbatches, old_outputs, strict=True)))
        mean_surrogate, mean_kl, mean_reverse_kl = totals.means[0].tolist()
        return Measurement(mean_surrogate, mean_kl, totals.maxima[0].item(), mean_reverse_kl)

    return measure


def _in_float64(model: Model[Microbatch], eta: tuple[Tensor, ...]) -> Distribution:
    return model.family(*(e.double() for e in eta))
