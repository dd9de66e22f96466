"""Mistakes about the surrogate."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from trpo.scripts.exercises.fixtures import Batch, FixturePolicy
from trpo.scripts.exercises.mistakes.mistake import Mistake


def of_surrogate(
    policy: FixturePolicy,
    policy_old: FixturePolicy,
    batch: Batch,
    *,
    combine: Callable[[Tensor, Tensor, Tensor], Tensor],
    detach: bool = True,
    over_actions: Callable[[Tensor], Tensor] = lambda log_prob: log_prob.sum(-1),
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> Tensor:
    """Return the mean of the terms that `combine` makes of log π_θ, log π_old and Â."""
    new = over_actions(policy(batch.observations).log_prob(batch.actions))
    old = over_actions(policy_old(batch.observations).log_prob(batch.actions))
    return mean(combine(new, old.detach() if detach else old, batch.advantages))


def weighted(new: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
    """Return π_θ/π_old · Â, the right terms.

    Args:
        new: log π_θ.
        old: log π_old.
        advantages: Â.

    Returns:
        As broadcast.
    """
    return torch.exp(new - old) * advantages


def _clipped(new: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
    ratio = torch.exp(new - old)
    return torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)


def _probability(new: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
    return new.exp() * advantages


def _by_dimension(new: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
    return torch.exp(new - old) * advantages[:, None]


SURROGATE = {
    "log-prob-for-ratio": Mistake(
        "yours is E[log π(a|s) · Â]: at θ_old its gradient is the same, but its value is no "
        "estimate of return, "
        "and the line search compares values",
        (partial(of_surrogate, combine=lambda new, old, a: new * a),),
    ),
    "log-ratio": Mistake(
        "you multiply Â by log(π_θ/π_old): the exp is missing",
        (partial(of_surrogate, combine=lambda new, old, a: (new - old) * a),),
    ),
    "ratio-inverted": Mistake(
        "your ratio is π_old/π_θ: turn it round",
        (partial(of_surrogate, combine=lambda new, old, a: torch.exp(old - new) * a),),
    ),
    "old-policy-not-detached": Mistake(
        "π_old moves with θ: where policy_old is policy, the ratio is 1 for every θ and the "
        "gradient is 0; detach it",
        (partial(of_surrogate, combine=weighted, detach=False),),
    ),
    "old-policy-forgotten": Mistake(
        "you weigh Â by π_θ(a|s) without dividing by π_old(a|s)",
        (partial(of_surrogate, combine=_probability),),
    ),
    "actions-not-summed": Mistake(
        "you have a ratio for each action dimension: log π(a|s) is the sum over the A dimensions, "
        "π their product",
        (
            partial(of_surrogate, combine=_by_dimension, over_actions=lambda log_prob: log_prob),
            partial(
                of_surrogate,
                combine=_by_dimension,
                over_actions=lambda log_prob: log_prob,
                mean=lambda terms: terms.sum(-1).mean(),
            ),
        ),
    ),
    "actions-averaged": Mistake(
        "your log π(a|s) is the mean over the A action dimensions: it is their sum",
        (partial(of_surrogate, combine=weighted, over_actions=lambda log_prob: log_prob.mean(-1)),),
    ),
    "first-action-only": Mistake(
        "your log π(a|s) is that of one action dimension: it is the sum over all A",
        tuple(
            partial(of_surrogate, combine=weighted, over_actions=over)
            for over in (lambda log_prob: log_prob[:, 0], lambda log_prob: log_prob[:, -1])
        ),
    ),
    "broadcast-advantages": Mistake(
        "you multiply ratios (B, 1) with advantages (B,): that is (B, B), every ratio with every "
        "Â; squeeze first",
        (partial(of_surrogate, combine=lambda new, old, a: torch.exp(new - old)[:, None] * a),),
    ),
    "broadcast-old-policy": Mistake(
        "you subtract (B,) from (B, 1): that is (B, B), every new log π minus every old one; "
        "squeeze first",
        (
            partial(of_surrogate, combine=lambda new, old, a: torch.exp(new[:, None] - old) * a),
            partial(
                of_surrogate,
                combine=lambda new, old, a: torch.exp(new[:, None] - old) * a[:, None],
            ),
        ),
    ),
    "sum-for-mean": Mistake(
        "yours is B times the right one: the batch is summed instead of averaged",
        (partial(of_surrogate, combine=weighted, mean=torch.sum),),
    ),
    "sign": Mistake(
        "yours has the wrong sign: L is maximised, it is no loss",
        (partial(of_surrogate, combine=lambda new, old, a: -weighted(new, old, a)),),
    ),
    "clipped": Mistake(
        "your ratio is clipped: that is PPO, TRPO bounds KL instead",
        (partial(of_surrogate, combine=_clipped),),
    ),
    "advantages-normalised": Mistake(
        "you normalise the advantages again: take them as they come",
        (
            partial(
                of_surrogate,
                combine=lambda new, old, a: weighted(new, old, (a - a.mean()) / (a.std() + 1e-8)),
            ),
        ),
    ),
    "graph-lost": Mistake(
        "your L does not know how it depends on θ (an `.item()`, a `.detach()` or a `no_grad` too "
        "many): no gradient",
        (partial(of_surrogate, combine=lambda new, old, a: weighted(new, old, a).detach()),),
    ),
}
