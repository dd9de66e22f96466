"""Backtracking line search: the longest step tried that stays in the trust region and improves the surrogate."""

import math
from collections.abc import Callable

from trpo.measurement import Measurement


def backtracking_line_search(
    measure: Callable[[float], Measurement],
    surrogate_before: float,
    max_kl: float,
    backtrack_ratio: float,
    max_backtracks: int,
) -> tuple[int, float, Measurement | None]:
    """Shrink the step until measured KL ≤ δ and the measured surrogate improved (Schulman et al. 2015, appendix C).

    A candidate that measures NaN or infinity is never accepted.

    Args:
        measure: t ↦ the measurement at θ_old + t · full step; leaves θ there.
        surrogate_before: L(θ_old).
        max_kl: δ, nats.
        backtrack_ratio: factor in (0, 1) from one try to the next.
        max_backtracks: how often to shrink the step at most.

    Returns:
        Backtracks taken, the accepted fraction t, and what was measured there; 0 and `None` when no
        try was accepted.
    """
    for backtracks in range(max_backtracks + 1):
        fraction = backtrack_ratio**backtracks
        candidate = measure(fraction)
        improved = surrogate_before < candidate.surrogate < math.inf
        if improved and candidate.mean_kl <= max_kl and candidate.mean_kl < math.inf:
            return backtracks, fraction, candidate
    return max_backtracks, 0.0, None
