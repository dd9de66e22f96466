"""Mistakes about Fisher-vector products."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.autograd import grad
from torch.distributions import Categorical, Distribution, Normal, kl_divergence
from torch.nn.utils import parameters_to_vector as flatten

from trpo.scripts.exercises.fixtures import Batch, FixturePolicy
from trpo.scripts.exercises.mistakes.mistake import Mistake
from trpo.scripts.exercises.mistakes.surrogate import of_surrogate, weighted


def _flat_gradient(value: Tensor, policy: FixturePolicy, keep: bool = False) -> Tensor:
    pieces = grad(
        value,
        list(policy.parameters()),
        create_graph=keep,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return flatten(pieces)


def _hessian_product(value: Tensor, policy: FixturePolicy, v: Tensor) -> Tensor:
    return _flat_gradient(_flat_gradient(value, policy, keep=True) @ v, policy)


def _constant(pi: Distribution) -> Distribution:
    if isinstance(pi, Normal):
        return type(pi)(pi.loc.detach(), pi.scale.detach())
    assert isinstance(pi, Categorical)
    return type(pi)(logits=pi.logits.detach())


def _fisher(
    policy: FixturePolicy,
    batch: Batch,
    v: Tensor,
    damping: float,
    *,
    mean: Callable[[Tensor], Tensor] = lambda kl: kl.sum(-1).mean(),
    constant: Callable[[Distribution], Distribution] = _constant,
    reverse: bool = False,
    finish: Callable[[FixturePolicy, Tensor, Tensor, float], Tensor] = (
        lambda policy, Fv, v, damping: Fv + damping * v
    ),
) -> Tensor:
    """Return the Hessian of KL times v."""
    pi = policy(batch.observations)
    kl = kl_divergence(pi, constant(pi)) if reverse else kl_divergence(constant(pi), pi)
    return finish(policy, _hessian_product(mean(kl), policy, v), v, damping)


def _one_backward(policy: FixturePolicy, batch: Batch, v: Tensor, damping: float) -> Tensor:
    pi = policy(batch.observations)
    kl = kl_divergence(_constant(pi), pi).sum(-1).mean()
    return _flat_gradient(kl, policy) * v + damping * v


def _log_prob(policy: FixturePolicy, batch: Batch) -> Tensor:
    return policy(batch.observations).log_prob(batch.actions).sum(-1)  # (B,)


def _outer_products(
    policy: FixturePolicy,
    batch: Batch,
    v: Tensor,
    damping: float,
    *,
    weights: Callable[[Tensor], Tensor],
) -> Tensor:
    scores = [_flat_gradient(term, policy) for term in _log_prob(policy, batch)]
    terms = [w * (s @ v) * s for w, s in zip(weights(batch.advantages), scores, strict=True)]
    return torch.stack(terms).mean(0) + damping * v


def _log_prob_hessian(
    policy: FixturePolicy, batch: Batch, v: Tensor, damping: float, *, sign: float
) -> Tensor:
    return sign * _hessian_product(_log_prob(policy, batch).mean(), policy, v) + damping * v


def _surrogate_hessian(
    policy: FixturePolicy, batch: Batch, v: Tensor, damping: float, *, sign: float
) -> Tensor:
    value = of_surrogate(policy, policy, batch, combine=weighted)
    return sign * _hessian_product(value, policy, v) + damping * v


def _outputs(pi: Distribution) -> Tensor:
    if isinstance(pi, Normal):
        return torch.cat([pi.loc, pi.scale.log()], -1)
    assert isinstance(pi, Categorical)
    return pi.logits


def _gauss_newton(policy: FixturePolicy, batch: Batch, v: Tensor, damping: float) -> Tensor:
    eta = _outputs(policy(batch.observations)).flatten(1)
    half_square = (eta - eta.detach()).square().sum(1).mean() / 2
    return _hessian_product(half_square, policy, v) + damping * v


def _without_log_std(
    policy: FixturePolicy, Fv: Tensor, v: Tensor, damping: float, *, damped: bool
) -> Tensor:
    seen = torch.cat([
        torch.full((p.numel(),), name != "log_std") for name, p in policy.named_parameters()
    ])
    return torch.where(seen, Fv + damping * v, damping * v if damped else 0 * v)


def _log_std_once(policy: FixturePolicy, Fv: Tensor, v: Tensor, damping: float) -> Tensor:
    blocks = torch.cat([
        torch.full((p.numel(),), 0.5 if name == "log_std" else 1.0, dtype=v.dtype)
        for name, p in policy.named_parameters()
    ])
    return blocks * Fv + damping * v


def _damped_parameters(policy: FixturePolicy, Fv: Tensor, v: Tensor, damping: float) -> Tensor:
    return Fv + damping * flatten(policy.parameters()).detach()


def _diagonal(policy: FixturePolicy, batch: Batch, v: Tensor, damping: float) -> Tensor:
    columns = torch.eye(len(v), dtype=v.dtype)
    F = torch.stack([_fisher(policy, batch, column, 0.0) for column in columns])
    return F.diagonal() * v + damping * v


def _redrawn(policy: FixturePolicy, batch: Batch, v: Tensor, damping: float) -> Tensor:
    rows = torch.randperm(len(batch.observations))[: len(batch.observations) // 2]
    return _fisher(policy, Batch(*(part[rows] for part in batch)), v, damping)


FISHER = {
    "both-sides-move": Mistake(
        "your product is 0: both sides of KL move with θ, so KL is 0 for every θ; detach π_old",
        (partial(_fisher, constant=lambda pi: pi),),
    ),
    "one-backward": Mistake(
        "your product is 0: you took KL's gradient, which is 0 at θ_old; F is its Hessian, a "
        "second backward pass",
        (_one_backward,),
    ),
    "sum-for-mean": Mistake(
        "your product is B times the right one: KL is summed over states instead of averaged",
        (partial(_fisher, mean=torch.sum),),
    ),
    "actions-averaged": Mistake(
        "your Fisher product is 1/A of the right one: KL is averaged over action dimensions "
        "instead of summed",
        (partial(_fisher, mean=torch.mean),),
    ),
    "first-action-only": Mistake(
        "your KL is that of one action dimension: it is the sum over all A",
        tuple(
            partial(_fisher, mean=mean)
            for mean in (lambda kl: kl[:, 0].mean(), lambda kl: kl[:, -1].mean())
        ),
    ),
    "empirical-fisher": Mistake(
        "yours is the empirical Fisher, E[∇log π ∇log πᵀ] at the batch's actions: F averages over "
        "all actions of π",
        (partial(_outer_products, weights=torch.ones_like),),
    ),
    "advantage-weighted": Mistake(
        "you weigh the scores' outer product by advantages: F knows nothing of rewards",
        (
            partial(_outer_products, weights=lambda advantages: advantages),
            partial(_outer_products, weights=torch.square),
            partial(_outer_products, weights=torch.abs),
        ),
    ),
    "hessian-of-log-prob": Mistake(
        "yours is the Hessian of −log π at the batch's actions: only its mean over actions drawn "
        "from π is F",
        (partial(_log_prob_hessian, sign=-1.0),),
    ),
    "hessian-of-surrogate": Mistake(
        "yours is the Hessian of the surrogate (or its negative): F is the Hessian of KL",
        (partial(_surrogate_hessian, sign=1.0), partial(_surrogate_hessian, sign=-1.0)),
    ),
    "log-std-left-out": Mistake(
        "log_std is left out of θ: its part of the product is missing, so the step would not know "
        "what σ costs",
        (
            partial(_fisher, finish=partial(_without_log_std, damped=True)),
            partial(_fisher, finish=partial(_without_log_std, damped=False)),
        ),
    ),
    "log-std-once": Mistake(
        "your log_std block is half of the right one: a Gaussian's Fisher matrix in log σ is 2, "
        "not 1",
        (partial(_fisher, finish=_log_std_once),),
    ),
    "family-forgotten": Mistake(
        "yours is JᵀJ: the distribution's own Fisher matrix M is missing from JᵀMJ",
        (_gauss_newton,),
    ),
    "damping-forgotten": Mistake(
        "your product is Fv without βv", (partial(_fisher, finish=lambda policy, Fv, v, d: Fv),)
    ),
    "damping-on-parameters": Mistake(
        "you add βθ: the damping belongs to v, (F + βI)v = Fv + βv",
        (partial(_fisher, finish=_damped_parameters),),
    ),
    "damping-not-times-v": Mistake(
        "you add β to every component: (F + βI)v = Fv + βv",
        (partial(_fisher, finish=lambda policy, Fv, v, d: Fv + d),),
    ),
    "kl-reversed": Mistake(
        "the numbers are right, the KL is not: KL(π_θ ‖ π_old) has the same Hessian at θ_old, but "
        "TRPO bounds KL(π_old ‖ π_θ)",
        (partial(_fisher, reverse=True),),
    ),
    "sign": Mistake(
        "your product has the wrong sign: F is positive semi-definite",
        (partial(_fisher, finish=lambda policy, Fv, v, d: -Fv + d * v),),
    ),
    "diagonal": Mistake("you multiply by F's diagonal alone", (_diagonal,)),
}
SUBSAMPLE_REDRAWN = (
    "two products with the same v differ: a subsample is redrawn between products, "
    "and conjugate gradient needs one F"
)
