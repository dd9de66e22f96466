"""C10, the loop itself: a policy that decides what it will see, with exact values and no sampling.

Kakade (2001), figure 2: in each of two states, stay or switch; staying pays 1 in state 0 and 2 in state
1. The best policy switches to state 1 and stays. But while it does not yet stay in state 1, state 0
pays better, so the first gradients say: stay. π(stay | s) = σ(θ_s), and the policy gradient is

    ∂J/∂θ_s = d_s σ'(θ_s) A_s,   A_s = Q(s, stay) − Q(s, switch),

d the discounted visits. A step that overshoots takes σ'(θ₀) to nothing, and with it every later
gradient in state 0, whatever A₀ has become. The natural gradient divides by F_s = d_s σ'(θ_s) and is A
itself. What has to come out was written down before: runs/reference/collapse/CRITERIA.md, section 2.
"""

from typing import Any, NamedTuple

import torch
from scipy.stats import fisher_exact
from torch import Tensor
from torch.nn.functional import logsigmoid

from trpo.scripts.studies.findings import Findings, Verdict, judge, panels

GAMMA, START = 0.95, (0.8, 0.2)
BEST = 0.8 * 2 * GAMMA + 0.2 * 2  # of the policy that switches in state 0 and stays in state 1
STARTS, UPDATES, SOON = 10, 1000, 20
CAUGHT, LEFT = 0.99, 0.9 * BEST  # P(stay | 0) above, return from
RATIO, BACKTRACKS = 0.8, 10  # of the line search, as in training
STEP_SIZES = {
    "plain gradient": [10 ** (power / 2) for power in range(-2, 7)],
    "natural gradient": [0.006, 0.02, 0.06, 0.2, 0.6],
    "TRPO": [0.006, 0.02, 0.06, 0.2, 0.6],
    "Adam": [10 ** (power / 2) for power in range(-4, 3)],
}


class Values(NamedTuple):
    """What a policy is worth, exactly; S policies at a time.

    Args:
        visits: (S, 2), d.
        advantage: (S, 2), A_s of staying over switching.
        value: (S,), J, mean reward a discounted step.
    """

    visits: Tensor
    advantage: Tensor
    value: Tensor


def values(theta: Tensor) -> Values:
    """Evaluate policies.

    Args:
        theta: (S, 2), logits of staying.

    Returns:
        d = (1 − γ) ρᵀ(I − γP)⁻¹, A and J = d · r.
    """
    stay, switch = torch.sigmoid(theta), torch.sigmoid(-theta)
    P = torch.stack(  # (S, 2, 2): from, to
        [
            torch.stack([stay[:, 0], switch[:, 0]], -1),
            torch.stack([switch[:, 1], stay[:, 1]], -1),
        ],
        1,
    )
    pay = torch.tensor([1.0, 2.0], dtype=theta.dtype)
    A = torch.eye(2, dtype=theta.dtype) - GAMMA * P
    V = torch.linalg.solve(A, stay * pay)
    start = torch.tensor(START, dtype=theta.dtype).expand_as(theta)
    visits = (1 - GAMMA) * torch.linalg.solve(A.mT, start)
    advantage = pay + GAMMA * V - GAMMA * V.flip(-1)
    return Values(visits, advantage, (visits * stay * pay).sum(-1))


def mean_kl(old: Tensor, new: Tensor, visits: Tensor) -> Tensor:
    """Return Σ_s d_s KL(π_old(·|s) ‖ π_new(·|s)).

    Args:
        old: (S, 2), logits.
        new: (S, 2), logits.
        visits: (S, 2), of the old policies.

    Returns:
        (S,), nats.
    """
    kl = torch.sigmoid(old) * (logsigmoid(old) - logsigmoid(new))
    kl = kl + torch.sigmoid(-old) * (logsigmoid(-old) - logsigmoid(-new))
    return (visits * kl).sum(-1)


def natural_step(theta: Tensor, now: Values, delta: float, check: bool) -> Tensor:
    """Step along F⁻¹g = A as far as KL's quadratic model allows; with `check`, as far as KL itself does.

    Args:
        theta: (S, 2).
        now: their values.
        delta: δ, nats.
        check: whether a line search asks the measured KL to be ≤ δ and the surrogate to improve.

    Returns:
        (S, 2), the new logits; where no step passed, the old ones.
    """
    stay, x = torch.sigmoid(theta), now.advantage
    fisher = now.visits * stay * torch.sigmoid(-theta)
    full = x * (2 * delta / (x * x * fisher).sum(-1, keepdim=True)).sqrt()
    if not check:
        return theta + full
    new, passed = theta.clone(), torch.zeros(len(theta), dtype=torch.bool)
    for tries in range(BACKTRACKS + 1):
        trial = theta + RATIO**tries * full
        gain = (now.visits * (torch.sigmoid(trial) - stay) * now.advantage).sum(-1)
        good = (mean_kl(theta, trial, now.visits) <= delta) & (gain > 0) & ~passed
        new[good] = trial[good]
        passed |= good
    return new


def train(rule: str, step_size: float, theta: Tensor) -> list[Tensor]:
    """Train policies for `UPDATES` updates.

    Args:
        rule: of `STEP_SIZES`.
        step_size: the learning rate, or δ in nats.
        theta: (S, 2), where they start.

    Returns:
        `UPDATES` + 1 tensors (S, 2).
    """
    theta = theta.clone()
    adam = torch.optim.Adam([theta], step_size, maximize=True)
    path = [theta.clone()]
    for _ in range(UPDATES):
        now = values(theta)
        if rule in {"TRPO", "natural gradient"}:
            theta.copy_(natural_step(theta, now, step_size, check=rule == "TRPO"))
        else:
            g = now.visits * torch.sigmoid(theta) * torch.sigmoid(-theta) * now.advantage
            if rule == "Adam":
                theta.grad = g
                adam.step()
            else:
                theta += step_size * g
        path.append(theta.clone())
    return path


def starts() -> Tensor:
    """Return the initial policies.

    Returns:
        (`STARTS`, 2), logits of probabilities between 0.2 and 0.8.
    """
    generator = torch.Generator().manual_seed(0)
    p = 0.2 + 0.6 * torch.rand(STARTS, 2, generator=generator, dtype=torch.float64)
    return torch.logit(p)


def study() -> Findings:
    """Train by every rule at every step size from every start.

    Returns:
        What was found.
    """
    rows, curves = [], {}
    for rule, step_sizes in STEP_SIZES.items():
        for step_size in step_sizes:
            path = train(rule, step_size, starts())
            returns = torch.stack([values(theta).value for theta in path])  # (U + 1, S)
            stay = torch.stack([torch.sigmoid(theta[:, 0]) for theta in path])
            first = mean_kl(path[0], path[1], values(path[0]).visits)
            for seed in range(STARTS):
                low = (returns[:, seed] < LEFT).nonzero()
                rows.append({
                    "rule": rule,
                    "step_size": step_size,
                    "seed": seed,
                    "first_kl": first[seed].item(),
                    "p_stay": stay[-1, seed].item(),
                    "value": returns[-1, seed].item(),
                    "caught": int(stay[-1, seed] > CAUGHT and returns[-1, seed] < LEFT),
                    # the first update after which the return stays near the best's
                    "left_after": int(low[-1]) + 1 if len(low) else 0,
                })
            curves[rule, step_size] = stay
    return Findings(rows, _shown(rows), [_verdict(rows)], _draw(rows, curves))


def _of(rows: list[dict[str, Any]], rule: str, step_size: float) -> list[dict[str, Any]]:
    return [r for r in rows if (r["rule"], r["step_size"]) == (rule, step_size)]


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    shown = []
    for rule, step_sizes in STEP_SIZES.items():
        for step_size in step_sizes:
            part = _of(rows, rule, step_size)
            left = [r["left_after"] for r in part if r["value"] >= LEFT]
            shown.append({
                "rule": rule,
                "step size": f"{step_size:.3g}",
                "KL of the first update": f"{max(r['first_kl'] for r in part):.2g}",
                "caught": f"{sum(r['caught'] for r in part)} of {len(part)}",
                "left": f"{len(left)} of {len(part)}",
                "after, updates": f"{min(left)} to {max(left)}" if left else "",
            })
    return shown


def _verdict(rows: list[dict[str, Any]]) -> Verdict:
    def caught(rule: str) -> dict[float, int]:
        return {s: sum(r["caught"] for r in _of(rows, rule, s)) for s in STEP_SIZES[rule]}

    plain, adam, trpo = caught("plain gradient"), caught("Adam"), caught("TRPO")
    worst = max(plain, key=lambda s: (plain[s], -s))
    late = {
        delta: sum(
            not (r["value"] >= LEFT and r["left_after"] <= SOON) for r in _of(rows, "TRPO", delta)
        )
        for delta in STEP_SIZES["TRPO"]
    }
    p = fisher_exact([
        [plain[worst], STARTS - plain[worst]],
        [max(trpo.values()), STARTS - max(trpo.values())],
    ])[1]
    slowest = {d: max(r["left_after"] for r in _of(rows, "TRPO", d)) for d in STEP_SIZES["TRPO"]}
    return Verdict(
        "C10",
        "in an on-policy loop one too large step is never undone; a step bounded in KL does not close it",
        f"(a) a learning rate at which the plain gradient is caught from {STARTS} of {STARTS} starts after {UPDATES} updates; "
        f"(b) TRPO has left, and stays left, within {SOON} updates from {STARTS} of {STARTS} starts at every δ ≤ 0.6",
        f"plain gradient at {worst:.3g}: caught {plain[worst]} of {STARTS}; TRPO: caught {sum(trpo.values())} of "
        f"{STARTS * len(trpo)} (Fisher's exact test of {plain[worst]} of {STARTS} against TRPO's worst δ, p = {p:.1g}), left "
        "after at most "
        + ", ".join(f"{n} updates at δ = {d:g}" for d, n in slowest.items())
        + "; Adam: caught "
        + ", ".join(f"{n} of {STARTS} at {s:.2g}" for s, n in adam.items()),
        judge(plain[worst] == STARTS, sum(late.values()) == 0),
    )


def _draw(rows: list[dict[str, Any]], curves: dict[tuple[str, float], Tensor]) -> Any:
    # how often each rule is caught, over the KL of its first update; and paths of P(stay | 0)
    figure, (left, right) = panels(2)
    for number, (rule, step_sizes) in enumerate(STEP_SIZES.items()):
        parts = [_of(rows, rule, step_size) for step_size in step_sizes]
        left.plot(
            [max(sum(r["first_kl"] for r in part) / len(part), 1e-8) for part in parts],
            [sum(r["caught"] for r in part) for part in parts],
            "osD^"[number] + "-",
            color=f"C{number}",
            label=rule,
            alpha=0.8,
        )
    left.set(
        xscale="log",
        xlabel="KL(old ‖ new) of the first update, nats, mean over starts",
        ylabel=f"caught in state 0 after {UPDATES} updates, of {STARTS} starts",
    )
    for rule, step_size, color, style in (
        ("plain gradient", 10.0, "C0", "-"),
        ("plain gradient", 1000.0, "C0", "--"),
        ("TRPO", 0.02, "C2", "-"),
        ("TRPO", 0.6, "C2", "--"),
        ("Adam", 10**-1.0, "C3", "-"),
        ("Adam", 10.0, "C3", "--"),
    ):
        stay = curves[rule, min(STEP_SIZES[rule], key=lambda s: abs(s - step_size))]
        right.plot(
            range(1, len(stay) + 1),
            stay.median(1).values,
            style,
            color=color,
            label=f"{rule}, {step_size:g}",
        )
    right.set(
        xscale="log",
        xlabel="update, from 1",
        ylabel="P(stay | state 0), median over starts",
    )
    for panel in (left, right):
        panel.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure
