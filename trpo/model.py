"""What the mathematics sees of a policy: parameters θ, distribution parameters η = f_θ(s), and a family π(·|η)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from trpo.linearization import Linearization, Tensors, linearize
from trpo.parallel import map_chunks, workers
from trpo.parameters import flatten

# A slice of the batch, in whatever form the caller's closures take it: states alone, or states,
# actions and advantages.
Chunk = Any
Surrogate = Callable[[Distribution, Chunk], Tensor]


@dataclass(frozen=True)
class Model:
    """A conditional distribution π_θ(·|s), as two closures, so that it can be tested with no environment.

    Args:
        parameters: the tensors that make up θ, P numbers in all; every one of them is optimised.
        outputs: chunk ↦ η, the distribution's parameters at the chunk's b states: a tuple of
            tensors, differentiable in θ.
        family: η ↦ π(·|η), a torch distribution with batch shape (b,) and a KL registered with
            torch.
        linearize: chunk ↦ `outputs` to first order, where that is to be had for less than by
            autograd.
        family_fisher: η ↦ (u ↦ Mu), M the Hessian of the chunk's summed KL(π(·|η) ‖ π(·|·)), where
            it has a closed form.
    """

    parameters: Sequence[Tensor]
    outputs: Callable[[Chunk], tuple[Tensor, ...]]
    family: Callable[..., Distribution]
    linearize: Callable[[Chunk], Linearization] | None = None
    family_fisher: Callable[..., Callable[[Tensors], Tensors]] | None = None

    def here(self, chunk: Chunk) -> Linearization:
        """Return `outputs` to first order at the present θ, by the model's own means or by autograd."""
        return (
            self.linearize(chunk)
            if self.linearize
            else linearize(self.outputs(chunk), self.parameters)
        )


def keep_linearizations(model: Model, chunks: Sequence[Chunk]) -> Model:
    """Return the same model with its linearizations at hand, where there is at most one chunk a worker.

    Of more chunks they are made anew each time, so that a worker has only one in memory.

    Args:
        model: the distribution; θ must stay as it is while the linearizations are in use.
        chunks: the only ones, these very objects, that the result can be linearized at.

    Returns:
        A model.
    """
    if len(chunks) > workers():
        return model
    kept = dict(zip(map(id, chunks), map_chunks(model.here, chunks), strict=True))
    return replace(model, linearize=lambda chunk: kept[id(chunk)])


def batch_mean(sums: Iterable[tuple[Tensor, int]]) -> Tensor:
    """Mean over the batch from per-chunk sums and counts: the one place where chunks, and later machines, meet.

    Args:
        sums: for each chunk its sum (any shape) and its number of samples.

    Returns:
        Σ sums / Σ counts.
    """
    totals, counts = zip(*sums, strict=True)
    return sum(totals[1:], totals[0]) / sum(counts)


def surrogate_gradient(
    model: Model, surrogate: Surrogate, chunks: Sequence[Chunk]
) -> tuple[float, Tensor]:
    """Return L(θ) and g = ∇L(θ), the mean surrogate and its gradient.

    Args:
        model: the distribution, at the θ to differentiate at.
        surrogate: (π, chunk) ↦ the chunk's per-sample terms of L, shape (b,).
        chunks: the batch.

    Returns:
        L, and g of shape (P,).
    """

    def value_and_gradient(chunk: Chunk) -> tuple[Tensor, Tensor, int]:
        here = model.here(chunk)
        eta = [e.detach().requires_grad_() for e in here.eta]
        terms = surrogate(model.family(*eta), chunk)  # (b,)
        u = torch.autograd.grad(terms.sum(), eta, allow_unused=True, materialize_grads=True)
        return (
            terms.detach().sum(dtype=torch.float64),
            flatten(here.vjp(u)),
            len(terms),
        )  # ∇L = Jᵀ ∂L/∂η

    parts = map_chunks(value_and_gradient, chunks)
    value = batch_mean((total, count) for total, _, count in parts)
    return value.item(), batch_mean((gradient, count) for _, gradient, count in parts)
