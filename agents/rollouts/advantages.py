"""Generalized advantage estimation."""

from collections.abc import Callable

import torch
from torch import Tensor

# of the arguments of `generalized_advantages`
AdvantageEstimator = Callable[[Tensor, Tensor, Tensor, Tensor, float, float], Tensor]


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Return Â_t = Σ_l (γλ)ˡ δ_{t+l} (Schulman et al. 2016, equation 16).

    δ_t = r_t + γ V(s_{t+1}) − V(s_t). A terminated step has no next state: it drops V(s_{t+1}). A
    truncated one keeps it. Both end the sum. The value at a reset step, which follows either, is
    meaningless and affects no other step.

    Args:
        rewards: (T, N), r_t.
        values: (T + 1, N), V(s_0) … V(s_T); after an episode's last step, V of its final
            observation.
        terminated: (T, N), bool.
        truncated: (T, N), bool.
        gamma: discount γ per step.
        gae_lambda: λ; 0 is one-step TD, 1 is Monte Carlo.

    Returns:
        (T, N); the TD(λ) returns are this plus values[:-1].
    """
    delta = rewards + gamma * values[1:] * ~terminated - values[:-1]  # (T, N)
    decay = gamma * gae_lambda * (~(terminated | truncated)).to(delta.dtype)  # (T, N)
    advantages = [torch.zeros_like(delta[0])]
    for delta_t, decay_t in zip(reversed(delta.unbind()), reversed(decay.unbind()), strict=True):
        advantages.append(torch.addcmul(delta_t, decay_t, advantages[-1]))
    return torch.stack(advantages[:0:-1])
