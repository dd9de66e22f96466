"""Curvature that training does not use, to hold the Fisher matrix against: scores, the empirical Fisher, the loss Hessian.

The score is ∇_θ log π(a|s). Its mean under the model's own a ∼ π is 0 and its covariance is F
(Amari 1998). With the data's a in place of the model's the same outer product is the *empirical*
Fisher: another matrix (Kunstner, Balles & Hennig 2019).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import grad

from trpo.conjugate_gradient import Product
from trpo.linearization import jacobian, linearize
from trpo.model import Chunk, Model, Surrogate, batch_mean
from trpo.parameters import flatten, unflatten


def materialize(product: Product, like: Tensor) -> Tensor:
    """Write a linear map out as the matrix A, a product a column: P² memory, for small P.

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


def score_moments(model: Model, chunks: Sequence[Chunk]) -> tuple[Tensor, Tensor]:
    """Return E[∇log π] and E[∇log π ∇log πᵀ] over the states and a ∼ π(·|s), each a weighed by its probability: no sampling.

    Args:
        model: the distribution, of a family that can enumerate its support.
        chunks: the states to average over.

    Returns:
        The mean score (P,), which is 0, and the mean outer product (P, P), which is F.
    """

    def chunk_sums(chunk: Chunk) -> tuple[Tensor, int]:
        distribution = model.family(*model.outputs(chunk))
        total: list[Tensor] = []
        for action in distribution.enumerate_support():  # (b,), one action for all states
            log_prob = distribution.log_prob(action)
            scores = jacobian(log_prob, model.parameters)  # (b, P)
            weighted = log_prob.detach().exp()[:, None] * scores
            total.append(
                torch.cat([weighted.sum(0)[None], weighted.T @ scores])
            )  # the mean on top of the outer product
        return torch.stack(total).sum(0), len(log_prob)

    moments = batch_mean(chunk_sums(chunk) for chunk in chunks)
    return moments[0], moments[1:]


def empirical_fisher_product(
    model: Model, log_likelihood: Surrogate, chunks: Sequence[Chunk]
) -> Product:
    """Return v ↦ F̂v, F̂ = E_s[∇log π(t|s) ∇log π(t|s)ᵀ] with the data's targets t where F has a ∼ π.

    Args:
        model: the distribution; θ must stay as it is while the product is in use.
        log_likelihood: (π, chunk) ↦ log π(t|s) of each sample, shape (b,).
        chunks: states and targets to average over; all their graphs are kept.

    Returns:
        A linear map from (P,) to (P,).
    """

    def chunk_product(chunk: Chunk) -> Callable[[Tensor], tuple[Tensor, int]]:
        terms = log_likelihood(
            model.family(*model.outputs(chunk)), chunk
        )  # (b,), with Jacobian S: a score a row
        S = linearize([terms], model.parameters)
        return lambda v: (flatten(S.vjp(S.jvp(unflatten(v, model.parameters)))), len(terms))

    kept = [chunk_product(chunk) for chunk in chunks]
    return lambda v: batch_mean(product(v) for product in kept)


def hessian_vector_product(model: Model, surrogate: Surrogate, chunks: Sequence[Chunk]) -> Product:
    """Return v ↦ ∇²L v, as the gradient of (∇L)ᵀv (Pearlmutter 1994). Nothing makes ∇²L definite.

    Args:
        model: the distribution; θ must stay as it is while the product is in use.
        surrogate: (π, chunk) ↦ the chunk's per-sample terms of L, shape (b,).
        chunks: the batch; all its graphs are kept.

    Returns:
        A linear map from (P,) to (P,).
    """
    gradients = []
    for chunk in chunks:
        terms = surrogate(model.family(*model.outputs(chunk)), chunk)
        g = grad(
            terms.sum(),
            model.parameters,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        gradients.append((flatten(g), len(terms)))

    def chunk_product(g: Tensor, v: Tensor) -> Tensor:
        return flatten(
            grad(
                g @ v,
                model.parameters,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        )

    return lambda v: batch_mean((chunk_product(g, v), count) for g, count in gradients)
