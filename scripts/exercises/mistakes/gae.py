"""Mistakes about generalized advantages."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from trpo.scripts.exercises.mistakes.mistake import Mistake


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
    "truncation-before-termination": Mistake(
        "your steps that are both terminated and truncated add γV(s_{t+1}): nothing follows a "
        "terminal state, whether or not time was up, too",
        (partial(_gae, ends=lambda terminated, truncated: terminated & ~truncated),),
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
