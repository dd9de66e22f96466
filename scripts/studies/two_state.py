"""C10, the loop itself: a policy that determines its own data, with exact values and no sampling.

Kakade (2001), figure 2: in each of two states, stay or switch; staying pays 1 in state 0 and 2 in
state 1. The best policy switches to state 1 and stays. But while it does not yet stay in state 1,
state 0 pays better, so the first gradients say: stay. π(stay | s) = σ(θ_s), and the policy
gradient is

    ∂J/∂θ_s = d_s σ'(θ_s) A_s,   A_s = Q(s, stay) − Q(s, switch),

d the discounted visits. A step that overshoots takes σ'(θ₀) to nothing, and with it every later
gradient in state 0, whatever A₀ has become. The natural gradient divides by F_s = d_s σ'(θ_s) and
is A itself. The criteria were written down before the runs: runs/reference/collapse/CRITERIA.md,
section 2.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit as sigmoid
from scipy.stats import fisher_exact

from trpo.scripts.comparison.collapse import told_rate
from trpo.scripts.studies.findings import Findings, Verdict, judge, panels

Array = NDArray[np.float64]
GAMMA, START, PAY = 0.95, np.array([0.8, 0.2]), np.array([1.0, 2.0])
BEST = START @ [GAMMA * PAY[1], PAY[1]]  # of the policy that switches in state 0, stays in state 1
STARTS, UPDATES, SOON = 10, 1000, 20
CAUGHT, LEFT = 0.99, 0.9 * BEST  # P(stay | 0) above, return from
RATIO, BACKTRACKS = 0.8, 10  # of the line search, as in training
STEP_SIZES = {
    "plain gradient": [10 ** (power / 2) for power in range(-2, 7)],
    "natural gradient": [0.006, 0.02, 0.06, 0.2, 0.6],
    "TRPO": [0.006, 0.02, 0.06, 0.2, 0.6],
    "Adam": [10 ** (power / 2) for power in range(-4, 3)],
}
SETS = ("any start", "starts whose first gradient says stay")
RESCUE = "TRPO after the plain gradient"


class Values(NamedTuple):
    """What policies are worth, exactly.

    Args:
        visits: (…, 2), d.
        advantage: (…, 2), A_s of staying relative to switching.
        value: (…,), J, mean reward per discounted step.
    """

    visits: Array
    advantage: Array
    value: Array


def values(theta: Array) -> Values:
    """Evaluate policies.

    Args:
        theta: (…, 2), logits of staying.

    Returns:
        d = (1 − γ) ρᵀ(I − γP)⁻¹, A and J = d · r.
    """
    stay, switch = sigmoid(theta), sigmoid(-theta)
    # I − γP = [[a, −b], [−c, e]]; its inverse is [[e, b], [c, a]] / (ae − bc)
    (a, e), (b, c) = np.moveaxis(1 - GAMMA * stay, -1, 0), np.moveaxis(GAMMA * switch, -1, 0)
    inverse = np.stack([np.stack([e, b], -1), np.stack([c, a], -1)], -2)
    inverse /= (a * e - b * c)[..., None, None]
    V = np.einsum("...ij,...j->...i", inverse, stay * PAY)
    visits = (1 - GAMMA) * np.einsum("i,...ij->...j", START, inverse)
    advantage = PAY + GAMMA * (V - V[..., ::-1])
    return Values(visits, advantage, (visits * stay * PAY).sum(-1))


def mean_kl(old: Array, new: Array, visits: Array) -> Array:
    """Return Σ_s d_s KL(π_old(·|s) ‖ π_new(·|s)).

    Args:
        old: (…, 2), logits.
        new: (…, 2), logits.
        visits: (…, 2), of the old policies.

    Returns:
        (…,), nats.
    """
    kl = sigmoid(old) * (np.logaddexp(0, -new) - np.logaddexp(0, -old))
    kl += sigmoid(-old) * (np.logaddexp(0, new) - np.logaddexp(0, old))
    return (visits * kl).sum(-1)


def natural_step(theta: Array, now: Values, delta: Array, check: bool) -> Array:
    """Step along F⁻¹g = A as far as KL's quadratic model allows; with `check`, as far as KL does.

    Args:
        theta: (…, 2).
        now: their values.
        delta: δ, nats, broadcast against (…,).
        check: whether a line search asks the measured KL to be ≤ δ and the surrogate to improve.

    Returns:
        (…, 2), the new logits; where no step passed, the old ones.
    """
    stay, x = sigmoid(theta), now.advantage
    fisher = now.visits * stay * sigmoid(-theta)
    with np.errstate(divide="ignore"):  # a deterministic policy has no curvature
        full = x * np.sqrt(2 * delta / (x * x * fisher).sum(-1))[..., None]
    if not check:
        return theta + full
    new, waiting = theta.copy(), np.ones(theta.shape[:-1], dtype=bool)
    for tries in range(BACKTRACKS + 1):
        trial = theta + RATIO**tries * full
        gain = (now.visits * (sigmoid(trial) - stay) * x).sum(-1)
        with np.errstate(invalid="ignore"):  # its steps are infinite, and none is accepted
            good = waiting & (mean_kl(theta, trial, now.visits) <= delta) & (gain > 0)
        new[good] = trial[good]
        waiting &= ~good
        if not waiting.any():
            break
    return new


def train(rule: str, step_sizes: Array, theta: Array) -> Array:
    """Train policies for `UPDATES` updates.

    Args:
        rule: of `STEP_SIZES`.
        step_sizes: (K,), learning rates, or δ in nats.
        theta: (S, 2), where they start.

    Returns:
        (`UPDATES` + 1, K, S, 2).
    """
    theta = np.tile(theta, (len(step_sizes), 1, 1))  # (K, S, 2)
    parameters = [torch.from_numpy(part) for part in theta]  # the same memory
    adam = torch.optim.Adam(
        [{"params": [p], "lr": lr} for p, lr in zip(parameters, step_sizes, strict=True)],
        maximize=True,
    )
    path = [theta.copy()]
    for _ in range(UPDATES):
        now = values(theta)
        if rule in {"TRPO", "natural gradient"}:
            theta[:] = natural_step(theta, now, step_sizes[:, None], check=rule == "TRPO")
        else:
            g = now.visits * sigmoid(theta) * sigmoid(-theta) * now.advantage
            if rule == "Adam":
                for parameter, piece in zip(parameters, g, strict=True):
                    parameter.grad = torch.from_numpy(piece)
                adam.step()
            else:
                theta += step_sizes[:, None, None] * g
        path.append(theta.copy())
    return np.stack(path)


def starts(name: str) -> Array:
    """Return the initial policies.

    Args:
        name: of `SETS`.

    Returns:
        (`STARTS`, 2), logits of probabilities between 0.2 and 0.8.
    """
    first_says_stay = name == SETS[1]
    generator = torch.Generator().manual_seed(int(first_says_stay))
    size = (100 * STARTS if first_says_stay else STARTS, 2)
    p = 0.2 + 0.6 * torch.rand(size, generator=generator, dtype=torch.float64)
    theta: Array = torch.logit(p).numpy()
    return theta[values(theta).advantage[:, 0] > 0][:STARTS] if first_says_stay else theta


def study() -> Findings:
    """Train by every rule at every step size from every start.

    Returns:
        What was found.
    """
    rows, curves = [], {}
    for name in SETS:
        for rule, step_sizes in STEP_SIZES.items():
            path = train(rule, np.array(step_sizes), starts(name))
            rows += _rows(name, rule, step_sizes, path)
            curves[name, rule] = sigmoid(path[..., 0])
            if rule == "plain gradient":
                rescued = train("TRPO", np.array([0.02]), path[-1, -1])
                rows += _rows(name, RESCUE, [0.02], rescued)
    shown = [_told(rows, *key) for key in dict.fromkeys(_key(row) for row in rows)]
    return Findings(rows, shown, [_verdict(rows, name) for name in SETS], _draw(rows, curves))


def _rows(name: str, rule: str, step_sizes: list[float], path: Array) -> list[dict[str, Any]]:
    # one row per run of `train`
    value, p_stay = values(path).value, sigmoid(path[..., 0])  # (U + 1, K, S)
    first = mean_kl(path[0], path[1], values(path[0]).visits)  # (K, S)
    rows = []
    for k, step_size in enumerate(step_sizes):
        for seed in range(STARTS):
            low = np.flatnonzero(value[:, k, seed] < LEFT)
            left_after = (low[-1] + 1 if len(low) else 0) if value[-1, k, seed] >= LEFT else -1
            rows.append({
                "starts": name,
                "rule": rule,
                "step_size": step_size,
                "seed": seed,
                "first_kl": float(first[k, seed]),
                "p_stay": float(p_stay[-1, k, seed]),
                "value": float(value[-1, k, seed]),
                "caught": int(p_stay[-1, k, seed] > CAUGHT and value[-1, k, seed] < LEFT),
                "left_after": int(left_after),  # updates; −1: never
            })
    return rows


def _key(row: dict[str, Any]) -> tuple[str, str, float]:
    return row["starts"], row["rule"], row["step_size"]


def _told(rows: list[dict[str, Any]], *key: Any) -> dict[str, str]:
    part = [row for row in rows if _key(row) == key]
    left = [row["left_after"] for row in part if row["left_after"] >= 0]
    return {
        "starts": key[0],
        "rule": key[1],
        "step size": f"{key[2]:.3g}",
        "KL of the first update": f"{np.median([row['first_kl'] for row in part]):.2g}",
        "caught": f"{sum(row['caught'] for row in part)} of {len(part)}",
        "left": f"{len(left)} of {len(part)}",
        "after, updates": f"{min(left)} to {max(left)}" if left else "",
    }


def _verdict(rows: list[dict[str, Any]], name: str) -> Verdict:
    def of(rule: str) -> dict[float, list[dict[str, Any]]]:
        sizes = dict.fromkeys(row["step_size"] for row in rows if row["rule"] == rule)
        return {size: [row for row in rows if _key(row) == (name, rule, size)] for size in sizes}

    def caught(rule: str) -> dict[float, int]:
        return {size: sum(row["caught"] for row in part) for size, part in of(rule).items()}

    plain, adam, trpo = caught("plain gradient"), caught("Adam"), caught("TRPO")
    worst, worst_trpo = max(plain.values()), max(trpo.values())
    at = next(size for size, count in plain.items() if count == worst)
    p = fisher_exact([[worst, STARTS - worst], [worst_trpo, STARTS - worst_trpo]])[1]
    slowest = {size: max(row["left_after"] for row in part) for size, part in of("TRPO").items()}
    soon = all(0 <= row["left_after"] <= SOON for part in of("TRPO").values() for row in part)
    rescued = sum(row["left_after"] >= 0 for row in of(RESCUE)[0.02])
    return Verdict(
        "C10",
        "in an on-policy loop one too large step is never undone, and care in KL avoids it: "
        + name,
        "(a) a learning rate at which the plain gradient is caught from all starts after "
        f"{UPDATES} updates; (b) TRPO has left, and stays left, within {SOON} updates from all "
        "starts at every δ ≤ 0.6",
        f"plain gradient at {at:.3g}: caught {worst} of {STARTS}; TRPO: caught "
        f"{sum(trpo.values())} of {STARTS * len(trpo)}, left after at most "
        + ", ".join(f"{n} updates at δ = {d:g}" for d, n in slowest.items())
        + "; Adam: caught "
        + ", ".join(f"{n} of {STARTS} at {s:.2g}" for s, n in adam.items())
        + f"; TRPO from where the plain gradient ended at {max(plain):g}: left from {rescued} of "
        f"{STARTS}",
        judge(worst == STARTS, soon),
        f"n = {STARTS} starts; caught, with Wilson's 95 % interval: plain gradient "
        f"{told_rate(worst, STARTS)}, TRPO at its worst δ {told_rate(worst_trpo, STARTS)}; "
        f"Fisher's exact test, two-sided: p = {p:.1g}",
    )


def _draw(rows: list[dict[str, Any]], curves: dict[tuple[str, str], Array]) -> Any:
    # the rate at which each rule is trapped, over the KL of its first update; and paths of P(stay |
    # 0)
    figure, (left, right) = panels(2)
    name = SETS[1]
    for number, (rule, step_sizes) in enumerate(STEP_SIZES.items()):
        parts = [[row for row in rows if _key(row) == (name, rule, size)] for size in step_sizes]
        left.plot(
            [np.median([row["first_kl"] for row in part]) for part in parts],
            [sum(row["caught"] for row in part) for part in parts],
            "osD^"[number] + "-",
            color=f"C{number}",
            label=rule,
            alpha=0.8,
        )
    left.set(
        xscale="log",
        xlabel="KL(old ‖ new) of the first update, nats, median over starts",
        ylabel=f"caught in state 0 after {UPDATES} updates, of {STARTS} starts",
    )
    for rule, color, sizes in (
        ("plain gradient", "C0", (10.0, 1000.0)),
        ("TRPO", "C2", (0.02, 0.6)),
        ("Adam", "C3", (0.1, 10.0)),
    ):
        for size, style in zip(sizes, ("-", "--"), strict=True):
            place = int(np.argmin(np.abs(np.array(STEP_SIZES[rule]) - size)))
            stay = np.median(curves[name, rule][:, place], axis=1)
            label = f"{rule}, {size:g}"
            width = 4 if label == "plain gradient, 1000" else 1.5  # it lies under Adam's
            right.plot(range(1, UPDATES + 2), stay, style, color=color, label=label, lw=width)
    right.set(xscale="log", xlabel="update, from 1", ylabel="P(stay | state 0), median over starts")
    for panel in (left, right):
        panel.set_title(name, fontsize="medium")
        panel.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure
