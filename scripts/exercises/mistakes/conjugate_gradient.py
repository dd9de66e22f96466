"""Mistakes about conjugate gradient."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from trpo.scripts.exercises.mistakes.mistake import Mistake


def _cg(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    max_iterations: int,
    tolerance: float,
    *,
    start: Callable[[Tensor], Tensor] = torch.zeros_like,
    alpha: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda rr, p, Ap: rr / (p @ Ap),
    beta: Callable[[Tensor, Tensor], Tensor | float] = lambda rr, rr_before: rr / rr_before,
    along: Callable[[Tensor, Tensor], Tensor] = lambda p, r: p,
    residual_sign: float = -1.0,
    aliased: bool = False,
    own_b: bool = True,
    own_length: bool = True,
    fewer: int = 0,
    small: Callable[[Tensor, Tensor, float], Tensor] = lambda rr, b, tol: (
        rr.sqrt() <= tol * b.norm()
    ),
    guard_zero: bool = True,
    result: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda x, r, p: x,
) -> Tensor:
    """Return the result of Nocedal & Wright's algorithm 5.2."""
    x, r = start(b), b.clone() if own_b else b
    length = b.clone() if own_length else b  # what a small residual is measured by
    p = r if aliased else r.clone()
    rr = r @ r
    for iteration in range(max_iterations - fewer):
        if small(rr, length, tolerance) and (iteration or guard_zero):
            break
        Ap = product(p)
        step = alpha(rr, p, Ap)
        x = x + step * along(p, r)
        r += residual_sign * step * Ap
        rr, rr_before = r @ r, rr
        p = r + beta(rr, rr_before) * p
    return result(x, r, p)


def _momentum_of_old_residual(
    product: Callable[[Tensor], Tensor], b: Tensor, max_iterations: int, tolerance: float
) -> Tensor:
    x, r, p = torch.zeros_like(b), b.clone(), b.clone()
    for _ in range(max_iterations):
        if r.norm() <= tolerance * b.norm():
            break
        Ap, rr = product(p), r @ r
        before = r
        x, r = x + rr / (p @ Ap) * p, r - rr / (p @ Ap) * Ap
        p = before + (r @ r) / rr * p
    return x


CONJUGATE_GRADIENT = {
    "beta-inverted": Mistake(
        "your β is inverted: it is the new rᵀr divided by the old one",
        (partial(_cg, beta=lambda rr, rr_before: rr_before / rr),),
    ),
    "beta-zero": Mistake(
        "your β is 0: directions that forget the last one are steepest descent's",
        (partial(_cg, beta=lambda rr, rr_before: 0.0),),
    ),
    "beta-of-lengths": Mistake(
        "your β is a ratio of lengths ‖r‖: it is one of squares, rᵀr",
        (partial(_cg, beta=lambda rr, rr_before: (rr / rr_before).sqrt()),),
    ),
    "beta-negative": Mistake(
        "your p is r − βp: it is r + βp",
        (partial(_cg, beta=lambda rr, rr_before: -rr / rr_before),),
    ),
    "beta-one": Mistake(
        "your β is 1, as it is if both of its rᵀr are the new one",
        (partial(_cg, beta=lambda rr, rr_before: 1.0),),
    ),
    "alpha-without-A": Mistake(
        "your α is rᵀr / pᵀp: the A is missing, it is rᵀr / pᵀAp",
        (partial(_cg, alpha=lambda rr, p, Ap: rr / (p @ p)),),
    ),
    "alpha-inverted": Mistake(
        "your α is inverted: it is rᵀr / pᵀAp",
        (partial(_cg, alpha=lambda rr, p, Ap: (p @ Ap) / rr),),
    ),
    "alpha-one": Mistake(
        "your steps have length 1 along p: they are α = rᵀr / pᵀAp long",
        (partial(_cg, alpha=lambda rr, p, Ap: torch.ones_like(rr)),),
    ),
    "residual-sign": Mistake(
        "your residual grows: r is b − Ax, so it loses αAp", (partial(_cg, residual_sign=1.0),)
    ),
    "start-not-zero": Mistake(
        "you start at x ≠ 0 with r = b: r = b − Ax is b only where x is 0",
        (partial(_cg, start=torch.clone), partial(_cg, start=torch.ones_like)),
    ),
    "p-aliases-r": Mistake(
        "p and r are one tensor: `p = r` copies nothing, and `r -= …` changes both; take r.clone()",
        (partial(_cg, aliased=True),),
    ),
    "b-overwritten": Mistake(
        "you change the caller's b: `r = b` copies nothing, and `r -= …` changes it; take "
        "b.clone()",
        tuple(partial(_cg, own_b=False, own_length=own) for own in (True, False)),
    ),
    "p-and-b-overwritten": Mistake(
        "p, r and the caller's b are one tensor: `=` copies nothing, and `r -= …` changes all "
        "three; take clones",
        tuple(partial(_cg, own_b=False, aliased=True, own_length=own) for own in (True, False)),
    ),
    "x-along-r": Mistake(
        "your x moves along r: it moves along p", (partial(_cg, along=lambda p, r: r.clone()),)
    ),
    "p-from-old-residual": Mistake(
        "your p is made of the residual before the step: it is the new r + βp",
        (_momentum_of_old_residual,),
    ),
    "one-iteration-short": Mistake("you stop one iteration early", (partial(_cg, fewer=1),)),
    "returns-residual": Mistake(
        "you return r (or p): the solution is x",
        (partial(_cg, result=lambda x, r, p: r), partial(_cg, result=lambda x, r, p: p)),
    ),
    "absolute-tolerance": Mistake(
        "you stop at an absolute tolerance: a small b would not be solved at all; compare ‖r‖ "
        "with tolerance · ‖b‖",
        (
            partial(_cg, small=lambda rr, b, tol: rr.sqrt() <= tol),
            partial(_cg, small=lambda rr, b, tol: rr.sqrt() <= tol, guard_zero=False),
        ),
    ),
    "tolerance-of-squares": Mistake(
        "you compare rᵀr / bᵀb with the tolerance: that is its square, take lengths",
        (partial(_cg, small=lambda rr, b, tol: rr <= tol * (b @ b)),),
    ),
    "tolerance-ignored": Mistake(
        "you never stop early: at ‖b − Ax‖ ≤ tolerance · ‖b‖ it is enough",
        (partial(_cg, small=lambda rr, b, tol: rr == 0),),
    ),
    "zero-over-zero": Mistake(
        "you return NaN for b = 0: rᵀr / pᵀAp is 0/0 there; its solution is 0",
        (partial(_cg, guard_zero=False),),
    ),
}
