"""Conjugate gradient: solve (A + βI)x = b for a symmetric A known only through its products."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trpo.parameters import norm

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Solution:
    """What `conjugate_gradient` found.

    Args:
        x: (P,), the approximate solution.
        quadratic_form: xᵀ(A + βI)x.
        curvature: xᵀAx, without the damping.
        iterations: steps taken, each with one product with A.
        relative_residual: ‖b − (A + βI)x‖ / ‖b‖, by CG's own recursion.
        ritz_values: eigenvalues of A + βI as seen from the Krylov space, ascending; the extreme
            ones bound its condition number from below. One per iteration.
    """

    x: Tensor
    quadratic_form: float
    curvature: float
    iterations: int
    relative_residual: float
    ritz_values: tuple[float, ...]


def conjugate_gradient(
    product: Product,
    b: Tensor,
    max_iterations: int = 10,
    tolerance: float = 1e-10,
    damping: float = 0.0,
) -> Solution:
    """Solve (A + βI)x = b (Hestenes & Stiefel 1952; Nocedal & Wright 2006, algorithm 5.2).

    Residuals are mutually orthogonal, except for rounding errors, which grow by orders of magnitude
    per iteration once a Ritz value has converged. So each is reorthogonalised against all earlier
    ones (Golub & Van Loan 2013, §10.3): x is then as accurate as the products, and the same up to
    rounding in whatever order they sum the batch.

    Stops early at a relative residual ≤ `tolerance`, or at a direction p without positive, finite
    curvature pᵀ(A + βI)p; x is then the solution found before that direction.

    Args:
        product: v ↦ Av, (P,) to (P,); A + βI symmetric positive definite.
        b: (P,), finite.
        max_iterations: maximum products with A.
        tolerance: relative residual ‖b − (A + βI)x‖ / ‖b‖ to stop at.
        damping: β.

    Returns:
        The solution; x = 0 when b = 0.
    """
    norm_b = norm(b)
    # of unit length, so that no square overflows or vanishes in float32
    unit_b = b / norm_b if norm_b > 0 else b
    x = torch.zeros_like(b)
    r = unit_b.clone()  # the residual b − (A + βI)x
    p = r.clone()
    rr = (r @ r).item()
    residuals = b.new_empty(max_iterations, len(b))  # earlier ones, of unit length
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    alpha, beta = 1.0, 0.0

    while len(diagonal) < max_iterations and math.sqrt(rr) > tolerance:
        Ap = product(p) + damping * p
        pAp = (p @ Ap).item()
        if not 0 < pAp < math.inf:
            break
        diagonal.append(pAp / rr + beta / alpha)
        alpha = rr / pAp
        x += alpha * p
        residuals[len(diagonal) - 1] = r / math.sqrt(rr)
        r -= alpha * Ap
        earlier = residuals[: len(diagonal)]
        r -= (earlier @ r) @ earlier
        rr, rr_before = (r @ r).item(), rr
        beta = rr / rr_before
        off_diagonal.append(math.sqrt(beta) / alpha)
        p = r + beta * p

    quadratic_form = norm_b * norm_b * (x @ (unit_b - r)).item()
    x = norm_b * x
    return Solution(
        x=x,
        quadratic_form=quadratic_form,
        curvature=quadratic_form - damping * norm(x) ** 2,
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
