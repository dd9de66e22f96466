"""The Fisher matrix F = E_s[Jᵀ M J] of a model, as products with vectors and, for tests and study, in full.

J = ∂η/∂θ is the Jacobian of the distribution's parameters η; M = ∇²_η KL(π(·|η₀) ‖ π(·|η)) at η =
η₀ is the Fisher matrix of the family itself. So F is the Hessian in θ of the mean KL at θ_old
(Martens 2020, §9), where KL's value and gradient are 0.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.autograd import grad
from torch.distributions import Distribution, kl_divergence

from trpo.conjugate_gradient import Product
from trpo.curvature import hessian_vector_product
from trpo.linearization import Tensors, jacobian
from trpo.model import Chunk, Model, batch_mean
from trpo.parallel import map_chunks, workers
from trpo.parameters import flatten, unflatten


def fisher_vector_product(model: Model, chunks: Sequence[Chunk]) -> Product:
    """Return v ↦ Fv, F the mean over the batch of Jᵀ M J at the present θ.

    Args:
        model: the distribution; θ must stay as it is while the product is in use.
        chunks: the states to average over; up to one a worker, all that does not depend on v is
            computed once.

    Returns:
        A linear map from (P,) to (P,).
    """
    if len(chunks) <= workers():
        kept = map_chunks(partial(_chunk_product, model), chunks)
        return lambda v: batch_mean(map_chunks(lambda product: product(v), kept))
    return lambda v: batch_mean(map_chunks(lambda chunk: _chunk_product(model, chunk)(v), chunks))


def _chunk_product(model: Model, chunk: Chunk) -> Callable[[Tensor], tuple[Tensor, int]]:
    """Return v ↦ Σ_s Jᵀ M J v over one chunk, and its number of states."""
    here = model.here(chunk)
    M = (model.family_fisher or partial(_family_fisher, model.family))(*here.eta)
    count = model.family(*here.eta).batch_shape.numel()
    return lambda v: (flatten(here.vjp(M(here.jvp(unflatten(v, model.parameters))))), count)


def _family_fisher(
    family: Callable[..., Distribution], *eta_0: Tensor
) -> Callable[[Tensors], Tensors]:
    """Return u ↦ Mu for any family: a graph of KL's gradient in η, which is 0 at η₀ and whose Jacobian is M."""
    eta_1 = [e.clone().requires_grad_() for e in eta_0]
    kl = kl_divergence(family(*eta_0), family(*eta_1))  # (b,)
    kl_gradient = grad(kl.sum(), eta_1, create_graph=True)
    return lambda u: grad(kl_gradient, eta_1, u, retain_graph=True)


def double_backward_product(model: Model, chunks: Sequence[Chunk]) -> Product:
    """Return v ↦ Fv as KL's Hessian times v: what most TRPOs do, and `fisher_vector_product`'s slow twin.

    Args:
        model: the distribution.
        chunks: the states to average over.

    Returns:
        A linear map from (P,) to (P,).
    """

    def kl_from_here(distribution: Distribution, chunk: Chunk) -> Tensor:
        return kl_divergence(
            model.family(*[e.detach() for e in model.outputs(chunk)]), distribution
        )

    return hessian_vector_product(model, kl_from_here, chunks)


def dense_fisher(model: Model, chunks: Sequence[Chunk]) -> Tensor:
    """Return F = E_s[Jᵀ M J] in full, from J and M in full: P² memory, for small models.

    Args:
        model: the distribution.
        chunks: the states to average over.

    Returns:
        (P, P), symmetric positive semi-definite.
    """

    def chunk_sum(chunk: Chunk) -> tuple[Tensor, int]:
        eta = model.outputs(chunk)
        sizes = [e.numel() for e in eta]
        eta_0 = flatten([e.detach() for e in eta])  # (E,), all states' η in one vector

        def total_kl(flat_eta: Tensor) -> Tensor:
            eta_1 = [piece.view_as(e) for piece, e in zip(flat_eta.split(sizes), eta, strict=True)]
            return kl_divergence(
                model.family(*[e.detach() for e in eta]), model.family(*eta_1)
            ).sum()

        M = torch.autograd.functional.hessian(total_kl, eta_0)  # (E, E)
        J = jacobian(flatten(eta), model.parameters)  # (E, P)
        return J.T @ M @ J, len(model.family(*eta).sample())

    return batch_mean(chunk_sum(chunk) for chunk in chunks)
