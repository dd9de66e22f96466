"""Curvature that training does not use: slow equivalents of F·v, and matrices compared with F.

The score is ∇_θ log π(a|s). Under the model's own a ∼ π its mean is 0 and its covariance is F
(Amari 1998). With the data's a in place of the model's, the mean outer product is the *empirical*
Fisher, a different matrix (Kunstner, Balles & Hennig 2019). `mean_kl` is between two models.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import grad
from torch.distributions import Distribution

from trpo.conjugate_gradient import Product
from trpo.divergence import kl_divergence
from trpo.linearization import jacobian, linearize
from trpo.model import Microbatch, Model, Surrogate
from trpo.parameters import flatten, unflatten
from trpo.reducer import SERIAL, Totals


def double_backward_product(
    model: Model[Microbatch], microbatches: Sequence[Microbatch]
) -> Product:
    """Return v ↦ Fv as the Hessian of KL times v, as most implementations of TRPO compute it.

    Args:
        model: the distribution.
        microbatches: the states to average over.

    Returns:
        A linear map from (P,) to (P,).
    """

    def kl_from_here(distribution: Distribution, microbatch: Microbatch) -> Tensor:
        eta_old = [e.detach() for e in model.outputs(microbatch)]
        return kl_divergence(model.family(*eta_old), distribution)

    return hessian_vector_product(model, kl_from_here, microbatches)


def dense_fisher(model: Model[Microbatch], microbatches: Sequence[Microbatch]) -> Tensor:
    """Return F = E_s[Jᵀ M J] in full, from J and M in full: P² memory, for small models.

    Args:
        model: the distribution.
        microbatches: the states to average over.

    Returns:
        (P, P), symmetric positive semi-definite.
    """

    def total(microbatch: Microbatch) -> Totals:
        eta = model.outputs(microbatch)
        sizes = [e.numel() for e in eta]
        eta_old = [e.detach() for e in eta]

        def total_kl(flat_eta: Tensor) -> Tensor:
            eta_1 = [piece.view_as(e) for piece, e in zip(flat_eta.split(sizes), eta, strict=True)]
            return kl_divergence(model.family(*eta_old), model.family(*eta_1)).sum()

        # with respect to all states' η, concatenated to one vector of E numbers
        M = torch.autograd.functional.hessian(total_kl, flatten(eta_old))  # (E, E)
        J = jacobian(flatten(eta), model.parameters)  # (E, P)
        return Totals(model.family(*eta).batch_shape.numel(), (J.T @ M @ J,))

    return SERIAL.reduce(total, microbatches).means[0]


def materialize(product: Product, like: Tensor) -> Tensor:
    """Materialise a linear map as the matrix A, one product per column: P² memory, for small P.

    Args:
        product: v ↦ Av, (P,) to (P,).
        like: (P,), any vector of the dtype and device to use.

    Returns:
        A, (P, P).
    """
    return torch.stack(
        [product(column) for column in torch.eye(len(like), dtype=like.dtype, device=like.device)],
        dim=1,
    )


def score_moments(
    model: Model[Microbatch], microbatches: Sequence[Microbatch]
) -> tuple[Tensor, Tensor]:
    """Return E[∇log π] and E[∇log π ∇log πᵀ] over the states and a ∼ π(·|s), without sampling.

    Args:
        model: the distribution, of a family that can enumerate its support.
        microbatches: the states to average over.

    Returns:
        The mean score (P,), which is 0, and the mean outer product (P, P), which is F.
    """

    def total(microbatch: Microbatch) -> Totals:
        distribution = model.distribution(microbatch)
        of_actions: list[Tensor] = []
        for action in distribution.enumerate_support():  # (b,), one action for all states
            log_prob = distribution.log_prob(action)
            scores = jacobian(log_prob, model.parameters)  # (b, P)
            weighted = log_prob.detach().exp()[:, None] * scores
            # the mean on top of the outer product
            of_actions.append(torch.cat([weighted.sum(0)[None], weighted.T @ scores]))
        return Totals(len(log_prob), (torch.stack(of_actions).sum(0),))

    (moments,) = SERIAL.reduce(total, microbatches).means
    return moments[0], moments[1:]


def empirical_fisher_product(
    model: Model[Microbatch],
    log_likelihood: Surrogate[Microbatch],
    microbatches: Sequence[Microbatch],
) -> Product:
    """Return v ↦ F̂v, F̂ = E_s[∇log π(t|s) ∇log π(t|s)ᵀ] with the data's targets t where F has a ∼ π.

    Args:
        model: the distribution; θ must stay as it is while the product is in use.
        log_likelihood: (π, microbatch) ↦ log π(t|s) of each sample, shape (b,).
        microbatches: states and targets to average over; all their graphs are kept.

    Returns:
        A linear map from (P,) to (P,).
    """

    def microbatch_product(microbatch: Microbatch) -> Callable[[Tensor], Totals]:
        # (b,), with Jacobian S: one score per row
        terms = log_likelihood(model.distribution(microbatch), microbatch)
        S = linearize([terms], model.parameters)
        return lambda v: Totals(
            len(terms), (flatten(S.vjp(S.jvp(unflatten(v, model.parameters)))),)
        )

    kept = SERIAL.map(microbatch_product, microbatches)
    return lambda v: SERIAL.reduce(lambda product: product(v), kept).means[0]


def hessian_vector_product(
    model: Model[Microbatch], surrogate: Surrogate[Microbatch], microbatches: Sequence[Microbatch]
) -> Product:
    """Return v ↦ ∇²L v, as the gradient of (∇L)ᵀv (Pearlmutter 1994). Nothing makes ∇²L definite.

    Args:
        model: the distribution; θ must stay as it is while the product is in use.
        surrogate: (π, microbatch) ↦ the per-sample terms of L, shape (b,).
        microbatches: the batch; all its graphs are kept.

    Returns:
        A linear map from (P,) to (P,).
    """

    def microbatch_product(microbatch: Microbatch) -> Callable[[Tensor], Totals]:
        terms = surrogate(model.distribution(microbatch), microbatch)
        g = flatten(_gradient(terms.sum(), model, create_graph=True))
        return lambda v: Totals(len(terms), (flatten(_gradient(g @ v, model)),))

    kept = SERIAL.map(microbatch_product, microbatches)
    return lambda v: SERIAL.reduce(lambda product: product(v), kept).means[0]


@torch.no_grad()
def mean_kl(
    old: Model[Microbatch], new: Model[Microbatch], microbatches: Sequence[Microbatch]
) -> float:
    """Return E_s[KL(old ‖ new)] of two models of one family, each with parameters of its own.

    Args:
        old: what the expectation is under.
        new: what it is held against.
        microbatches: the states to average over.

    Returns:
        KL in nats, computed in float64.
    """

    def total(microbatch: Microbatch) -> Totals:
        old_new = (m.family(*(e.double() for e in m.outputs(microbatch))) for m in (old, new))
        kl = kl_divergence(*old_new)  # (b,)
        return Totals(len(kl), (kl.sum(),))

    return SERIAL.reduce(total, microbatches).means[0].item()


def _gradient(
    value: Tensor, model: Model[Microbatch], create_graph: bool = False
) -> tuple[Tensor, ...]:
    # 0 for a parameter that the value does not depend on
    return grad(
        value,
        model.parameters,
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
