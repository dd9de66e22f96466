"""The Fisher matrix F = E_s[Jᵀ M J] of a model, as products with vectors and, for tests and study, in full.

J = ∂η/∂θ is the Jacobian of the distribution's parameters η; M = ∇²_η KL(π(·|η₀) ‖ π(·|η)) at η = η₀ is the Fisher matrix of
the family itself. So F is the Hessian in θ of the mean KL at θ_old (Martens 2020, §9), where KL's value and gradient are 0.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.autograd import grad
from torch.distributions import kl_divergence

from trpo.conjugate_gradient import Product
from trpo.model import Chunk, Model, batch_mean
from trpo.parallel import map_chunks, workers
from trpo.parameters import flatten, unflatten


def fisher_vector_product(model: Model, chunks: Sequence[Chunk]) -> Product:
    """Return v ↦ Fv, F the mean over the batch of Jᵀ M J at the present θ.

    With one chunk a worker, graphs are kept for every product to come; with more, they are rebuilt for each product, so that
    only one chunk's graphs a worker are in memory at a time.

    Args:
        model: the distribution; θ must stay as it is while the product is in use.
        chunks: the states to average over.

    Returns:
        A linear map from (P,) to (P,).
    """
    if len(chunks) <= workers():
        kept = map_chunks(partial(_linearize, model), chunks)
        return lambda v: batch_mean(map_chunks(lambda part: (part[0](v), part[1]), kept))

    def product(v: Tensor) -> Tensor:
        def chunk_product(chunk: Chunk) -> tuple[Tensor, int]:
            chunk_sum, count = _linearize(model, chunk)
            return chunk_sum(v), count

        return batch_mean(map_chunks(chunk_product, chunks))

    return product


def _linearize(model: Model, chunk: Chunk) -> tuple[Product, int]:
    """Return v ↦ Σ_s Jᵀ M J v over one chunk, and its number of states, from three graphs built once.

    Reverse mode gives Jᵀu; since that is linear in the dummy u, its own reverse mode gives Jv.
    """
    parameters = list(model.parameters)
    # θ ↦ η; a part of η that is constant, such as a fixed deviation, joins the graphs as a leaf that θ does not reach
    eta = [e if e.requires_grad else e.detach().requires_grad_() for e in model.outputs(chunk)]
    u = [torch.zeros_like(e, requires_grad=True) for e in eta]
    Jt_u = grad(eta, parameters, u, create_graph=True, allow_unused=True, materialize_grads=True)  # u ↦ Jᵀu
    reached = [i for i, g in enumerate(Jt_u) if g.requires_grad]  # the parameters that η depends on

    eta_0 = [e.detach() for e in eta]
    eta_1 = [e.clone().requires_grad_() for e in eta_0]
    kl = kl_divergence(model.family(*eta_0), model.family(*eta_1))  # (b,)
    kl_gradient = grad(kl.sum(), eta_1, create_graph=True)  # 0 at η₀; its Jacobian is M

    def product(v: Tensor) -> Tensor:
        pieces = unflatten(v, parameters)
        Jv = grad([Jt_u[i] for i in reached], u, [pieces[i] for i in reached], retain_graph=True, materialize_grads=True)
        MJv = grad(kl_gradient, eta_1, Jv, retain_graph=True)
        return flatten(grad(eta, parameters, MJv, retain_graph=True, allow_unused=True, materialize_grads=True))

    return product, len(kl)


def double_backward_product(model: Model, chunks: Sequence[Chunk]) -> Product:
    """Return v ↦ Fv as the gradient of (∇KL)ᵀv (Pearlmutter 1994): what most TRPOs do, and `fisher_vector_product`'s slow twin.

    Args:
        model: the distribution.
        chunks: the states to average over.

    Returns:
        A linear map from (P,) to (P,).
    """
    gradients = []
    for chunk in chunks:
        eta = model.outputs(chunk)
        kl = kl_divergence(model.family(*[e.detach() for e in eta]), model.family(*eta))
        g = grad(kl.sum(), model.parameters, create_graph=True, allow_unused=True, materialize_grads=True)
        gradients.append((flatten(g), len(kl)))

    def product(v: Tensor) -> Tensor:
        def chunk_product(g: Tensor) -> Tensor:
            return flatten(grad(g @ v, model.parameters, retain_graph=True, allow_unused=True, materialize_grads=True))

        return batch_mean((chunk_product(g), count) for g, count in gradients)

    return product


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
            return kl_divergence(model.family(*[e.detach() for e in eta]), model.family(*eta_1)).sum()

        M = torch.autograd.functional.hessian(total_kl, eta_0)  # (E, E)
        J = _dense_jacobian(flatten(eta), model.parameters)  # (E, P)
        return J.T @ M @ J, len(model.family(*eta).sample())

    return batch_mean(chunk_sum(chunk) for chunk in chunks)


def _dense_jacobian(outputs: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    # ∂outputs/∂θ, (E, P), a row a backward pass
    rows = [
        flatten(grad(output, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)) for output in outputs
    ]
    return torch.stack(rows)
