"""θ ↦ η to first order at the present θ: products with the Jacobian J = ∂η/∂θ from either side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.autograd import grad

Tensors = Sequence[Tensor]


@dataclass(frozen=True)
class Linearization:
    """A map θ ↦ η as seen from one θ; no graph outlives a call.

    Args:
        eta: η at that θ, detached.
        jvp: v ↦ Jv, from tensors shaped like the parameters to tensors shaped like η.
        vjp: u ↦ Jᵀu, from tensors shaped like η to tensors shaped like the parameters.
    """

    eta: tuple[Tensor, ...]
    jvp: Callable[[Tensors], Tensors]
    vjp: Callable[[Tensors], Tensors]


def linearize(outputs: Tensors, parameters: Tensors) -> Linearization:
    """Linearize any network, from two graphs built once; the second where a product Jv asks for it.

    Reverse mode gives Jᵀu, which is linear in u: its own reverse mode gives Jv.

    Args:
        outputs: η, with the graph that leads to it.
        parameters: θ; parts of η that it does not reach have no derivative, and the other way
            round.

    Returns:
        Jv at about the cost of a forward pass, Jᵀu at that of a backward pass.
    """
    eta = [
        e if e.requires_grad else e.detach().requires_grad_() for e in outputs
    ]  # constants join as leaves of their own

    @cache
    def transposed() -> tuple[Tensors, Tensors, list[int]]:
        u_0 = [torch.zeros_like(e, requires_grad=True) for e in eta]
        Jt_u = grad(
            eta, parameters, u_0, create_graph=True, allow_unused=True, materialize_grads=True
        )
        # the parameters that η depends on
        return u_0, Jt_u, [i for i, g in enumerate(Jt_u) if g.requires_grad]

    def jvp(v: Tensors) -> Tensors:
        u_0, Jt_u, reached = transposed()
        return grad(
            [Jt_u[i] for i in reached],
            u_0,
            [v[i] for i in reached],
            retain_graph=True,
            materialize_grads=True,
        )

    def vjp(u: Tensors) -> Tensors:
        return grad(
            eta, parameters, u, retain_graph=True, allow_unused=True, materialize_grads=True
        )

    return Linearization(tuple(e.detach() for e in eta), jvp, vjp)


def jacobian(outputs: Tensor, parameters: Tensors) -> Tensor:
    """Return ∂outputs/∂θ in full, (E, P) of (E,) outputs, all rows in one batched call."""
    eye = torch.eye(len(outputs), dtype=outputs.dtype, device=outputs.device)
    pieces = grad(
        outputs,
        parameters,
        eye,
        retain_graph=True,
        is_grads_batched=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return torch.cat([piece.reshape(len(outputs), -1) for piece in pieces], dim=1)
