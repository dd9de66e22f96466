"""Backtracking line search: the longest step tried that keeps KL ≤ δ and improves the surrogate."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from trpo.measurement import Measurement
from trpo.parameters import assign, restore_on_error


@dataclass(frozen=True)
class SearchResult:
    """How a line search ended.

    Args:
        backtracks: times the step was shrunk.
        fraction: t of the step θ_old + t · full step that was accepted; 0 if none.
        accepted: what was measured there; `None` if none was accepted.
    """

    backtracks: int
    fraction: float
    accepted: Measurement | None


def backtracking_line_search(
    parameters: Sequence[Tensor],
    full_step: Tensor,
    measure: Callable[[], Measurement],
    surrogate_before: float,
    max_kl: float,
    backtrack_ratio: float,
    max_backtracks: int,
) -> SearchResult:
    """Shrink the step until the measured KL is ≤ δ and the measured surrogate has improved.

    Schulman et al. 2015, appendix C. A candidate that measures NaN or infinity is never accepted.
    θ is left at the accepted point; if there is none, or an exception is raised, it is restored bit
    for bit.

    Args:
        parameters: θ, changed in place.
        full_step: (P,), tried first.
        measure: measures the current θ.
        surrogate_before: L(θ_old).
        max_kl: δ, nats; infinite for no limit.
        backtrack_ratio: factor in (0, 1) from one try to the next.
        max_backtracks: maximum number of times to shrink the step.

    Returns:
        The accepted candidate, if any.
    """
    with restore_on_error(parameters) as theta_old:
        for backtracks in range(max_backtracks + 1):
            fraction = backtrack_ratio**backtracks
            assign(parameters, theta_old + fraction * full_step)
            candidate = measure()
            improved = surrogate_before < candidate.surrogate < math.inf
            if improved and candidate.mean_kl <= max_kl and candidate.mean_kl < math.inf:
                return SearchResult(backtracks, fraction, candidate)
        assign(parameters, theta_old)
    return SearchResult(max_backtracks, 0.0, None)
