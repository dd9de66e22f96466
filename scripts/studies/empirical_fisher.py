"""C6, the author's doubt: may the expectation under the data replace that under the model?

F = E_s E_a∼π[∇log π(a|s) ∇log π(a|s)ᵀ]; the empirical Fisher F̂ has the data's target t for a. They
agree, on average, where the targets are draws of the model: at the optimum of a well-specified
model. Elsewhere F̂ is not the curvature of KL (Kunstner, Balles & Hennig 2019): it weights a sample
by the model's error there, and vanishes with the gradient once all are fitted.

The experiment solves with both, on three problems of handwritten digits: targets drawn from the
model's own fit (well specified), the true targets for that model, which has four features to tell
ten digits by (badly specified), and a network that can fit them all. It measures the angle between
the two directions, early and late on one path, and the loss each reaches.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from trpo.conjugate_gradient import Product, conjugate_gradient
from trpo.fisher import fisher_vector_product
from trpo.model import Model, surrogate_gradient
from trpo.parameters import assign, flatten
from trpo.reference import empirical_fisher_product
from trpo.scripts.studies.digits import (
    Digits,
    categorical,
    choose,
    load_digits,
    log_likelihood,
    make_classifier,
)
from trpo.scripts.studies.findings import (
    SEEDS,
    Findings,
    Verdict,
    judge,
    median_range,
    panels,
    span,
)
from trpo.trust_region import TrustRegionConfig, trust_region_step

PROBLEMS = ("well specified", "badly specified", "network that fits all")
MATRICES = ("true Fisher", "empirical Fisher")
STEP_SIZES, STEPS = (1.0, 0.3, 0.1, 0.03), 30
# β as a fraction of the curvature gᵀAg / gᵀg along the gradient, as the matrices differ in scale
RELATIVE_DAMPING = 1e-3
PHASES = {
    "early": 1,
    "late": 40,
}  # steps of a trust region of 0.05 nats after which the angle is measured


class Problem(NamedTuple):
    """A model at its start, and its data."""

    model: Model
    digits: Digits


def study() -> Findings:
    """Compare the true Fisher and the empirical one.

    Returns:
        What was found.
    """
    rows = [
        row
        for name in PROBLEMS
        for seed in SEEDS
        for row in [*_angle_rows(name, seed), *_loss_rows(name, seed)]
    ]

    def values(problem: str, quantity: str) -> list[float]:
        return [r["value"] for r in rows if (r["problem"], r["quantity"]) == (problem, quantity)]

    columns = [
        *(f"angle {phase}, degrees" for phase in PHASES),
        *(f"loss by {matrix}, nats" for matrix in MATRICES),
    ]
    shown = [
        {"problem": problem} | {column: span(values(problem, column)) for column in columns}
        for problem in PROBLEMS
    ]
    angles = {p: [median_range(values(p, column))[0] for column in columns[:2]] for p in PROBLEMS}
    times = {
        p: [e / t for t, e in zip(*(values(p, column) for column in columns[2:]), strict=True)]
        for p in PROBLEMS
    }
    verdict = Verdict(
        "C6",
        "the author's doubt, may the data's targets stand in for the model's own, read as: they "
        "may",
        "on each of three problems: median angle of the directions ≤ 30° early and late, loss "
        "reached ≤ 1.1 × in every seed",
        "; ".join(
            f"{p}: {angles[p][0]:.0f}° early, {angles[p][1]:.0f}° late, loss {span(times[p])} ×"
            for p in PROBLEMS
        ),
        judge(*(max(angles[p]) <= 30 and max(times[p]) <= 1.1 for p in PROBLEMS)),
    )
    return Findings(rows, shown, [verdict], _draw(rows, columns))


def _make_problem(name: str, seed: int) -> Problem:
    # make one of the problems
    if name == "network that fits all":
        return Problem(make_classifier(64, (10,), seed), choose(load_digits(), 400, seed))
    digits, model = choose(load_digits(pool=4), 1000, seed), make_classifier(4, (), seed)
    if name == "badly specified":
        return Problem(model, digits)
    start = flatten(model.parameters).detach()
    for _ in range(60):
        trust_region_step(
            model, log_likelihood, [digits], TrustRegionConfig(max_kl=0.05, damping=1e-4)
        )
    with torch.no_grad():
        probabilities = categorical(*model.outputs(digits)).probs
    targets = torch.multinomial(probabilities, 1, generator=torch.Generator().manual_seed(seed))[
        :, 0
    ]
    assign(model.parameters, start)
    return Problem(model, Digits(digits.inputs, targets))


def _direction(matrix: str, problem: Problem, iterations: int) -> Tensor:
    # solve (A + βI)x = ∇L with A either matrix
    model, digits = problem
    _, g = surrogate_gradient(model, log_likelihood, [digits])
    true = matrix == "true Fisher"
    A: Product = (
        fisher_vector_product(model, [digits])
        if true
        else empirical_fisher_product(model, log_likelihood, [digits])
    )
    damping = RELATIVE_DAMPING * (g @ A(g) / (g @ g)).item()
    return conjugate_gradient(A, g, iterations, damping=damping).x


def _angle_rows(name: str, seed: int) -> list[dict[str, Any]]:
    # measure the angle between the two directions along one path
    problem = _make_problem(name, seed)
    rows = []
    for step in range(1, max(PHASES.values()) + 1):
        trust_region_step(
            problem.model,
            log_likelihood,
            [problem.digits],
            TrustRegionConfig(max_kl=0.05, damping=1e-4),
        )
        for phase in (phase for phase, when in PHASES.items() if when == step):
            one, other = (_direction(matrix, problem, 60) for matrix in MATRICES)
            angle = torch.rad2deg(torch.arccos(one @ other / one.norm() / other.norm())).item()
            rows.append({
                "problem": name,
                "quantity": f"angle {phase}, degrees",
                "seed": seed,
                "step": step,
                "value": angle,
            })
    return rows


def _loss_rows(name: str, seed: int) -> list[dict[str, Any]]:
    # measure the loss each matrix reaches in the same number of steps, at the best of the same step
    # sizes
    problem = _make_problem(name, seed)
    start = flatten(problem.model.parameters).detach()

    def loss() -> float:
        return -surrogate_gradient(problem.model, log_likelihood, [problem.digits])[0]

    def reached(matrix: str, step_size: float) -> float:
        assign(problem.model.parameters, start)
        for _ in range(STEPS):
            step = step_size * _direction(matrix, problem, 20)
            if not step.isfinite().all():
                return float("inf")
            assign(problem.model.parameters, flatten(problem.model.parameters).detach() + step)
        final = loss()
        return final if final == final else float("inf")  # NaN is not a loss

    losses = {"loss at start, nats": loss()}
    losses |= {
        f"loss by {matrix}, nats": min(reached(matrix, h) for h in STEP_SIZES)
        for matrix in MATRICES
    }
    return [
        {"problem": name, "quantity": k, "seed": seed, "step": STEPS, "value": value}
        for k, value in losses.items()
    ]


def _draw(rows: list[dict[str, Any]], columns: list[str]) -> Any:
    # draw angles and losses, one point per seed
    figure, (left, right) = panels(2)
    for number, column in enumerate(columns):
        panel = left if number < 2 else right
        for place, problem in enumerate(PROBLEMS):
            points = [
                r["value"] for r in rows if (r["problem"], r["quantity"]) == (problem, column)
            ]
            label = column.split(",")[0] if place == 0 else None
            panel.plot(
                [place + 0.3 * (number % 2) - 0.15] * len(points),
                points,
                "o",
                color=f"C{number}",
                alpha=0.6,
                label=label,
            )
    left.set(ylabel="angle between F⁻¹∇L and F̂⁻¹∇L, degrees", ylim=(0, 100))
    right.set(ylabel=f"loss after {STEPS} steps at the best step size, nats", yscale="log")
    for panel in (left, right):
        panel.set_xticks(range(len(PROBLEMS)), PROBLEMS)
        panel.set_title(
            f"handwritten digits; one point per seed, {len(SEEDS)} seeds", fontsize="medium"
        )
        panel.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)
    return figure
