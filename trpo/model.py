"""A policy as the mathematics sees it: parameters θ, outputs η = f_θ(s), a family π(·|η)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from trpo.linearization import Linearization, Tensors, linearize
from trpo.parameters import flatten
from trpo.reducer import SERIAL, Reducer, Totals

# A piece of the batch, in whatever form the caller's closures take it: states alone, or states,
# actions and advantages.
Microbatch = TypeVar("Microbatch")
# (π, microbatch) ↦ the per-sample terms of L, (b,)
Surrogate = Callable[[Distribution, Microbatch], Tensor]


@dataclass(frozen=True)
class Model(Generic[Microbatch]):
    """A conditional distribution π_θ(·|s) as two closures, which needs no environment to test.

    Args:
        parameters: the tensors that make up θ, P numbers in all; every one of them is optimised.
        outputs: microbatch ↦ η, the distribution's parameters at its b states: a tuple of tensors,
            differentiable in θ.
        family: η ↦ π(·|η), a torch distribution with batch shape (b,) and a KL registered with
            torch; η comes in the parameters' dtype, and in float64 where KL is measured.
        linearize: microbatch ↦ `outputs` to first order, if there is a cheaper way than autograd's
            two graphs.
        family_fisher: η ↦ (u ↦ Mu), M the Hessian of the microbatch's summed KL(π(·|η) ‖ π(·|·)),
            where it has a closed form.
    """

    parameters: Sequence[Tensor]
    outputs: Callable[[Microbatch], tuple[Tensor, ...]]
    family: Callable[..., Distribution]
    linearize: Callable[[Microbatch], Linearization] | None = None
    family_fisher: Callable[..., Callable[[Tensors], Tensors]] | None = None

    def distribution(self, microbatch: Microbatch) -> Distribution:
        """Return π_θ(·|s) at the microbatch's states."""
        return self.family(*self.outputs(microbatch))

    def linearization_at(self, microbatch: Microbatch) -> Linearization:
        """Return `outputs` to first order at the current θ."""
        return (
            self.linearize(microbatch)
            if self.linearize
            else linearize(self.outputs(microbatch), self.parameters)
        )


def keep_linearizations(
    model: Model[Microbatch], microbatches: Sequence[Microbatch], reducer: Reducer = SERIAL
) -> Model[Microbatch]:
    """Return the model with cached linearizations, if there is at most one microbatch per thread.

    With more, they are recomputed each time, so that a thread has only one in memory.

    Args:
        model: the distribution; θ must not change while the linearizations are in use.
        microbatches: the only objects, compared by identity, at which the result is linearizable.
        reducer: runs the microbatches on its threads.

    Returns:
        A model.
    """
    if len(microbatches) > reducer.threads:
        return model
    linearizations = reducer.map(model.linearization_at, microbatches)
    kept = dict(zip(map(id, microbatches), linearizations, strict=True))
    return replace(model, linearize=lambda microbatch: kept[id(microbatch)])


def surrogate_gradient(
    model: Model[Microbatch],
    surrogate: Surrogate[Microbatch],
    microbatches: Sequence[Microbatch],
    reducer: Reducer = SERIAL,
) -> tuple[float, Tensor]:
    """Return L(θ) and g = ∇L(θ), the mean surrogate and its gradient.

    Args:
        model: the distribution, at the θ to differentiate at.
        surrogate: (π, microbatch) ↦ the per-sample terms of L, shape (b,).
        microbatches: the batch.
        reducer: sums the results over threads and processes.

    Returns:
        L, and g of shape (P,).
    """

    def value_and_gradient(microbatch: Microbatch) -> Totals:
        linearization = model.linearization_at(microbatch)
        eta = [e.detach().requires_grad_() for e in linearization.eta]
        distribution = model.family(*eta)
        terms = surrogate(distribution, microbatch)  # (b,)
        assert terms.ndim == 1, "the surrogate has one term per sample"
        u = torch.autograd.grad(terms.sum(), eta, allow_unused=True, materialize_grads=True)
        gradient = flatten(linearization.vjp(u))  # (P,): ∇L = Jᵀ ∂L/∂η
        return Totals(len(terms), (terms.detach().sum(dtype=torch.float64), gradient))

    value, g = reducer.reduce(value_and_gradient, microbatches).means
    return value.item(), g
