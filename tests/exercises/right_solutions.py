"""Right solutions that have little in common: loops, einsum, torch.func, numpy, scipy."""

import copy
import math

import numpy as np
import scipy.sparse.linalg
import torch
from torch.distributions import Normal, kl_divergence
from torch.func import functional_call, grad, jvp, vjp


def gae_as_loops(rewards, values, terminated, truncated, gamma, gae_lambda):
    T, N = rewards.shape
    out = [[0.0] * N for _ in range(T)]
    for n in range(N):
        last = 0.0
        for t in range(T - 1, -1, -1):
            end = bool(terminated[t, n]), bool(truncated[t, n])
            v_next = 0.0 if end[0] else values[t + 1, n].item()
            delta = rewards[t, n].item() + gamma * v_next - values[t, n].item()
            last = delta + (0.0 if any(end) else gamma * gae_lambda * last)
            reset = t > 0 and bool(terminated[t - 1, n] or truncated[t - 1, n])
            out[t][n] = 0.0 if reset else last
    return torch.tensor(out, dtype=rewards.dtype)


def gae_as_numpy(rewards, values, terminated, truncated, gamma, gae_lambda):
    r, v, term, trunc = (x.numpy() for x in (rewards, values, terminated, truncated))
    done = np.logical_or(term, trunc)
    delta = r + gamma * v[1:] * (1 - term) - v[:-1]
    advantages, running = np.zeros_like(r), np.zeros(r.shape[1])
    for t in range(len(r) - 1, -1, -1):
        running = delta[t] + gamma * gae_lambda * (1 - done[t]) * running
        advantages[t] = running
    advantages[1:][done[:-1]] = 0
    return advantages


def gae_as_a_matrix(rewards, values, terminated, truncated, gamma, gae_lambda):
    done = (terminated | truncated).to(rewards.dtype)
    delta = rewards + gamma * values[1:] * (1 - terminated.to(rewards.dtype)) - values[:-1]
    ends = torch.cumsum(torch.cat([torch.zeros_like(done[:1]), done[:-1]]), 0)  # before t
    steps = torch.arange(len(rewards))
    power = (steps[None] - steps[:, None]).clamp(min=0)
    weights = torch.triu(torch.as_tensor(gamma * gae_lambda) ** power)
    same_episode = (ends[:, None] == ends[None]).to(rewards.dtype)  # (T, T, N)
    reset = torch.cat([torch.zeros_like(done[:1]), done[:-1]])
    return torch.einsum("tk,tkn,kn->tn", weights, same_episode, delta) * (1 - reset)


def gae_as_recursion(rewards, values, terminated, truncated, gamma, gae_lambda):
    done = terminated | truncated

    def following(t):
        if t == len(rewards):
            return []
        rest = following(t + 1)
        delta = rewards[t] - values[t] + gamma * torch.where(terminated[t], 0.0, values[t + 1])
        tail = rest[0] if rest else torch.zeros_like(delta)
        return [delta + torch.where(done[t], 0.0, gamma * gae_lambda * tail), *rest]

    advantages = torch.stack(following(0))
    return advantages.masked_fill(
        torch.roll(done, 1, 0) & (torch.arange(len(done)) > 0)[:, None], 0
    )


def surrogate_as_no_grad(policy, policy_old, batch):
    with torch.no_grad():
        old = policy_old(batch.observations).log_prob(batch.actions).sum(dim=1)
    log_ratio = policy(batch.observations).log_prob(batch.actions).sum(dim=1) - old
    return (log_ratio.exp() * batch.advantages).mean()


def surrogate_as_einsum(policy, policy_old, batch):
    new = policy(batch.observations).log_prob(batch.actions)
    old = policy_old(batch.observations).log_prob(batch.actions).detach()
    ratio = torch.exp(torch.einsum("ba->b", new - old))
    return torch.einsum("b,b->", ratio, batch.advantages) / len(ratio)


def surrogate_as_loops(policy, policy_old, batch):
    total = 0.0
    for i in range(len(batch.advantages)):
        ratio = 1.0
        for new, old in zip(
            policy(batch.observations[i : i + 1]).log_prob(batch.actions[i : i + 1])[0],
            policy_old(batch.observations[i : i + 1]).log_prob(batch.actions[i : i + 1])[0],
            strict=True,
        ):
            ratio = ratio * new.exp() / old.exp().item()
        total = total + ratio * batch.advantages[i]
    return total / len(batch.advantages)


def surrogate_as_a_copy(policy, policy_old, batch):
    frozen = copy.deepcopy(policy_old).requires_grad_(False)
    new, old = (p(batch.observations).log_prob(batch.actions) for p in (policy, frozen))
    return torch.dot((new - old).sum(-1).exp(), batch.advantages) / batch.advantages.numel()


def flat(tensors):
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def fisher_vector_product_as_backward_twice(policy, batch, v, damping):
    policy.zero_grad()
    pi = policy(batch.observations)
    old = copy.deepcopy(policy)(batch.observations)
    old = (
        Normal(old.loc.detach(), old.scale.detach())
        if isinstance(old, Normal)
        else type(old)(logits=old.logits.detach())
    )
    kl = kl_divergence(old, pi).sum(dim=1).mean()
    g = torch.autograd.grad(kl, policy.parameters(), create_graph=True)
    flat(g).dot(v).backward()
    return flat([p.grad for p in policy.parameters()]) + damping * v


def fisher_vector_product_as_a_copy_moves(policy, batch, v, damping):
    old, pi = copy.deepcopy(policy)(batch.observations), policy(batch.observations)
    kl = kl_divergence(old, pi).sum(-1).mean()
    parameters = list(policy.parameters())
    g = flat(torch.autograd.grad(kl, parameters, create_graph=True))
    return flat(torch.autograd.grad(g @ v, parameters)) + damping * v


def _of_theta(policy, batch):
    names = [name for name, _ in policy.named_parameters()]
    values = tuple(p.detach() for p in policy.parameters())

    def outputs(*theta):
        pi = functional_call(policy, dict(zip(names, theta, strict=True)), (batch.observations,))
        return (pi.loc, pi.scale.log()) if isinstance(pi, Normal) else (pi.logits,)

    return outputs, values


def _split(v, like):
    pieces = v.split([x.numel() for x in like])
    return tuple(piece.view_as(x) for piece, x in zip(pieces, like, strict=True))


def _kl(old, new):
    if len(old) == 2:  # mean and log-deviation
        d = (2 * (old[1] - new[1])).exp() + ((old[0] - new[0]) / new[1].exp()) ** 2
        return ((d - 1) / 2 + new[1] - old[1]).sum(-1).mean()
    p, q = old[0].log_softmax(-1), new[0].log_softmax(-1)
    return (p.exp() * (p - q)).sum((-1, -2)).mean()


def fisher_vector_product_as_forward_over_reverse(policy, batch, v, damping):
    outputs, theta = _of_theta(policy, batch)
    old = tuple(x.detach() for x in outputs(*theta))
    gradient = grad(lambda theta: _kl(old, outputs(*theta)))
    _, Fv = jvp(gradient, (theta,), (_split(v, theta),))
    return flat(Fv) + damping * v


def fisher_vector_product_as_gauss_newton(policy, batch, v, damping):
    outputs, theta = _of_theta(policy, batch)
    eta, Jv = jvp(outputs, theta, _split(v, theta))
    if len(eta) == 2:
        MJv = ((-2 * eta[1]).exp() * Jv[0], 2 * Jv[1])
    else:
        p = eta[0].softmax(-1)
        MJv = (p * (Jv[0] - (p * Jv[0]).sum(-1, keepdim=True)),)
    _, pull_back = vjp(outputs, *theta)
    return flat(pull_back(MJv)) / len(batch.observations) + damping * v


def fisher_vector_product_as_numpy(policy, batch, v, damping):
    parameters = list(policy.parameters())

    def jacobian(values):
        rows = [
            flat(torch.autograd.grad(x, parameters, retain_graph=True, materialize_grads=True))
            for x in values.reshape(-1)
        ]
        return torch.stack(rows).numpy()

    pi = policy(batch.observations)
    if isinstance(pi, Normal):
        sigma = pi.scale.detach().numpy().reshape(-1)
        J, K = jacobian(pi.loc) / sigma[:, None], jacobian(pi.scale) / sigma[:, None]
        F = J.T @ J + 2 * K.T @ K
    else:
        J = jacobian(pi.probs)
        F = (J / pi.probs.detach().numpy().reshape(-1)[:, None]).T @ J
    F = F / len(batch.observations) + damping * np.eye(len(v))
    return F @ v.numpy()


def fisher_vector_product_as_hvp(policy, batch, v, damping):
    outputs, theta = _of_theta(policy, batch)
    old = tuple(x.detach() for x in outputs(*theta))
    _, Hv = torch.autograd.functional.hvp(
        lambda *theta: _kl(old, outputs(*theta)), theta, _split(v, theta)
    )
    return flat(Hv) + damping * v


def fisher_vector_product_as_two_graphs(policy, batch, v, damping):
    parameters = list(policy.parameters())
    pi = policy(batch.observations)
    eta = [pi.loc, pi.scale.log()] if isinstance(pi, Normal) else [pi.logits]
    dummy = [torch.zeros_like(e).requires_grad_() for e in eta]
    transposed = torch.autograd.grad(
        eta, parameters, dummy, create_graph=True, allow_unused=True, materialize_grads=True
    )
    Jv = torch.autograd.grad(transposed, dummy, _split(v, parameters), retain_graph=True)
    moving = [e.detach().clone().requires_grad_() for e in eta]
    slope = torch.autograd.grad(_kl([e.detach() for e in eta], moving), moving, create_graph=True)
    MJv = torch.autograd.grad(slope, moving, Jv)
    return flat(torch.autograd.grad(eta, parameters, MJv, materialize_grads=True)) + damping * v


def conjugate_gradient_as_while(product, b, max_iterations, tolerance):
    x, steps = torch.zeros_like(b), 0
    r = b - product(x)
    d = r
    while steps < max_iterations and torch.linalg.norm(r) > tolerance * torch.linalg.norm(b):
        q = product(d)
        step = torch.dot(r, r) / torch.dot(d, q)
        x, before = x + step * d, r
        r = r - step * q
        d = r + torch.dot(r, r) / torch.dot(before, before) * d
        steps += 1
    return x


def conjugate_gradient_as_numpy(product, b, max_iterations, tolerance):
    x, r = np.zeros(len(b)), b.numpy().copy()
    p = r.copy()
    for _ in range(max_iterations):
        if np.sqrt(r @ r) <= tolerance * np.linalg.norm(b.numpy()):
            break
        Ap = np.asarray(product(torch.from_numpy(p)))
        alpha = (r @ p) / (p @ Ap)
        x = x + alpha * p
        r = r - alpha * Ap
        p = r - (r @ Ap) / (p @ Ap) * p  # conjugate to the last direction, by definition
    return torch.from_numpy(x)


def conjugate_gradient_as_orthogonalisation(product, b, max_iterations, tolerance):
    x, directions = torch.zeros_like(b), []
    r = b.clone()
    while len(directions) < max_iterations and r.norm() > tolerance * b.norm():
        d = r.clone()
        for p, Ap in directions:
            d = d - (r @ Ap) / (p @ Ap) * p
        directions.append((d, product(d)))
        x = x + (d @ r) / (d @ directions[-1][1]) * d
        r = b - product(x)
    return x


def conjugate_gradient_as_scipy(product, b, max_iterations, tolerance):
    A = scipy.sparse.linalg.LinearOperator(
        (len(b), len(b)), lambda v: product(torch.from_numpy(v)).numpy(), dtype=np.float64
    )
    x, _ = scipy.sparse.linalg.cg(A, b.numpy(), rtol=tolerance, maxiter=max_iterations)
    return x


def full_step_as_math(product, g, x, damping, max_kl):
    return x * math.sqrt(max_kl / (0.5 * torch.dot(x, product(x, damping)).item()))


def full_step_as_numpy(product, g, x, damping, max_kl):
    form = float(np.dot(x.numpy(), product(x, damping).numpy()))
    return np.sqrt(2 * max_kl) / np.sqrt(form) * x.numpy()


def full_step_as_lagrange(product, g, x, damping, max_kl):
    multiplier = torch.sqrt(x @ (product(x, 0.0) + damping * x) / (2 * max_kl))
    return x / multiplier


def full_step_as_unit_vector(product, g, x, damping, max_kl):
    unit = x / x.norm()
    return (2 * max_kl / torch.einsum("p,p->", unit, product(unit, damping))) ** 0.5 * unit


def _take(policy, theta):
    start = 0
    for p in policy.parameters():
        p.data = theta[start : start + p.numel()].view_as(p).clone()
        start += p.numel()


def line_search_as_state_dict(
    policy, batch, surrogate, full_step, max_kl, backtrack_ratio, max_backtracks
):
    kept = copy.deepcopy(policy.state_dict())
    old_policy = copy.deepcopy(policy)
    before, step = float(surrogate()), full_step.clone()
    theta_old = flat([p.detach() for p in policy.parameters()])
    for _ in range(1 + max_backtracks):
        _take(policy, theta_old + step)
        with torch.no_grad():
            kl = kl_divergence(old_policy(batch.observations), policy(batch.observations))
        if float(surrogate()) > before and kl.sum(1).mean().item() <= max_kl:
            return True
        step = step * backtrack_ratio
    policy.load_state_dict(kept)
    return False


def line_search_as_formula(
    policy, batch, surrogate, full_step, max_kl, backtrack_ratio, max_backtracks
):
    kept = [p.detach().clone() for p in policy.parameters()]
    old, before = policy(batch.observations), surrogate().item()
    mean, std = old.loc.detach().numpy(), old.scale.detach().numpy()
    k = 0
    while k <= max_backtracks:
        _take(policy, flat(kept) + full_step * math.pow(backtrack_ratio, k))
        new = policy(batch.observations)
        m, s = new.loc.detach().numpy(), new.scale.detach().numpy()
        with np.errstate(all="ignore"):
            kl = np.log(s / std) + (std**2 + (mean - m) ** 2) / (2 * s**2) - 0.5
        fits = kl.sum(-1).mean() <= max_kl
        if np.isfinite(kl).all() and fits and surrogate().item() > before:
            return np.bool_(True)
        k += 1
    for p, old_value in zip(policy.parameters(), kept, strict=True):
        p.data.copy_(old_value)
    return np.bool_(False)


def line_search_as_recursion(
    policy, batch, surrogate, full_step, max_kl, backtrack_ratio, max_backtracks
):
    theta_old = [p.detach().clone() for p in policy.parameters()]
    with torch.no_grad():
        old, before = policy(batch.observations), surrogate()

    def attempt(k, scale):
        if k > max_backtracks:
            with torch.no_grad():
                for p, value in zip(policy.parameters(), theta_old, strict=True):
                    p.copy_(value)
            return False
        with torch.no_grad():
            for p, value, piece in zip(
                policy.parameters(), theta_old, _split(full_step, theta_old), strict=True
            ):
                p.copy_(value + scale * piece)
            kl = kl_divergence(old, policy(batch.observations)).sum(-1).mean()
            good = (kl <= max_kl) & (surrogate() > before)
        return good or attempt(k + 1, scale * backtrack_ratio)

    return attempt(0, 1.0)
