"""The right results of the exercise's functions, computed densely, matrices in full.

It is unsuitable for training: F is formed, systems are solved directly, every sum is a loop. So it
can serve as an oracle.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import grad
from torch.distributions import Normal

from trpo.scripts.exercises.fixtures import Batch, FixturePolicy


def gae(
    rewards: Tensor,
    values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Return Â_t as the double sum that defines it, from t to its episode's end; 0 at reset steps.

    Args:
        rewards: (T, N).
        values: (T + 1, N).
        terminated: (T, N), bool.
        truncated: (T, N), bool.
        gamma: γ.
        gae_lambda: λ.

    Returns:
        (T, N).
    """
    T, N = rewards.shape
    done = terminated | truncated
    advantages = torch.zeros_like(rewards)
    for n in range(N):
        for t in range(T):
            if t and done[t - 1, n]:
                continue  # a reset step
            for k in range(t, T):
                future = 0.0 if terminated[k, n] else values[k + 1, n]
                delta = rewards[k, n] + gamma * future - values[k, n]
                advantages[t, n] += (gamma * gae_lambda) ** (k - t) * delta
                if done[k, n]:
                    break
    return advantages


def surrogate(policy: FixturePolicy, policy_old: FixturePolicy, batch: Batch) -> Tensor:
    """Return the mean of π_θ(a|s)/π_old(a|s) · Â, sample by sample.

    Args:
        policy: π_θ.
        policy_old: π_old.
        batch: B samples.

    Returns:
        L, of shape ().
    """
    new = policy(batch.observations).log_prob(batch.actions)  # (B, A)
    old = policy_old(batch.observations).log_prob(batch.actions).detach()
    terms = [
        (new[i].exp().prod() / old[i].exp().prod()) * batch.advantages[i] for i in range(len(new))
    ]
    return torch.stack(terms).mean()


def dense_fisher(policy: FixturePolicy, batch: Batch) -> Tensor:
    """Return F = E_s[Jᵀ M J] in full; M, the Fisher matrix of the family, by its textbook formula.

    Args:
        policy: at θ_old.
        batch: B states.

    Returns:
        (P, P).
    """
    parameters = list(policy.parameters())

    def row(number: Tensor) -> Tensor:
        pieces = grad(
            number, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return torch.cat([piece.reshape(-1) for piece in pieces])

    pi = policy(batch.observations)
    total: list[Tensor] = []
    if isinstance(pi, Normal):
        for mean, std in zip(pi.loc.reshape(-1), pi.scale.reshape(-1), strict=True):
            to_mean, to_std = row(mean), row(std)
            total.append(
                (torch.outer(to_mean, to_mean) + 2 * torch.outer(to_std, to_std))
                / std.detach() ** 2
            )
    else:
        for probabilities in pi.probs.reshape(-1, pi.probs.shape[-1]):
            for probability in probabilities:
                to_log = row(probability.log())
                total.append(probability.detach() * torch.outer(to_log, to_log))
    return torch.stack(total).sum(0) / len(batch.observations)


def fisher_vector_product(policy: FixturePolicy, batch: Batch, v: Tensor, damping: float) -> Tensor:
    """Return (F + βI)v by the dense F.

    Args:
        policy: at θ_old.
        batch: B states.
        v: (P,).
        damping: β.

    Returns:
        (P,).
    """
    return dense_fisher(policy, batch) @ v + damping * v


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, max_iterations: int, tolerance: float
) -> Tensor:
    """Return what k iterations must find: the minimiser of ½xᵀAx − bᵀx in span(b, Ab, …, Aᵏ⁻¹b).

    Args:
        product: v ↦ Av.
        b: (P,).
        max_iterations: k at most.
        tolerance: the smallest k is taken whose ‖b − Ax‖ ≤ tolerance · ‖b‖.

    Returns:
        (P,).
    """
    A = torch.stack([product(column) for column in torch.eye(len(b), dtype=b.dtype)], dim=1)
    x, krylov = torch.zeros_like(b), [b]
    for _ in range(max_iterations):
        if torch.linalg.norm(b - A @ x) <= tolerance * torch.linalg.norm(b):
            break
        Q, _ = torch.linalg.qr(torch.stack(krylov, dim=1))  # (P, k)
        x = Q @ torch.linalg.solve(Q.T @ A @ Q, Q.T @ b)
        krylov.append(A @ Q[:, -1])
    return x


def full_step(
    product: Callable[[Tensor, float], Tensor], g: Tensor, x: Tensor, damping: float, max_kl: float
) -> Tensor:
    """Return t · x, t the positive root of ½ t² xᵀ(F + βI)x = δ, with F in full.

    Args:
        product: (v, β) ↦ (F + βI)v.
        g: not needed.
        x: (P,).
        damping: β.
        max_kl: δ.

    Returns:
        (P,).
    """
    A = torch.stack([product(e, damping) for e in torch.eye(len(g), dtype=x.dtype)], dim=1)
    return (max_kl / (0.5 * x @ A @ x)) ** 0.5 * x


def line_search(
    policy: FixturePolicy,
    batch: Batch,
    surrogate: Callable[[], Tensor],
    full_step: Tensor,
    max_kl: float,
    backtrack_ratio: float,
    max_backtracks: int,
) -> bool:
    """Try every fraction, then choose the largest good one; KL by the Gaussian's formula.

    Args:
        policy: Gaussian, at θ_old.
        batch: B states.
        surrogate: () ↦ L.
        full_step: (P,).
        max_kl: δ.
        backtrack_ratio: in (0, 1).
        max_backtracks: at most.

    Returns:
        Whether a step was taken.
    """
    parameters = list(policy.parameters())
    kept = [parameter.detach().clone() for parameter in parameters]
    theta_old = torch.cat([parameter.reshape(-1) for parameter in kept])
    with torch.no_grad():
        old, before = policy(batch.observations), float(surrogate())
    good: list[Tensor] = []

    @torch.no_grad()
    def put(theta: Tensor) -> None:
        pieces = theta.split([parameter.numel() for parameter in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.copy_(piece.view_as(parameter))

    for k in range(max_backtracks + 1):
        theta = theta_old + backtrack_ratio**k * full_step
        put(theta)
        with torch.no_grad():
            new = policy(batch.observations)
        apart = (old.scale**2 + (old.loc - new.loc) ** 2) / (2 * new.scale**2) - 0.5
        kl = (torch.log(new.scale / old.scale) + apart).sum(-1).mean()
        if float(kl) <= max_kl and float(surrogate()) > before:
            good.append(theta)
    put(good[0] if good else theta_old)
    return bool(good)
