"""Mistakes about the line search."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence
from torch.nn.utils import parameters_to_vector as flatten
from torch.nn.utils import vector_to_parameters as assign

from trpo.scripts.exercises.fixtures import Batch, FixturePolicy
from trpo.scripts.exercises.mistakes.mistake import Mistake


def _line_search(
    policy: FixturePolicy,
    batch: Batch,
    surrogate: Callable[[], Tensor],
    full_step: Tensor,
    max_kl: float,
    backtrack_ratio: float,
    max_backtracks: int,
    *,
    kl_of: Callable[[Distribution, Distribution], Tensor] = (
        lambda old, new: kl_divergence(old, new).sum(-1).mean()
    ),
    kl_fits: Callable[[Tensor, float], Tensor | bool] = lambda kl, max_kl: kl <= max_kl,
    improves: Callable[[Tensor, Tensor], Tensor | bool] = lambda value, before: value > before,
    fraction: Callable[[float, int], float] = lambda ratio, k: ratio**k,
    from_last_try: bool = False,
    late_before: bool = False,
    tries: int = 1,
    keeps_shrinking: bool = False,
    restores: str = "",
) -> bool:
    """Return whether a step was taken; `restores` is "not", "by subtraction", or ""."""
    parameters = list(policy.parameters())
    with torch.no_grad():
        theta_old = flatten(parameters).clone()
        old, before, theta, taken = policy(batch.observations), surrogate(), theta_old, False
        for k in range(max_backtracks + tries):
            step = fraction(backtrack_ratio, k) * full_step
            candidate = (flatten(parameters) if from_last_try else theta_old) + step
            assign(candidate, parameters)
            value = surrogate()
            kl = kl_of(old, policy(batch.observations))
            if kl_fits(kl, max_kl) and improves(value, value if late_before else before):
                taken, theta = True, candidate
                if not keeps_shrinking:
                    return True
        if restores == "by subtraction":
            theta = flatten(parameters) - step
        if restores != "not" or taken:
            assign(theta, parameters)
    return taken


LINE_SEARCH = {
    "kl-unchecked": Mistake(
        "KL is not checked: a step was taken whose KL is above δ",
        (partial(_line_search, kl_fits=lambda kl, max_kl: True),),
    ),
    "surrogate-unchecked": Mistake(
        "the surrogate is not checked: a step was taken that does not improve L",
        (partial(_line_search, improves=lambda value, before: True),),
    ),
    "nothing-checked": Mistake(
        "nothing is checked: the full step is always taken",
        (
            partial(
                _line_search,
                kl_fits=lambda kl, max_kl: True,
                improves=lambda value, before: True,
            ),
        ),
    ),
    "kl-reversed": Mistake(
        "your KL is reversed: the limit is on KL(π_old ‖ π_θ), the old policy first",
        (partial(_line_search, kl_of=lambda old, new: kl_divergence(new, old).sum(-1).mean()),),
    ),
    "kl-averaged-over-actions": Mistake(
        "your KL is averaged over action dimensions: it is their sum, averaged over states alone",
        (partial(_line_search, kl_of=lambda old, new: kl_divergence(old, new).mean()),),
    ),
    "kl-summed-over-states": Mistake(
        "your KL is summed over states: it is their mean",
        (partial(_line_search, kl_of=lambda old, new: kl_divergence(old, new).sum()),),
    ),
    "kl-of-worst-state": Mistake(
        "you hold the largest KL of any state under δ: the limit is on their mean",
        (partial(_line_search, kl_of=lambda old, new: kl_divergence(old, new).sum(-1).max()),),
    ),
    "not-restored": Mistake(
        "θ_old is not restored where every try fails: the policy is left at the last one",
        (partial(_line_search, restores="not"),),
    ),
    "restored-by-subtraction": Mistake(
        "θ_old is restored only up to rounding: (θ + s) − s is not θ; keep a copy",
        (partial(_line_search, restores="by subtraction"),),
    ),
    "accepts-nan": Mistake(
        "a NaN is accepted: `not kl > δ` and `not L <= before` are true for it, `kl <= δ` and `L "
        "> before` are not",
        (
            partial(_line_search, kl_fits=lambda kl, max_kl: not kl > max_kl),
            partial(_line_search, improves=lambda value, before: not value <= before),
            partial(
                _line_search,
                kl_fits=lambda kl, max_kl: not kl > max_kl,
                improves=lambda value, before: not value <= before,
            ),
        ),
    ),
    "from-last-try": Mistake(
        "you shrink from the last try's θ: every try starts at θ_old",
        (partial(_line_search, from_last_try=True),),
    ),
    "against-zero": Mistake(
        "you ask for L > 0: it has to be above L(θ_old), whatever that is",
        (partial(_line_search, improves=lambda value, before: value > 0),),
    ),
    "before-measured-late": Mistake(
        "L(θ_old) is measured when θ has moved, so nothing ever improves on it",
        (partial(_line_search, late_before=True),),
    ),
    "equal-taken": Mistake(
        "a step is taken that leaves L as it was: it has to be above L(θ_old)",
        (partial(_line_search, improves=lambda value, before: value >= before),),
    ),
    "surrogate-minimised": Mistake(
        "you ask for a lower L: it is maximised",
        (partial(_line_search, improves=lambda value, before: value < before),),
    ),
    "one-try-short": Mistake(
        "you stop one try early: the full step is try 0, and max_backtracks more follow",
        (partial(_line_search, tries=0),),
    ),
    "one-try-more": Mistake(
        "you try once too often: the full step is try 0, and max_backtracks more follow",
        (partial(_line_search, tries=2),),
    ),
    "keeps-shrinking": Mistake(
        "you go on after a good try, and end at the smallest: take the first, it is the largest",
        (partial(_line_search, keeps_shrinking=True),),
    ),
    "shrinks-linearly": Mistake(
        "your k-th try is ratio · k (or 1 − k · …) of the full step: it is ratioᵏ",
        (
            partial(_line_search, fraction=lambda ratio, k: ratio * k if k else 1.0),
            partial(_line_search, fraction=lambda ratio, k: 1 / (k + 1)),
        ),
    ),
    "full-step-not-tried": Mistake(
        "you shrink before the first try: begin with the full step",
        (
            partial(_line_search, fraction=lambda ratio, k: ratio ** (k + 1)),
            partial(_line_search, fraction=lambda ratio, k: ratio ** (k + 1), tries=0),
        ),
    ),
}
