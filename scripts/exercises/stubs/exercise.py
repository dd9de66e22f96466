"""TRPO in six functions, for you to write. LAB.md says how to go about it.

    trpo exercise check .                        what is right, and what went wrong where it is not
    trpo train CartPole-v1 --exercise .          train with your functions

Plain PyTorch, no other files needed. All you are given, in these words:

    policy        an `nn.Module`. `policy(observations)` is a torch distribution of batch shape
                  (B, A): A independent action dimensions at B states, a Normal, a Beta, a
                  Categorical or a Bernoulli each. Its `log_prob(actions)`, and `kl_divergence` of
                  two of them, are (B, A), too. Its log-deviations, if it has any, are among
                  `policy.parameters()`.
    θ             `policy.parameters()`, P numbers, in that order in every flat vector (P,).
    batch         `batch.observations` (B, O), `batch.actions` (B, A), `batch.advantages` (B,).
                  Not every function needs all of them.

Replace each `raise NotImplementedError`. Keep names and arguments as they are.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Batch(NamedTuple):
    """B samples of π_old; given, not to be written."""

    observations: Tensor
    actions: Tensor
    advantages: Tensor


def gae(
    rewards: Tensor,
    values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Return Â_t = Σ_l (γλ)ˡ δ_{t+l}, where δ_t = r_t + γ V(s_{t+1}) − V(s_t).

    Environments restart one step late: after an episode's last step t, s_{t+1} is the episode's
    final observation, and step t + 1 is a *reset step*, which leads from there to the first
    observation of a new episode. A reset step is no step of any episode: its advantage is 0.

    Args:
        rewards: (T, N), r_t of N environments.
        values: (T + 1, N), V(s_0) … V(s_T).
        terminated: (T, N), bool: step t ended the episode in a state that has no future.
        truncated: (T, N), bool: step t ended the episode by a time limit; its future was only cut.
        gamma: discount γ.
        gae_lambda: λ.

    Returns:
        Â, (T, N).
    """
    raise NotImplementedError


def surrogate(policy: nn.Module, policy_old: nn.Module, batch: Batch) -> Tensor:
    """Return L(θ) = E[π_θ(a|s) / π_old(a|s) · Â], the mean over the B samples.

    Args:
        policy: π_θ, in whose parameters the result must be differentiable.
        policy_old: π_old, a constant; `policy_old is policy` at the beginning of an update.
        batch: observations (B, O), actions (B, A), advantages (B,).

    Returns:
        L, of shape ().
    """
    raise NotImplementedError


def fisher_vector_product(policy: nn.Module, batch: Batch, v: Tensor, damping: float) -> Tensor:
    """Return (F + βI)v, F the Hessian in θ of E_s[KL(π_old(·|s) ‖ π_θ(·|s))] at θ = θ_old.

    Never form F: it is P × P.

    Args:
        policy: at θ_old.
        batch: observations (B, O), and more than you need.
        v: (P,).
        damping: β.

    Returns:
        (P,).
    """
    raise NotImplementedError


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, max_iterations: int, tolerance: float
) -> Tensor:
    """Solve Ax = b for a symmetric positive definite A, by products with A alone, from x = 0.

    Args:
        product: v ↦ Av, (P,) to (P,).
        b: (P,), not to be changed; x = 0 if it is 0.
        max_iterations: products at most.
        tolerance: stop as soon as ‖b − Ax‖ ≤ tolerance · ‖b‖.

    Returns:
        x, (P,).
    """
    raise NotImplementedError


def full_step(
    product: Callable[[Tensor, float], Tensor],
    g: Tensor,
    x: Tensor,
    damping: float,
    max_kl: float,
) -> Tensor:
    """Return the step along x at which the quadratic model of KL, ½ sᵀ(F + βI)s, is δ.

    Args:
        product: (v, β) ↦ (F + βI)v.
        g: (P,), the surrogate's gradient.
        x: (P,), an approximate solution of (F + βI)x = g.
        damping: β.
        max_kl: δ, nats.

    Returns:
        The step s, (P,).
    """
    raise NotImplementedError


def line_search(
    policy: nn.Module,
    batch: Batch,
    surrogate: Callable[[], Tensor],
    full_step: Tensor,
    max_kl: float,
    backtrack_ratio: float,
    max_backtracks: int,
) -> bool:
    """Move θ to the first of θ_old + ratioᵏ · full_step, k = 0, 1, …, that keeps both promises.

    The promises, as measured: E_s[KL(π_old ‖ π_θ)] ≤ δ, and L(θ) > L(θ_old). A NaN keeps none. If
    no k up to `max_backtracks` does, put θ_old back, bit for bit.

    Args:
        policy: at θ_old; its parameters are changed in place.
        batch: observations (B, O), and more than you need.
        surrogate: () ↦ L at the policy's present θ.
        full_step: (P,).
        max_kl: δ, nats.
        backtrack_ratio: in (0, 1).
        max_backtracks: times to shrink the step at most.

    Returns:
        Whether a step was taken.
    """
    raise NotImplementedError
