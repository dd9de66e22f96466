"""A right solution, plain; `mistakes.py` puts one mistake at a time into its text."""

import torch
from torch.autograd import grad
from torch.distributions import kl_divergence


def gae(rewards, values, terminated, truncated, gamma, gae_lambda):
    advantages = torch.zeros_like(rewards)
    done = terminated | truncated
    running = torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        following = values[t + 1] * ~terminated[t]
        delta = rewards[t] + gamma * following - values[t]
        running = delta + gamma * gae_lambda * ~done[t] * running
        advantages[t] = running
        if t > 0:
            advantages[t] *= ~done[t - 1]
    return advantages


def surrogate(policy, policy_old, batch):
    new = policy(batch.observations).log_prob(batch.actions).sum(-1)
    old = policy_old(batch.observations).log_prob(batch.actions).sum(-1).detach()
    ratio = torch.exp(new - old)
    terms = ratio * batch.advantages
    return terms.mean()


def fisher_vector_product(policy, batch, v, damping):
    parameters = list(policy.parameters())
    with torch.no_grad():
        old = policy(batch.observations)
    new = policy(batch.observations)
    kl = kl_divergence(old, new).sum(-1).mean()
    first = grad(kl, parameters, create_graph=True)
    slope = torch.cat([piece.reshape(-1) for piece in first]) @ v
    second = grad(slope, parameters, retain_graph=True)
    Fv = torch.cat([piece.reshape(-1) for piece in second])
    return Fv + damping * v


def conjugate_gradient(product, b, max_iterations, tolerance):
    x = torch.zeros_like(b)
    r = b.clone()
    p = r.clone()
    rr = r @ r
    for _ in range(max_iterations):
        if rr.sqrt() <= tolerance * b.norm():
            break
        Ap = product(p)
        alpha = rr / (p @ Ap)
        x += alpha * p
        r -= alpha * Ap
        rr_new = r @ r
        beta = rr_new / rr
        p = r + beta * p
        rr = rr_new
    return x


def full_step(product, g, x, damping, max_kl):
    quadratic = x @ product(x, damping)
    return torch.sqrt(2 * max_kl / quadratic) * x


def line_search(policy, batch, surrogate, full_step, max_kl, backtrack_ratio, max_backtracks):
    parameters = list(policy.parameters())
    theta_old = torch.nn.utils.parameters_to_vector(parameters).detach().clone()
    with torch.no_grad():
        old = policy(batch.observations)
        before = surrogate()
        for k in range(max_backtracks + 1):
            theta = theta_old + backtrack_ratio**k * full_step
            torch.nn.utils.vector_to_parameters(theta, parameters)
            new = policy(batch.observations)
            kl = kl_divergence(old, new).sum(-1).mean()
            if kl <= max_kl and surrogate() > before:
                return True
        torch.nn.utils.vector_to_parameters(theta_old, parameters)
    return False
