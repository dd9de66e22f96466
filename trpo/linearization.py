"""θ ↦ η to first order at the current θ: products with the Jacobian J = ∂η/∂θ from either side."""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad, grad
from torch.func import functional_call

Tensors = Sequence[Tensor]


@dataclass(frozen=True)
class Linearization:
    """A map θ ↦ η linearized at one θ; the results of its products are detached.

    Args:
        eta: η at that θ, detached.
        jvp: v ↦ Jv, from tensors shaped like the parameters to tensors shaped like η.
        vjp: u ↦ Jᵀu, from tensors shaped like η to tensors shaped like the parameters.
    """

    eta: tuple[Tensor, ...]
    jvp: Callable[[Tensors], Tensors]
    vjp: Callable[[Tensors], Tensors]


def linearize(outputs: Tensors, parameters: Tensors) -> Linearization:
    """Linearize any network with two graphs built once, the second only when Jv is first called.

    Both stay in memory as long as the linearization does.

    Reverse mode gives Jᵀu, which is linear in u: its own reverse mode gives Jv.

    Args:
        outputs: η, with the graph that leads to it.
        parameters: θ; parts of η that do not depend on θ, and parts of θ that η does not depend on,
            have derivative 0.

    Returns:
        Jv at about the cost of a forward pass, Jᵀu at that of a backward pass.
    """
    # constants become leaves
    eta = [e if e.requires_grad else e.detach().requires_grad_() for e in outputs]

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


_dual_numbers = threading.Lock()
_using_dual_numbers = 0


@contextmanager
def dual_numbers() -> Iterator[None]:
    """Enable dual numbers: torch has one level, which stays open until the last thread leaves."""
    global _using_dual_numbers
    with _dual_numbers:
        if _using_dual_numbers == 0:
            forward_ad.enter_dual_level()
        _using_dual_numbers += 1
    try:
        yield
    finally:
        with _dual_numbers:
            _using_dual_numbers -= 1
            if _using_dual_numbers == 0:
                forward_ad.exit_dual_level()


def linearize_network(network: nn.Module, inputs: Any) -> Linearization:
    """Linearize a network by forward-mode and reverse-mode AD: Jv needs no double-backward graph.

    Faster than `linearize` where that graph would be rebuilt for each product, as with convolutions
    over more images than fit into memory at once. Only one thread may use it at a time.

    Args:
        network: returns η for the inputs; θ is all of its parameters, and all of its operations
            need a forward derivative.
        inputs: the network's.

    Returns:
        Jv at about the cost of three forward passes, Jᵀu at that of a backward pass.
    """
    parameters = dict(network.named_parameters())
    with torch.enable_grad():
        eta = network(inputs)

    @cache
    def twin() -> nn.Module:
        # a copy in which dual numbers replace the parameters, while other threads call the network
        return copy.deepcopy(network)

    def jvp(v: Tensors) -> Tensors:
        with torch.no_grad(), dual_numbers():
            duals = {
                name: forward_ad.make_dual(parameter.detach(), direction)
                for (name, parameter), direction in zip(parameters.items(), v, strict=True)
            }
            dual = functional_call(twin(), duals, (inputs,))
            tangent = forward_ad.unpack_dual(dual).tangent
            return (torch.zeros_like(dual) if tangent is None else tangent,)

    def vjp(u: Tensors) -> Tensors:
        return grad(
            eta,
            list(parameters.values()),
            u,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )

    return Linearization((eta.detach(),), jvp, vjp)


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
