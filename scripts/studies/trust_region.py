"""C1, C4: the trust region itself, drawn: a policy of two parameters on CartPole-v1.

π_θ(right|s) = σ(θ₁ φ₁ + θ₂ φ₂), φ the pole's angle and angular velocity. With P = 2, the KL of
every candidate θ can be measured and drawn: the region {θ: E_s[KL(π_old ‖ π_θ)] ≤ δ}, and the
ellipse {θ: ½ (θ − θ_old)ᵀF(θ − θ_old) ≤ δ} with which TRPO approximates it. The step goes along x =
F⁻¹g, not along g, to the ellipse's edge, and back from there until KL and L, both measured, agree.

The runs use `trust_region_step`, undamped; V is fitted by least squares on quadratic features.
Measured at every update: KL over a circle of fixed radius around θ_old, which C1 says is no fixed
change; and KL at the ellipse's edge as δ shrinks, which C4 says becomes δ.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.distributions import Bernoulli, Distribution

from trpo.agents.rollouts.advantages import generalized_advantages
from trpo.model import Model, surrogate_gradient
from trpo.report import StepReport
from trpo.scripts.studies.findings import SEEDS, Findings, Verdict, judge, panels, span
from trpo.trust_region import TrustRegionConfig, trust_region_step

UPDATES, STEPS = 10, 1200  # updates of a run, and steps of a batch
CONFIG = TrustRegionConfig(max_kl=0.05, damping=0.0, backtrack_ratio=0.7)
GAMMA, LAMBDA = 0.98, 0.95
SCALE = torch.tensor([0.1, 1.0], dtype=torch.float64)  # rad, rad/s: φ is about 1 as the pole falls
RADIUS = 0.1  # radius of the circle for C1
SMALL = 1e-6  # δ at which C4 is judged
REGION, ELLIPSE, GRADIENT, NATURAL = "#1b6ca8", "#e07b39", "#8a8a8a", "#b3202c"


@dataclass(frozen=True)
class Batch:
    """T samples: features (T, 2), actions, advantages and old log-probabilities, each (T,)."""

    features: Tensor
    actions: Tensor
    advantages: Tensor
    log_probs: Tensor


@dataclass(frozen=True)
class Update:
    """One update of a run.

    Args:
        theta: (2,), θ_old.
        batch: of π_old.
        g: (2,), ∇L.
        x: (2,), F⁻¹g.
        fisher: (2, 2).
        theta_after: (2,).
        report: of the step.
        mean_return: of the episodes that ended in the batch.
    """

    theta: Tensor
    batch: Batch
    g: Tensor
    x: Tensor
    fisher: Tensor
    theta_after: Tensor
    report: StepReport
    mean_return: float

    @property
    def full_step(self) -> Tensor:
        """To the ellipse's edge, along x."""
        return edge(self.fisher, self.x, CONFIG.max_kl)

    def kl(self, theta: Tensor) -> Tensor:
        """E_s[KL(π_old ‖ π_θ)] at each of n candidates.

        Args:
            theta: (n, 2).

        Returns:
            (n,), nats.
        """
        old = self.batch.features @ self.theta  # (T,)
        new = self.batch.features @ theta.T  # (T, n)
        p = torch.sigmoid(old)[:, None]
        softplus = torch.nn.functional.softplus
        return (p * (old[:, None] - new) + softplus(new) - softplus(old)[:, None]).mean(0)

    def surrogate(self, theta: Tensor) -> Tensor:
        """L at each of n candidates.

        Args:
            theta: (n, 2).

        Returns:
            (n,).
        """
        logits = self.batch.features @ theta.T  # (T, n)
        log_probs = Bernoulli(logits=logits).log_prob(self.batch.actions[:, None].expand_as(logits))
        ratio = torch.exp(log_probs - self.batch.log_probs[:, None])
        return (ratio * self.batch.advantages[:, None]).mean(0)

    def quadratic(self, theta: Tensor) -> Tensor:
        """½ (θ − θ_old)ᵀF(θ − θ_old) at each of n candidates.

        Args:
            theta: (n, 2).

        Returns:
            (n,), nats.
        """
        step = theta - self.theta
        return ((step @ self.fisher) * step).sum(1) / 2


def edge(fisher: Tensor, direction: Tensor, max_kl: float) -> Tensor:
    """Return the step along a direction at which ½ sᵀFs = δ.

    Args:
        fisher: (2, 2).
        direction: (2,).
        max_kl: δ.

    Returns:
        (2,).
    """
    return torch.sqrt(2 * max_kl / (direction @ fisher @ direction)) * direction


def study() -> Findings:
    """Run TRPO on two parameters, and measure KL around every θ_old.

    Returns:
        What was found.
    """
    runs = {seed: run(seed) for seed in SEEDS}
    rows = [
        _row(seed, number, update)
        for seed, updates in runs.items()
        for number, update in enumerate(updates, 1)
    ]
    of_seed = {seed: [row for row in rows if row["seed"] == seed] for seed in SEEDS}
    spans = [
        max(r["circle_kl_max"] for r in mine) / min(r["circle_kl_min"] for r in mine)
        for mine in of_seed.values()
    ]
    small = [max(abs(r["kl_ratio_small"] - 1) for r in mine) for mine in of_seed.values()]
    large = [max(abs(r["kl_ratio"] - 1) for r in mine) for mine in of_seed.values()]
    shown = [
        {
            "update": str(number),
            "return": span([mine[number - 1]["mean_return"] for mine in of_seed.values()]),
            "angle g to x, °": span([mine[number - 1]["angle"] for mine in of_seed.values()]),
            "KL ÷ δ at the full step": span([m[number - 1]["kl_ratio"] for m in of_seed.values()]),
            "KL ÷ δ, accepted": span([
                m[number - 1]["mean_kl"] / CONFIG.max_kl for m in of_seed.values()
            ]),
        }
        for number in range(1, UPDATES + 1)
    ]
    verdicts = [
        Verdict(
            "C1",
            "a fixed step in parameters is no fixed change of the distribution",
            f"KL over circles of radius {RADIUS:g} around a run's θ spans ≥ 10 × in every seed",
            f"it spans {span(spans)} ×",
            judge(min(spans) >= 10),
        ),
        Verdict(
            "C4",
            "F is the curvature of KL",
            f"KL at the ellipse's edge is within 1 % of δ = {SMALL:g} at every update",
            f"it is off by at most {span([100 * s for s in small], '%')}; for δ = "
            f"{CONFIG.max_kl:g}, "
            f"by {span([100 * s for s in large], '%')}, which the line search is there for",
            judge(max(small) <= 0.01),
        ),
    ]
    return Findings(rows, shown, verdicts, draw(runs[0]), animate(runs[0]))


def run(seed: int) -> list[Update]:
    """Train by TRPO from θ = 0.

    Args:
        seed: of the environment and the actions.

    Returns:
        Its updates.
    """
    env, generator = gym.make("CartPole-v1"), torch.Generator().manual_seed(seed)
    env.reset(seed=seed)
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    value_weights = torch.zeros(11, dtype=torch.float64)
    updates = []
    for _ in range(UPDATES):
        batch, value_weights, mean_return = _collect(env, theta.detach(), value_weights, generator)
        updates.append(_step(theta, batch, mean_return))
    return updates


def _collect(
    env: gym.Env, theta: Tensor, value_weights: Tensor, generator: torch.Generator
) -> tuple[Batch, Tensor, float]:
    """Return a batch with its advantages, V fitted anew, and the mean return."""
    state, states, actions, ends, returns = env.reset()[0], [], [], [], [0.0]
    following = []
    for _ in range(STEPS):
        states.append(torch.as_tensor(state, dtype=torch.float64))
        right = torch.sigmoid(states[-1][2:] / SCALE @ theta).item()
        draw_of_action = torch.rand(1, generator=generator, dtype=torch.float64).item()
        actions.append(int(draw_of_action < right))
        state, reward, terminated, truncated, _ = env.step(actions[-1])
        following.append(torch.as_tensor(state, dtype=torch.float64))
        ends.append((terminated, truncated))
        returns[-1] += float(reward)
        if terminated or truncated:
            state = env.reset()[0]
            returns.append(0.0)
    X, X_next = (
        _quadratic_features(torch.stack(states)),
        _quadratic_features(torch.stack(following)),
    )
    terminated, truncated = torch.tensor(ends).T
    values, next_values = X @ value_weights, X_next @ value_weights
    advantages = _advantages(values, next_values, terminated, truncated)
    ridge = 0.1 * torch.eye(X.shape[1], dtype=X.dtype)
    targets = torch.cat([advantages + values, torch.zeros(len(ridge), dtype=X.dtype)])
    fitted = torch.linalg.lstsq(torch.cat([X, ridge]), targets[:, None]).solution[:, 0]
    features = torch.stack(states)[:, 2:] / SCALE
    taken = torch.tensor(actions, dtype=torch.float64)
    batch = Batch(
        features,
        taken,
        (advantages - advantages.mean()) / advantages.std(),
        Bernoulli(logits=features @ theta).log_prob(taken),
    )
    return batch, fitted, float(np.mean(returns[:-1] or returns))


def _quadratic_features(states: Tensor) -> Tensor:
    """Return 1, s, s² and two products, (T, 11)."""
    mixed = torch.stack([states[:, 1] * states[:, 3], states[:, 2] * states[:, 3]], 1)
    return torch.cat([torch.ones_like(states[:, :1]), states, states**2, mixed], 1)


def _advantages(
    values: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor
) -> Tensor:
    """Return GAE of consecutive steps without reset steps: δ first, then its sum."""
    delta = 1.0 + GAMMA * next_values * ~terminated - values
    no_future = torch.zeros(len(delta) + 1, 1, dtype=delta.dtype)
    ends = (terminated | truncated)[:, None]
    return generalized_advantages(
        delta[:, None], no_future, ends, torch.zeros_like(ends), GAMMA, LAMBDA
    )[:, 0]


def _step(theta: Tensor, batch: Batch, mean_return: float) -> Update:
    """Return one trust-region step, and its ingredients."""

    def family(logits: Tensor) -> Distribution:
        return Bernoulli(logits=logits, validate_args=False)

    def surrogate(pi: Distribution, batch: Batch) -> Tensor:
        return torch.exp(pi.log_prob(batch.actions) - batch.log_probs) * batch.advantages

    model: Model[Batch] = Model([theta], lambda batch: (batch.features @ theta,), family)
    theta_old = theta.detach().clone()
    _, g = surrogate_gradient(model, surrogate, [batch])
    probability = torch.sigmoid(batch.features @ theta_old)
    weights = probability * (1 - probability) / len(probability)
    report = trust_region_step(model, surrogate, [batch], CONFIG)
    fisher = batch.features.T @ (weights[:, None] * batch.features)
    x = torch.linalg.solve(fisher, g)
    return Update(theta_old, batch, g, x, fisher, theta.detach().clone(), report, mean_return)


def _row(seed: int, number: int, update: Update) -> dict[str, Any]:
    angles = torch.linspace(0, 2 * math.pi, 73, dtype=torch.float64)[:-1]
    circle = RADIUS * torch.stack([angles.cos(), angles.sin()], 1)
    around = update.kl(update.theta + circle)
    ratios = [
        update.kl((update.theta + edge(update.fisher, update.x, delta))[None]).item() / delta
        for delta in (CONFIG.max_kl, SMALL)
    ]
    cosine = (update.g @ update.x) / (update.g.norm() * update.x.norm())
    return {
        "seed": seed,
        "step": number,
        "theta_1": update.theta[0].item(),
        "theta_2": update.theta[1].item(),
        "mean_return": update.mean_return,
        "angle": math.degrees(math.acos(min(1.0, cosine.item()))),
        "circle_kl_min": around.min().item(),
        "circle_kl_max": around.max().item(),
        "kl_ratio": ratios[0],
        "kl_ratio_small": ratios[1],
        "mean_kl": update.report.mean_kl,
        "backtracks": update.report.backtracks or 0,
    }


def _grid(window: tuple[float, float, float, float], count: int = 161) -> tuple[Tensor, ...]:
    """Return both axes of a window, and all its (θ₁, θ₂), (n, 2)."""
    across = torch.linspace(window[0], window[1], count, dtype=torch.float64)
    up = torch.linspace(window[2], window[3], count, dtype=torch.float64)
    first, second = torch.meshgrid(across, up, indexing="xy")
    return across, up, torch.stack([first.reshape(-1), second.reshape(-1)], 1)


def _candidates(update: Update) -> Tensor:
    """Return the θ that the line search tried, (k, 2)."""
    tries = range((update.report.backtracks or 0) + 1)
    return torch.stack([update.theta + CONFIG.backtrack_ratio**k * update.full_step for k in tries])


def draw_region(
    axes: Axes, update: Update, window: tuple[float, float, float, float], levels: Iterable[float]
) -> None:
    """Draw L as a shade, KL and its model as contours, g and x as arrows, tries as points.

    Args:
        axes: where.
        update: to draw.
        window: of θ₁ and θ₂, least and largest.
        levels: of KL, in δ.
    """
    across, up, theta = _grid(window)
    shape = len(up), len(across)
    gain = update.surrogate(theta).view(shape)
    span = gain.abs().quantile(0.9).item()
    axes.contourf(
        across,
        up,
        gain,
        levels=np.linspace(-span, span, 21),
        cmap="PiYG",
        alpha=0.45,
        extend="both",
    )
    for level in levels:
        width = 2.4 if level == 1 else 0.9
        for values, color, style in (
            (update.kl(theta), REGION, "solid"),
            (update.quadratic(theta), ELLIPSE, "dashed"),
        ):
            axes.contour(
                across,
                up,
                values.view(shape),
                levels=[level * CONFIG.max_kl],
                colors=color,
                linestyles=style,
                linewidths=width,
            )
    start = update.theta.numpy()
    along_g = edge(update.fisher, update.g, CONFIG.max_kl).numpy()
    for step, color in ((along_g, GRADIENT), (update.full_step.numpy(), NATURAL)):
        axes.annotate(
            "",
            tuple(start + step),
            tuple(start),
            arrowprops={"arrowstyle": "->", "color": color, "lw": 2},
        )
    tried = _candidates(update).numpy()
    rejected = tried[:-1] if update.report.step_fraction else tried
    axes.plot(*rejected.T, "o", color="white", markeredgecolor=NATURAL, markersize=7)
    axes.plot(*start, "o", color="black", markersize=5)
    if update.report.step_fraction:
        axes.plot(*update.theta_after.numpy(), "o", color=NATURAL, markersize=8)
    axes.set(xlim=window[:2], ylim=window[2:], xlabel="θ₁, weight of the angle")
    axes.set_ylabel("θ₂, weight of the angular velocity")


def legend(figure: Figure, axes: Axes) -> None:
    """Name what `draw_region` draws, below all panels.

    Args:
        figure: to write to.
        axes: that it is drawn in.
    """
    axes.plot([], [], color=REGION, lw=2.4, label="KL(old ‖ new) = δ, measured")
    axes.plot([], [], color=ELLIPSE, lw=2.4, ls="--", label="its quadratic model, ½ sᵀFs = δ")
    axes.plot([], [], color=GRADIENT, lw=2, label="g, as far as the model allows")
    axes.plot([], [], color=NATURAL, lw=2, label="full step, along x: Fx = g")
    axes.plot([], [], "o", color="white", markeredgecolor=NATURAL, label="tried, refused")
    axes.plot([], [], "o", color=NATURAL, label="accepted")
    names = axes.get_legend_handles_labels()
    figure.legend(*names, fontsize="x-small", frameon=False, loc="outside lower center", ncols=3)


def draw(updates: list[Update]) -> Figure:
    """Draw the update with the most backtracking: the region, and a cut along the step.

    Args:
        updates: of a run.

    Returns:
        The figure.
    """
    number = max(range(len(updates)), key=lambda i: updates[i].report.backtracks or 0)
    update = updates[number]
    figure, (left, right) = panels(2)
    reach = 1.7 * torch.sqrt(2 * CONFIG.max_kl * torch.linalg.inv(update.fisher).diagonal()).numpy()
    (x, y), (across, up) = update.theta.numpy(), reach
    draw_region(left, update, (x - across, x + across, y - up, y + up), (0.25, 1, 2))
    left.set_title(f"update {number + 1}, δ = {CONFIG.max_kl:g}; green: L gains, pink: it loses")

    fraction = torch.linspace(0, 1.25, 126, dtype=torch.float64)
    line = update.theta + fraction[:, None] * update.full_step
    tried = _candidates(update)
    at = CONFIG.backtrack_ratio ** torch.arange(len(tried), dtype=torch.float64)
    before, unit = update.surrogate(update.theta[None]), update.g @ update.full_step

    def kl(theta: Tensor) -> Tensor:
        return update.kl(theta) / CONFIG.max_kl

    def gain(theta: Tensor) -> Tensor:
        return (update.surrogate(theta) - before) / unit

    right.axhline(1, color="black", lw=0.8)
    right.plot(fraction, kl(line), color=REGION, label="KL ÷ δ, measured")
    right.plot(fraction, fraction**2, "--", color=ELLIPSE, label="KL ÷ δ, quadratic model")
    right.plot(fraction, gain(line), color="#4d9221", label="gain of L ÷ gᵀs, measured")
    right.plot(fraction, fraction, "--", color="#7fbc41", label="gain of L ÷ gᵀs, linear model")
    for curve in (kl(tried), gain(tried)):
        right.plot(at[:-1], curve[:-1], "o", color="white", markeredgecolor=NATURAL)
        right.plot(at[-1:], curve[-1:], "o", color=NATURAL)
    right.set(
        xlabel="fraction of the full step",
        ylabel="share of what the full step should do",
        title="along the step",
    )
    right.legend(frameon=False, fontsize="x-small")
    legend(figure, left)
    return figure


def animate(updates: list[Update]) -> FuncAnimation:
    """Show a run's trust regions one after another, in one window.

    Args:
        updates: of a run.

    Returns:
        One frame per update.
    """
    figure = Figure(figsize=(5.6, 4.8), layout="constrained", dpi=80)
    axes = figure.subplots()
    legend(figure, axes)
    path = torch.stack([*(update.theta for update in updates), updates[-1].theta_after])
    low, high = path.min(0).values, path.max(0).values
    room = 0.25 * (high - low) + 0.5
    (left, bottom), (right, top) = (low - room).tolist(), (high + room).tolist()

    def frame(number: int) -> list[Any]:
        axes.clear()
        draw_region(axes, updates[number], (left, right, bottom, top), (1,))
        axes.plot(*path[: number + 1].numpy().T, color="black", lw=1, alpha=0.6)
        told_return = f"return {updates[number].mean_return:.0f}"
        axes.set_title(f"update {number + 1}, δ = {CONFIG.max_kl:g}, {told_return}", loc="left")
        return []

    return FuncAnimation(figure, frame, frames=len(updates), interval=1500)
