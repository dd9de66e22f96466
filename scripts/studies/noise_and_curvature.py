"""C9, the mechanisms: how gradient noise, momentum and Adam's accumulators relate to curvature.

At a model's optimum the covariance of a sample's gradient is F itself; on the way there it is the
empirical Fisher. So: (a) a minibatch gradient should vary most in the coordinates where diag F is
large; (b) the accumulators of RMSProp and Adam, running means of squared gradients, should order
the coordinates as diag F does; (c) momentum sums gradients, v ← μv + g: where successive ones agree
it adds up to g / (1 − μ), ten times for μ = 0.9, where they oppose each other it cancels to g / (1
+ μ), about a half, and where they are independent it is g / √(1 − μ²), 2.3 times.

The network and digits are those of the race. Directions of (c) are the eigenvectors of F.
"""

from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from trpo.agents.updates.vpg import OPTIMIZERS, OptimizerName
from trpo.fisher import fisher_vector_product
from trpo.model import Model, surrogate_gradient
from trpo.parameters import flatten
from trpo.reference import materialize
from trpo.scripts.studies.digits import Digits, choose, log_likelihood
from trpo.scripts.studies.findings import SEEDS, Findings, Verdict, judge, panels, span
from trpo.scripts.studies.optimisers import problem

LOOKS = (8, 32, 128)  # steps
SAMPLES, MINIBATCHES = 64, 100
WARM, WATCHED = 20, 60  # steps of momentum before and while gradients are watched
LEARNING_RATES: dict[OptimizerName, float] = {"rmsprop": 0.003, "adam": 0.01}
ACCUMULATORS: dict[OptimizerName, str] = {"rmsprop": "square_avg", "adam": "exp_avg_sq"}
# learning rates, and digits per step; with only the first, no gradients oppose each other
MOMENTUM = ((0.3, 600), (3.0, 600), (0.3, SAMPLES))
OPPOSING, INDEPENDENT, AGREEING = -0.5, 0.2, 0.5  # mean sign of the product of successive gradients


def study() -> Findings:
    """Measure the three.

    Returns:
        What was found.
    """
    rows: list[dict[str, Any]] = []
    directions = []
    for seed in SEEDS:
        for name in ACCUMULATORS:
            rows += _accumulator_rows(name, seed)
        watched = [_watch_momentum(*setting, seed) for setting in MOMENTUM]
        agreement, amplification = np.concatenate(watched, axis=1)
        directions.append((agreement, amplification))
        for kind, chosen in (
            ("opposing", agreement < OPPOSING),
            ("independent", np.abs(agreement) < INDEPENDENT),
            ("agreeing", agreement > AGREEING),
        ):
            place = {"seed": seed, "step": 0}
            rows.append({"quantity": f"share, {kind}", **place, "value": float(chosen.mean())})
            if chosen.any():
                median = float(np.median(amplification[chosen]))
                rows.append({"quantity": f"amplified, {kind}", **place, "value": median})

    def of(quantity: str) -> list[float]:
        return [row["value"] for row in rows if row["quantity"] == quantity]

    quantities = dict.fromkeys(row["quantity"] for row in rows)
    shown = [{"quantity": name, "over seeds and looks": span(of(name))} for name in quantities]
    noise, roots = (
        of("noise and diag F, adam"),
        {n: of(f"√v and diag F, {n}") for n in ACCUMULATORS},
    )
    opposing, agreeing = of("amplified, opposing"), of("amplified, agreeing")
    verdicts = [
        Verdict(
            "C9",
            "a gradient varies most where curvature is high",
            "Spearman's ρ of a minibatch gradient's variance with diag F ≥ 0.5 in every seed and "
            "look",
            f"ρ = {span(noise)}, n = {len(noise)} looks, {len(SEEDS)} seeds",
            judge(min(noise) >= 0.5),
        ),
        Verdict(
            "C9",
            "RMSProp's and Adam's accumulators stand in for the diagonal of F",
            "Spearman's ρ of √v with diag F ≥ 0.5 in every seed and look",
            "; ".join(f"{name}: ρ = {span(values)}" for name, values in roots.items()),
            judge(*(min(values) >= 0.5 for values in roots.values())),
        ),
        Verdict(
            "C9",
            "momentum cancels gradients that oppose each other, and adds up those that agree",
            "median ‖v‖ ÷ ‖g‖ over F's eigenvectors < 1 where successive gradients' signs oppose "
            "(mean product < −0.5), > 3 where they agree (> 0.5), in every seed",
            (f"opposing {span(opposing)}" if opposing else "no gradients oppose each other")
            + f"; independent (mean product within ±0.2) {span(of('amplified, independent'))}, in "
            f"{span(of('share, independent'))} of the directions; agreeing {span(agreeing)}, in "
            f"{span(of('share, agreeing'))}",
            judge(bool(opposing) and max(opposing) < 1, min(agreeing) > 3),
        ),
    ]
    return Findings(rows, shown, verdicts, _draw(rows, directions))


def _gradient(model: Model[Digits], digits: Digits) -> Tensor:
    return surrogate_gradient(model, log_likelihood, [digits])[1]


def _descend(model: Model[Digits], digits: Digits, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    (-log_likelihood(model.distribution(digits), digits).mean()).backward()
    optimiser.step()


def _accumulator_rows(name: OptimizerName, seed: int) -> list[dict[str, Any]]:
    # train on minibatches; at some steps, compare √v and the gradient's variance with diag F
    model, digits = problem(seed)
    optimiser = OPTIMIZERS[name](list(model.parameters), LEARNING_RATES[name])
    rows = []
    for step in range(1, max(LOOKS) + 1):
        _descend(model, choose(digits, SAMPLES, 1000 * seed + step), optimiser)
        if step in LOOKS:
            Fv = fisher_vector_product(model, [digits])
            diagonal = materialize(Fv, flatten(model.parameters).detach()).diagonal()
            state = [optimiser.state[p][ACCUMULATORS[name]] for p in model.parameters]
            values = {f"√v and diag F, {name}": flatten(state).sqrt()}
            if name == "adam":
                drawn = [
                    _gradient(model, choose(digits, SAMPLES, 10**6 + 1000 * seed + number))
                    for number in range(MINIBATCHES)
                ]
                values[f"noise and diag F, {name}"] = torch.stack(drawn).var(0)
            for quantity, each in values.items():
                moving = diagonal > 0  # pixels that are always blank have no effect
                rho = spearmanr(each[moving].numpy(), diagonal[moving].numpy()).statistic
                rows.append({"quantity": quantity, "seed": seed, "step": step, "value": float(rho)})
    return rows


def _watch_momentum(learning_rate: float, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    # agreement and amplification in each eigenvector of F with some curvature
    model, digits = problem(seed)
    optimiser = OPTIMIZERS["momentum"](list(model.parameters), learning_rate)
    for number in range(WARM):
        _descend(model, choose(digits, batch, number), optimiser)
    F = materialize(fisher_vector_product(model, [digits]), flatten(model.parameters).detach())
    spectrum, basis = torch.linalg.eigh((F + F.T).double() / 2)
    basis = basis[:, spectrum > 1e-6 * spectrum[-1]]
    gradients, velocities = [], []
    for number in range(WATCHED):
        _descend(model, choose(digits, batch, WARM + number), optimiser)
        gradients.append(flatten([p.grad for p in model.parameters if p.grad is not None]))
        state = [optimiser.state[p]["momentum_buffer"] for p in model.parameters]
        velocities.append(flatten(state).clone())
    g = (torch.stack(gradients).double() @ basis).numpy()  # (steps, directions)
    v = (torch.stack(velocities).double() @ basis).numpy()
    agreement = np.sign(g[1:] * g[:-1]).mean(axis=0)
    return agreement, np.sqrt((v**2).mean(axis=0) / (g**2).mean(axis=0))


def _draw(rows: list[dict[str, Any]], directions: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    figure, (left, right) = panels(2)
    names = [name for name in dict.fromkeys(row["quantity"] for row in rows) if "diag F" in name]
    for number, name in enumerate(names):
        mine = [row for row in rows if row["quantity"] == name]
        shift = 1.12 ** (number - 1)
        left.plot(
            [row["step"] * shift for row in mine],
            [row["value"] for row in mine],
            "o",
            alpha=0.6,
            label=name,
        )
    left.set(xscale="log", ylim=(0, 1), xlabel="steps taken", ylabel="Spearman's ρ with diag F")
    left.set_title(f"one point per seed, {len(SEEDS)} seeds", fontsize="medium")
    left.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    for agreement, amplification in directions:
        right.plot(agreement, amplification, ".", markersize=3, alpha=0.4, color="C0")
    for level, label in ((10, "1 / (1 − μ)"), (1 / 1.9, "1 / (1 + μ)")):
        right.axhline(level, color="0.5", linewidth=0.8, linestyle="--")
        right.annotate(label, (-0.4, level), (0, 3), textcoords="offset points", fontsize="small")
    right.set(
        yscale="log",
        xlabel="agreement of successive gradients (mean sign of their product)",
        ylabel="size of the velocity ÷ of the gradient",
    )
    right.set_title("momentum 0.9, a point an eigenvector of F", fontsize="medium")
    return figure
