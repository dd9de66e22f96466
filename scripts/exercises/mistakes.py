"""The mistakes that the checker knows by name: implementations of each, and a sentence.

Each family of mistakes is one implementation with its choices as arguments; a mistake is the wrong
value of one of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.autograd import grad
from torch.distributions import Categorical, Distribution, Normal, kl_divergence
from torch.nn.utils import parameters_to_vector as flatten
from torch.nn.utils import vector_to_parameters as assign

from trpo.scripts.exercises.fixtures import Batch, FixturePolicy
from trpo.scripts.exercises.probes import Implementation


@dataclass(frozen=True)
class Mistake:
    """A mistake that has a name.

    Args:
        says: what went wrong, in a sentence to the student.
        ways: implementations that make it; each gives other numbers.
    """

    says: str
    ways: tuple[Implementation, ...]


# --- generalized advantages ---------------------------------------------------------------------


def _gae(
    rewards: Tensor,
    values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    gae_lambda: float,
    *,
    ends: Callable[[Tensor, Tensor], Tensor] = lambda terminated, truncated: terminated,
    cuts: Callable[[Tensor, Tensor], Tensor] = torch.logical_or,
    following: Callable[[Tensor, Tensor], Tensor] = lambda values, truncated: values[1:],
    discount: Callable[[float, float], float] = lambda gamma, gae_lambda: gamma,
    decay: Callable[[float, float], float] = lambda gamma, gae_lambda: gamma * gae_lambda,
    baseline: float = 1.0,
    backwards: bool = True,
    mask_resets: bool = True,
    reset_running: bool = False,
    finish: Callable[[Tensor, Tensor], Tensor] = lambda advantages, values: advantages,
) -> Tensor:
    """Return GAE; `ends` is where no future is added, `cuts` where the sum stops."""
    future = following(values, truncated) * ~ends(terminated, truncated)
    delta = rewards + discount(gamma, gae_lambda) * future - baseline * values[:-1]
    goes_on = ~cuts(terminated, truncated)
    advantages, running = torch.zeros_like(delta), torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))) if backwards else range(len(delta)):
        running = delta[t] + decay(gamma, gae_lambda) * goes_on[t] * running
        if reset_running and t > 0:
            running = running * ~(terminated | truncated)[t - 1]
        advantages[t] = running
    if mask_resets:
        advantages[1:] *= ~(terminated | truncated)[:-1]
    return finish(advantages, values)


def _shifted(terminated: Tensor, truncated: Tensor) -> Tensor:
    done = terminated | truncated
    return torch.cat([done[1:], torch.zeros_like(done[:1])])


def _own_state_if_truncated(values: Tensor, truncated: Tensor) -> Tensor:
    return torch.where(truncated, values[:-1], values[1:])


GAE = {
    "truncation-as-termination": Mistake(
        "your truncated steps drop V(s_{t+1}): a time limit is no end, only a cut, so bootstrap "
        "there",
        (partial(_gae, ends=torch.logical_or),),
    ),
    "termination-as-truncation": Mistake(
        "your terminated steps add γV(s_{t+1}): nothing follows a terminal state, its value is 0",
        (partial(_gae, ends=lambda terminated, truncated: torch.zeros_like(terminated)),),
    ),
    "runs-past-the-end": Mistake(
        "your sum runs past an episode's end: both kinds of end cut it, else one episode's "
        "advantages hold another's δ",
        (partial(_gae, cuts=lambda terminated, truncated: torch.zeros_like(terminated)),),
    ),
    "runs-past-truncation": Mistake(
        "your sum stops at terminated steps alone: a truncated step cuts it, too, though it "
        "bootstraps",
        (partial(_gae, cuts=lambda terminated, truncated: terminated),),
    ),
    "runs-past-termination": Mistake(
        "your sum stops at truncated steps alone: a terminated step cuts it, too",
        (partial(_gae, cuts=lambda terminated, truncated: truncated),),
    ),
    "cut-one-step-early": Mistake(
        "your sum is cut one step early: whether step t ended the episode decides about δ_{t+1}, "
        "not step t + 1",
        tuple(partial(_gae, cuts=_shifted, reset_running=reset) for reset in (False, True)),
    ),
    "bootstraps-own-state": Mistake(
        "your δ_t bootstraps from V(s_t), where V(s_{t+1}) belongs: r_t leads to s_{t+1}",
        (partial(_gae, following=lambda values, truncated: values[:-1]),),
    ),
    "bootstraps-own-state-if-truncated": Mistake(
        "your truncated steps bootstrap from V(s_t), the last state acted in: take V(s_{t+1}), "
        "the final observation's",
        (partial(_gae, following=_own_state_if_truncated),),
    ),
    "lambda-forgotten": Mistake(
        "your sum decays by γ where it should by γλ: this is λ = 1, Monte Carlo",
        (partial(_gae, decay=lambda gamma, gae_lambda: gamma),),
    ),
    "gamma-forgotten-in-decay": Mistake(
        "your sum decays by λ where it should by γλ",
        (partial(_gae, decay=lambda gamma, gae_lambda: gae_lambda),),
    ),
    "gamma-forgotten-in-delta": Mistake(
        "your δ_t adds V(s_{t+1}) without its discount γ",
        (partial(_gae, discount=lambda gamma, gae_lambda: 1.0),),
    ),
    "lambda-for-gamma-in-delta": Mistake(
        "your δ_t discounts V(s_{t+1}) by λ (or γλ): λ weighs the δ's, only γ discounts the future",
        (
            partial(_gae, discount=lambda gamma, gae_lambda: gae_lambda),
            partial(_gae, discount=lambda gamma, gae_lambda: gamma * gae_lambda),
        ),
    ),
    "one-step-only": Mistake(
        "your advantages are δ_t alone, without the sum over what follows: this is λ = 0",
        (partial(_gae, decay=lambda gamma, gae_lambda: 0.0),),
    ),
    "loops-forwards": Mistake(
        "your loop runs forwards in time: Â_t is made of what follows t, so begin at the last step",
        tuple(partial(_gae, backwards=False, reset_running=reset) for reset in (False, True)),
    ),
    "resets-not-masked": Mistake(
        "your reset steps have an advantage: the step after an episode's end is no step of any "
        "episode, so 0",
        (partial(_gae, mask_resets=False),),
    ),
    "baseline-forgotten": Mistake(
        "your δ_t lacks − V(s_t): without the baseline it estimates returns, not advantages",
        (partial(_gae, baseline=0.0),),
    ),
    "baseline-added": Mistake(
        "your δ_t adds V(s_t) instead of subtracting it", (partial(_gae, baseline=-1.0),)
    ),
    "returns-for-advantages": Mistake(
        "you return Â + V(s_t), the value function's target, instead of Â",
        (partial(_gae, finish=lambda advantages, values: advantages + values[:-1]),),
    ),
    "normalised": Mistake(
        "you return normalised advantages: GAE ends before that",
        (
            partial(
                _gae,
                finish=lambda advantages, _: (
                    (advantages - advantages.mean()) / (advantages.std() + 1e-8)
                ),
            ),
        ),
    ),
}

# --- the surrogate --------------------------------------------------------------------------------


def _surrogate(
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


def _weighted(new: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
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
        (partial(_surrogate, combine=lambda new, old, a: new * a),),
    ),
    "log-ratio": Mistake(
        "you multiply Â by log(π_θ/π_old): the exp is missing",
        (partial(_surrogate, combine=lambda new, old, a: (new - old) * a),),
    ),
    "ratio-inverted": Mistake(
        "your ratio is π_old/π_θ: turn it round",
        (partial(_surrogate, combine=lambda new, old, a: torch.exp(old - new) * a),),
    ),
    "old-policy-not-detached": Mistake(
        "π_old moves with θ: where policy_old is policy, the ratio is 1 for every θ and the "
        "gradient is 0; detach it",
        (partial(_surrogate, combine=_weighted, detach=False),),
    ),
    "old-policy-forgotten": Mistake(
        "you weigh Â by π_θ(a|s) without dividing by π_old(a|s)",
        (partial(_surrogate, combine=_probability),),
    ),
    "actions-not-summed": Mistake(
        "you have a ratio for each action dimension: log π(a|s) is the sum over the A dimensions, "
        "π their product",
        (
            partial(_surrogate, combine=_by_dimension, over_actions=lambda log_prob: log_prob),
            partial(
                _surrogate,
                combine=_by_dimension,
                over_actions=lambda log_prob: log_prob,
                mean=lambda terms: terms.sum(-1).mean(),
            ),
        ),
    ),
    "actions-averaged": Mistake(
        "your log π(a|s) is the mean over the A action dimensions: it is their sum",
        (partial(_surrogate, combine=_weighted, over_actions=lambda log_prob: log_prob.mean(-1)),),
    ),
    "first-action-only": Mistake(
        "your log π(a|s) is that of one action dimension: it is the sum over all A",
        tuple(
            partial(_surrogate, combine=_weighted, over_actions=over)
            for over in (lambda log_prob: log_prob[:, 0], lambda log_prob: log_prob[:, -1])
        ),
    ),
    "broadcast-advantages": Mistake(
        "you multiply ratios (B, 1) with advantages (B,): that is (B, B), every ratio with every "
        "Â; squeeze first",
        (partial(_surrogate, combine=lambda new, old, a: torch.exp(new - old)[:, None] * a),),
    ),
    "broadcast-old-policy": Mistake(
        "you subtract (B,) from (B, 1): that is (B, B), every new log π minus every old one; "
        "squeeze first",
        (
            partial(_surrogate, combine=lambda new, old, a: torch.exp(new[:, None] - old) * a),
            partial(
                _surrogate,
                combine=lambda new, old, a: torch.exp(new[:, None] - old) * a[:, None],
            ),
        ),
    ),
    "sum-for-mean": Mistake(
        "yours is B times the right one: the batch is summed instead of averaged",
        (partial(_surrogate, combine=_weighted, mean=torch.sum),),
    ),
    "sign": Mistake(
        "yours has the wrong sign: L is maximised, it is no loss",
        (partial(_surrogate, combine=lambda new, old, a: -_weighted(new, old, a)),),
    ),
    "clipped": Mistake(
        "your ratio is clipped: that is PPO, TRPO bounds KL instead",
        (partial(_surrogate, combine=_clipped),),
    ),
    "advantages-normalised": Mistake(
        "you normalise the advantages again: take them as they come",
        (
            partial(
                _surrogate,
                combine=lambda new, old, a: _weighted(new, old, (a - a.mean()) / (a.std() + 1e-8)),
            ),
        ),
    ),
    "graph-lost": Mistake(
        "your L does not know how it depends on θ (an `.item()`, a `.detach()` or a `no_grad` too "
        "many): no gradient",
        (partial(_surrogate, combine=lambda new, old, a: _weighted(new, old, a).detach()),),
    ),
}

# --- Fisher-vector products ----------------------------------------------------------------------


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
    value = _surrogate(policy, policy, batch, combine=_weighted)
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

# --- conjugate gradient --------------------------------------------------------------------------


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

# --- the full step -------------------------------------------------------------------------------


def _full_step(
    product: Callable[[Tensor, float], Tensor],
    g: Tensor,
    x: Tensor,
    damping: float,
    max_kl: float,
    *,
    form: Callable[[Callable[[Tensor, float], Tensor], Tensor, Tensor, float], Tensor] = (
        lambda A, g, x, beta: x @ A(x, beta)
    ),
    scale: Callable[[float, Tensor], Tensor] = lambda delta, form: (2 * delta / form).sqrt(),
    along: Callable[[Tensor, Tensor], Tensor] = lambda g, x: x,
) -> Tensor:
    """Return `scale` times `along`, from δ and a quadratic `form`."""
    return scale(max_kl, form(product, g, x, damping)) * along(g, x)


FULL_STEP = {
    "two-missing": Mistake(
        "your step is 1/√2 of the right one: ½ sᵀFs = δ has a ½, so √(2δ / xᵀFx)",
        (partial(_full_step, scale=lambda delta, form: (delta / form).sqrt()),),
    ),
    "two-misplaced": Mistake(
        "your step is half of the right one: the 2 stands above, √(2δ / xᵀFx)",
        (partial(_full_step, scale=lambda delta, form: (delta / (2 * form)).sqrt()),),
    ),
    "root-missing": Mistake(
        "your step has no root: KL grows with the square of the step, so √(2δ / xᵀFx)",
        (partial(_full_step, scale=lambda delta, form: 2 * delta / form),),
    ),
    "root-of-half": Mistake(
        "your root covers a part of 2δ / xᵀFx alone",
        (
            partial(_full_step, scale=lambda delta, form: 2 * delta / form.sqrt()),
            partial(_full_step, scale=lambda delta, form: (2 * delta) ** 0.5 / form),
        ),
    ),
    "inverted": Mistake(
        "your scale is inverted: √(2δ / xᵀFx), so that a large δ makes a large step",
        (partial(_full_step, scale=lambda delta, form: (form / (2 * delta)).sqrt()),),
    ),
    "gradient-square": Mistake(
        "you have gᵀg in place of xᵀFx",
        (partial(_full_step, form=lambda A, g, x, beta: g @ g),),
    ),
    "euclidean-square": Mistake(
        "you have xᵀx in place of xᵀFx: that bounds a distance between parameters, not between "
        "distributions",
        (partial(_full_step, form=lambda A, g, x, beta: x @ x),),
    ),
    "gradient-times-x": Mistake(
        "you have xᵀg in place of xᵀFx: they are equal where x solves Fx = g exactly, and here it "
        "does not",
        (partial(_full_step, form=lambda A, g, x, beta: x @ g),),
    ),
    "fisher-of-gradient": Mistake(
        "you have gᵀFg in place of xᵀFx: the step goes along x",
        (partial(_full_step, form=lambda A, g, x, beta: g @ A(g, beta)),),
    ),
    "undamped": Mistake(
        "your quadratic form is undamped, xᵀFx: here it is xᵀ(F + βI)x, which errs on the safe "
        "side",
        (partial(_full_step, form=lambda A, g, x, beta: x @ A(x, 0.0)),),
    ),
    "sign": Mistake(
        "your step goes backwards: x is uphill for L, and L is maximised",
        (partial(_full_step, along=lambda g, x: -x),),
    ),
    "along-gradient": Mistake(
        "your step goes along g: it goes along x, the natural gradient",
        (
            partial(_full_step, along=lambda g, x: g),
            partial(_full_step, along=lambda g, x: g, form=lambda A, g, x, beta: g @ A(g, beta)),
        ),
    ),
    "unscaled": Mistake(
        "your step is x itself: it has to be scaled to δ",
        (partial(_full_step, scale=lambda delta, form: torch.ones_like(form)),),
    ),
}

# --- line search ---------------------------------------------------------------------------------


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
        "θ_old is not put back where every try fails: the policy is left at the last one",
        (partial(_line_search, restores="not"),),
    ),
    "restored-by-subtraction": Mistake(
        "θ_old is put back but for rounding: (θ + s) − s is not θ; keep a copy",
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

MISTAKES: Mapping[str, Mapping[str, Mistake]] = {
    "gae": GAE,
    "surrogate": SURROGATE,
    "fisher_vector_product": FISHER,
    "conjugate_gradient": CONJUGATE_GRADIENT,
    "full_step": FULL_STEP,
    "line_search": LINE_SEARCH,
}
"""Function, name of the mistake, mistake."""
