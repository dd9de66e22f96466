"""What a candidate θ is judged by: its surrogate, and its KL to π_old in both directions, measured on the batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from trpo.model import Chunk, Model, Surrogate, batch_mean
from trpo.parallel import map_chunks


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


def measure_from_here(
    model: Model, surrogate: Surrogate, chunks: Sequence[Chunk]
) -> Callable[[], Measurement]:
    """Fix π_old as the model is now; return a function that measures the model, as it is when called, against it.

    Args:
        model: the distribution, at θ_old.
        surrogate: (π, chunk) ↦ the chunk's per-sample terms of L, shape (b,).
        chunks: the batch.

    Returns:
        A function of nothing; sums are taken in float64, whatever the model's dtype.
    """
    old_outputs = map_chunks(
        lambda chunk: tuple(e.clone() for e in model.here(chunk).eta), chunks
    )  # η at θ_old

    def measure() -> Measurement:
        @torch.no_grad()
        def chunk_sums(
            chunk_and_eta: tuple[Chunk, tuple[Tensor, ...]],
        ) -> tuple[Tensor, Tensor, int]:
            chunk, eta_old = chunk_and_eta
            old, new = model.family(*eta_old), model.family(*model.outputs(chunk))
            kl = kl_divergence(old, new)  # (b,)
            terms = torch.stack([surrogate(new, chunk), kl, kl_divergence(new, old)])  # (3, b)
            return terms.sum(dim=1, dtype=torch.float64), kl.max(), len(kl)

        parts = map_chunks(chunk_sums, list(zip(chunks, old_outputs, strict=True)))
        means = batch_mean((sums, count) for sums, _, count in parts)
        mean_surrogate, mean_kl, mean_reverse_kl = means.tolist()
        return Measurement(
            mean_surrogate, mean_kl, max(kl.item() for _, kl, _ in parts), mean_reverse_kl
        )

    return measure


@torch.no_grad()
def mean_kl(old: Model, new: Model, chunks: Sequence[Chunk]) -> float:
    """Return E_s[KL(old ‖ new)] of two models of one family, each with parameters of its own.

    Args:
        old: what the expectation is under.
        new: what it is held against.
        chunks: the states to average over.

    Returns:
        KL in nats; sums are taken in float64.
    """
    kl = [
        kl_divergence(old.family(*old.outputs(chunk)), new.family(*new.outputs(chunk)))
        for chunk in chunks
    ]  # (b,) each
    return batch_mean((part.sum(dtype=torch.float64), len(part)) for part in kl).item()
