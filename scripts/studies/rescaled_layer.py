"""C2 in a network: with one layer rescaled, gradient descent learns another function.

W₁ = c·W₁′ is the same network in another parameterisation. In W₁′ the gradient is c times as long,
so a gradient step moves W₁ by c² times as much; a step of Adam, which at first depends on signs
only, by c times. F⁻¹∇L moves it as before: the map is linear, so the natural step is the same at
*every* length. But a network's F is near singular, and conjugate gradient is given F + βI; and βI
stays as it is when F becomes AᵀFA. So the damping β reintroduces a dependence on the
parameterisation.

The experiment takes a small classifier of digits, past its first steps so that F is solvable
without damping, trains it written with c = 1 and with c = 10 for a fixed time, and measures the KL
between the two against the KL that training moved: over the step size without damping, and over the
damping.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trpo.model import Model, surrogate_gradient
from trpo.parameters import assign, flatten, unflatten
from trpo.reference import mean_kl
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
    band,
    judge,
    median_range,
    panels,
    span,
)
from trpo.trust_region import TrustRegionConfig, natural_direction, trust_region_step

SCALE = 10.0  # c
TIME, STEP_SIZES, STEP_SIZE = 1.0, (0.2, 0.1, 0.05), 0.1
DAMPINGS = (1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
RATES = {
    "gradient descent": 1e-2,
    "Adam": 1e-2,
    "natural gradient": 1.0,
}  # of a step, ÷ h: at 1 the first two are not stable


def study() -> Findings:
    """Measure the gap between two parameterisations of one network.

    Returns:
        What was found.
    """
    rows = [
        _gap_row(method, h, 0.0, seed) for method in RATES for h in STEP_SIZES for seed in SEEDS
    ]
    rows += [
        _gap_row("natural gradient", STEP_SIZE, damping, seed)
        for damping in DAMPINGS
        for seed in SEEDS
    ]

    def gaps(method: str, h: float, damping: float = 0.0) -> list[float]:
        return [
            r["gap"] / r["moved"]
            for r in rows
            if (r["method"], r["h"], r["damping"]) == (method, h, damping)
        ]

    cases = list(dict.fromkeys((r["method"], r["h"], r["damping"]) for r in rows))
    shown = [
        {
            "method": m,
            "h": f"{h:g}",
            "damping β": f"{b:g}",
            "KL between ÷ KL moved": span(gaps(m, h, b)),
        }
        for m, h, b in cases
    ]
    natural = [x for h in STEP_SIZES for x in gaps("natural gradient", h)]
    others = [
        x for method in ("gradient descent", "Adam") for h in STEP_SIZES for x in gaps(method, h)
    ]
    damped = {damping: gaps("natural gradient", STEP_SIZE, damping) for damping in DAMPINGS}
    free = [damping for damping in DAMPINGS if max(damped[damping]) <= 0.01]
    verdict = Verdict(
        "C2",
        "the natural gradient does not depend on how the network is written; gradient descent and "
        "Adam do",
        "undamped, KL between the networks ≤ 1 % of the KL moved in every seed at every h; the "
        "others' ≥ 1 % at every h",
        f"natural gradient ≤ {max(natural):.1e}; gradient descent and Adam ≥ {min(others):.2g}. "
        "Damping breaks it: "
        + ", ".join(f"β = {b:g}: {median_range(damped[b])[0]:.1e}" for b in DAMPINGS)
        + f"; ≤ 1 % up to β = {max(free, default=0):g}",
        judge(max(natural) <= 0.01, min(others) >= 0.01),
    )
    return Findings(rows, shown, [verdict], _draw(rows))


def _rescaled(digits: Digits, seed: int, scale: float) -> Model:
    # make a classifier whose first layer's weights are scale · W₁′
    model = make_classifier(4, (2,), seed)
    for _ in range(12):
        trust_region_step(
            model, log_likelihood, [digits], TrustRegionConfig(max_kl=0.05, damping=1e-3)
        )
    parameters = [p.detach().clone() for p in model.parameters]
    parameters[0] /= scale
    W1, b1, W2, b2 = (p.requires_grad_() for p in parameters)

    def logits(digits: Digits) -> tuple[Tensor]:
        return (torch.tanh(digits.inputs @ (scale * W1).T + b1) @ W2.T + b2,)

    return Model([W1, b1, W2, b2], logits, categorical)


def _train(model: Model, digits: Digits, method: str, h: float, damping: float) -> None:
    # train for a time T, in T/h steps
    adam = torch.optim.Adam(model.parameters, lr=RATES[method] * h)
    for _ in range(round(TIME / h)):
        _, g = surrogate_gradient(model, log_likelihood, [digits])
        if method == "Adam":
            for parameter, piece in zip(
                model.parameters, unflatten(-g, model.parameters), strict=True
            ):
                parameter.grad = piece
            adam.step()
        else:
            step = (
                natural_direction(model, g, [digits], damping, max_iterations=300).x
                if method == "natural gradient"
                else g
            )
            assign(model.parameters, flatten(model.parameters).detach() + RATES[method] * h * step)


def _gap_row(method: str, h: float, damping: float, seed: int) -> dict[str, Any]:
    # train the network in both parameterisations
    digits = choose(load_digits(pool=4), 500, seed)
    start, plain, other = (_rescaled(digits, seed, c) for c in (1.0, 1.0, SCALE))
    for model in (plain, other):
        _train(model, digits, method, h, damping)
    moved, gap = mean_kl(start, plain, [digits]), mean_kl(plain, other, [digits])
    return {"method": method, "seed": seed, "h": h, "damping": damping, "moved": moved, "gap": gap}


def _draw(rows: Sequence[dict[str, Any]]) -> Any:
    # draw the gap over the step size, and over the damping

    def curves(method: str, damped: bool) -> list[list[float]]:
        mine = [r for r in rows if r["method"] == method and (r["damping"] > 0) == damped]
        return [
            [max(r["gap"] / r["moved"], 1e-16) for r in mine if r["seed"] == seed] for seed in SEEDS
        ]  # rounding may be < 0

    figure, (left, right) = panels(2)
    for method in RATES:
        band(left, STEP_SIZES, curves(method, False), method, marker="o", markersize=3)
    band(
        right,
        DAMPINGS,
        curves("natural gradient", True),
        f"natural gradient, h = {STEP_SIZE:g}",
        marker="o",
        markersize=3,
    )
    title = f"W₁ written ×1 and ×{SCALE:g}; median and range, {len(SEEDS)} seeds"
    for panel, label in ((left, "step size h, no damping"), (right, "damping β")):
        panel.set(
            xlabel=label, ylabel="KL between the networks ÷ KL moved", xscale="log", yscale="log"
        )
        panel.set_title(title, fontsize="medium")
        panel.minorticks_off()
        panel.legend(frameon=False, fontsize="small")
    left.set_xticks(STEP_SIZES, [f"{h:g}" for h in STEP_SIZES])
    return figure
