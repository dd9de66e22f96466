"""Conjugate gradient: solve Ax = b for a symmetric positive definite A known only through its products."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Solution:
    """What `conjugate_gradient` found.

    Args:
        x: (P,), the approximate solution.
        quadratic_form: xᵀAx.
        iterations: products with A that moved x.
        relative_residual: ‖b − Ax‖ / ‖b‖, by CG's own recursion.
        ritz_values: eigenvalues of A as seen from the Krylov space, ascending; the extreme ones
            bound A's condition number from below. One per iteration.
    """

    x: Tensor
    quadratic_form: float
    iterations: int
    relative_residual: float
    ritz_values: tuple[float, ...]


def conjugate_gradient(
    product: Product, b: Tensor, max_iterations: int = 10, tolerance: float = 1e-10
) -> Solution:
    """Solve Ax = b by conjugate gradient (Hestenes & Stiefel 1952; Nocedal & Wright 2006, algorithm 5.2).

    Stops early at a relative residual ≤ `tolerance`, or at a direction p without positive curvature
    pᵀAp (A is singular there, or not finite); x is then what was found before that direction.

    Args:
        product: v ↦ Av, (P,) to (P,); A symmetric positive definite.
        b: (P,), finite.
        max_iterations: products with A to spend at most.
        tolerance: relative residual ‖b − Ax‖ / ‖b‖ to stop at.

    Returns:
        The solution; x = 0 when b = 0.
    """
    norm = b.norm(dtype=torch.float64).item()
    unit_b = (
        b / norm if norm > 0 else b
    )  # of unit length, so that no square overflows or vanishes in float32
    x = torch.zeros_like(b)
    r = unit_b.clone()  # the residual b − Ax
    p = r.clone()
    rr = (r @ r).item()
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    alpha, beta = 1.0, 0.0

    while len(diagonal) < max_iterations and math.sqrt(rr) > tolerance:
        Ap = product(p)
        pAp = (p @ Ap).item()
        if not 0 < pAp < math.inf:
            break
        diagonal.append(pAp / rr + beta / alpha)
        alpha = rr / pAp
        x += alpha * p
        r -= alpha * Ap
        rr, rr_before = (r @ r).item(), rr
        beta = rr / rr_before
        off_diagonal.append(math.sqrt(beta) / alpha)
        p = r + beta * p

    return Solution(
        x=norm * x,
        quadratic_form=norm * norm * (x @ (unit_b - r)).item(),
        iterations=len(diagonal),
        relative_residual=math.sqrt(rr),
        ritz_values=_ritz_values(diagonal, off_diagonal[:-1]),
    )


def _ritz_values(diagonal: list[float], off_diagonal: list[float]) -> tuple[float, ...]:
    # Eigenvalues of the Lanczos matrix that CG's coefficients spell out (Golub & Van Loan 2013,
    # §11.3.3): T_kk = 1/α_k + β_{k−1}/α_{k−1} and T_{k,k+1} = √β_k/α_k.
    T = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    side = torch.diag(torch.tensor(off_diagonal, dtype=torch.float64), 1)
    return tuple(torch.linalg.eigvalsh(T + side + side.T).tolist())
