"""The Fisher matrix F = E_s[Jᵀ M J] of a model, as products with vectors.

J = ∂η/∂θ is the Jacobian of the distribution's parameters η; M = ∇²_η KL(π(·|η₀) ‖ π(·|η)) at η =
η₀ is the Fisher matrix of the family itself. So F is the Hessian in θ of the mean KL at θ_old
(Martens 2020, §9), where KL's value and gradient are 0.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor
from torch.autograd import grad
from torch.distributions import Distribution

from trpo.conjugate_gradient import Product
from trpo.divergence import kl_divergence
from trpo.linearization import Tensors
from trpo.model import Microbatch, Model
from trpo.parameters import flatten, unflatten
from trpo.reducer import SERIAL, Reducer, Totals


def fisher_vector_product(
    model: Model[Microbatch], microbatches: Sequence[Microbatch], reducer: Reducer = SERIAL
) -> Product:
    """Return v ↦ Fv, F the mean over the batch of Jᵀ M J at the present θ.

    Args:
        model: the distribution; θ must stay as it is while the product is in use.
        microbatches: the states to average over; with at most one per thread, everything that does
            not depend on v is computed only once.
        reducer: sums the results over threads and processes.

    Returns:
        A linear map from (P,) to (P,).
    """
    if len(microbatches) <= reducer.threads:
        kept = reducer.map(partial(_microbatch_product, model), microbatches)
        return lambda v: reducer.reduce(lambda product: product(v), kept).means[0]
    return lambda v: reducer.reduce(
        lambda microbatch: _microbatch_product(model, microbatch)(v), microbatches
    ).means[0]


def _microbatch_product(
    model: Model[Microbatch], microbatch: Microbatch
) -> Callable[[Tensor], Totals]:
    """Return v ↦ Σ_s Jᵀ M J v over one microbatch's states."""
    linearization = model.linearization_at(microbatch)
    eta = linearization.eta
    M = model.family_fisher(*eta) if model.family_fisher else family_fisher(model.family, *eta)
    count = model.family(*eta).batch_shape.numel()

    def product(v: Tensor) -> Totals:
        Jv = linearization.jvp(unflatten(v, model.parameters))  # shaped like η
        return Totals(count, (flatten(linearization.vjp(M(Jv))),))

    return product


def family_fisher(
    family: Callable[..., Distribution], *eta_0: Tensor
) -> Callable[[Tensors], Tensors]:
    """Return u ↦ Mu for any family: M is the Jacobian of KL's gradient in η, which is 0 at η₀.

    Args:
        family: η ↦ π(·|η).
        eta_0: the distribution's parameters at some states.

    Returns:
        A linear map between tensors shaped like η.
    """
    eta_1 = [e.clone().requires_grad_() for e in eta_0]
    kl = kl_divergence(family(*eta_0), family(*eta_1))  # (b,)
    kl_gradient = grad(kl.sum(), eta_1, create_graph=True)
    return lambda u: grad(kl_gradient, eta_1, u, retain_graph=True)
