"""C2 in a network: rescale one layer's weights, and gradient descent learns another function; the natural gradient does not.

W₁ = c·W₁′ is the same network written otherwise. In W₁′ the gradient is c times as long, so a gradient step moves W₁ by c² times
as much; a step of Adam, which only keeps signs at first, by c times. F⁻¹∇L moves it as before: the map is linear, so the natural
step is the same at *every* length. But a network's F is singular, and conjugate gradient needs the damping β of F + βI; and βI
stays as it is when F becomes AᵀFA. So β is a parameterisation smuggled back in.

The experiment trains a digit classifier written with c = 1 and c = 10 side by side for a fixed time, and measures the KL between
the two against the KL that training moved: over the step size without damping, and over the damping.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scripts.studies.digits import Digits, categorical, choose, load_digits, log_likelihood, make_classifier
from scripts.studies.findings import SEEDS, Findings, Verdict, band, judge, median_range, panels, told
from trpo.conjugate_gradient import conjugate_gradient
from trpo.fisher import fisher_vector_product
from trpo.measurement import mean_kl
from trpo.model import Model, surrogate_gradient
from trpo.parameters import assign, flatten, unflatten

SCALE = 10.0  # c
TIME, STEP_SIZES, STEP_SIZE = 1.0, (0.25, 0.125, 0.0625), 0.125
DAMPINGS = (1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
METHODS = ("gradient descent", "Adam", "natural gradient")


def study() -> Findings:
    """Measure the gap between two ways to write one network.

    Returns:
        What was found.
    """
    rows = [gap_row(method, h, 0.0, seed) for method in METHODS for h in STEP_SIZES for seed in SEEDS]
    rows += [gap_row("natural gradient", STEP_SIZE, damping, seed) for damping in DAMPINGS for seed in SEEDS]

    def gaps(method: str, h: float, damping: float = 0.0) -> list[float]:
        return [r["gap"] / r["moved"] for r in rows if (r["method"], r["h"], r["damping"]) == (method, h, damping)]

    cases = list(dict.fromkeys((r["method"], r["h"], r["damping"]) for r in rows))
    shown = [
        {"method": m, "h": f"{h:g}", "damping β": f"{b:g}", "KL between ÷ KL moved": told(gaps(m, h, b))} for m, h, b in cases
    ]
    natural = [x for h in STEP_SIZES for x in gaps("natural gradient", h)]
    others = [x for method in METHODS[:2] for h in STEP_SIZES for x in gaps(method, h)]
    damped = {damping: gaps("natural gradient", STEP_SIZE, damping) for damping in DAMPINGS}
    free = [damping for damping in DAMPINGS if max(damped[damping]) <= 0.01]
    verdict = Verdict(
        "C2",
        "the natural gradient does not depend on how the network is written; gradient descent and Adam do",
        "undamped, KL between the two networks ≤ 1 % of the KL moved in every seed and at every h; the others' ≥ 1 % at every h",
        f"natural gradient ≤ {max(natural):.1e}; gradient descent and Adam ≥ {min(others):.2g}. Damping breaks it: "
        + ", ".join(f"β = {b:g}: {median_range(damped[b])[0]:.1e}" for b in DAMPINGS)
        + f"; ≤ 1 % up to β = {max(free, default=0):g}",
        judge(max(natural) <= 0.01, min(others) >= 0.01),
    )
    return Findings(rows, shown, [verdict], draw(rows))


def rescaled(seed: int, scale: float) -> Model:
    """Make a classifier whose first layer's weights are written as scale · W₁′.

    Args:
        seed: of the weights; the function is the same for every scale.
        scale: c.

    Returns:
        The model.
    """
    parameters = [p.detach().clone() for p in make_classifier(16, (5,), seed).parameters]
    parameters[0] /= scale
    W1, b1, W2, b2 = (p.requires_grad_() for p in parameters)

    def logits(chunk: Digits) -> tuple[Tensor]:
        return (torch.tanh(chunk.inputs @ (scale * W1).T + b1) @ W2.T + b2,)

    return Model([W1, b1, W2, b2], logits, categorical)


def train(model: Model, digits: Digits, method: str, h: float, damping: float) -> None:
    """Train for a time T, in T/h steps.

    Args:
        model: to train, in place.
        digits: the data.
        method: of `METHODS`.
        h: the step size.
        damping: β, of the natural gradient.
    """
    adam = torch.optim.Adam(model.parameters, lr=0.1 * h)  # whose unit of time is no gradient's: T = 1 is a path of 0.1
    for _ in range(round(TIME / h)):
        _, g = surrogate_gradient(model, log_likelihood, [digits])
        if method == "Adam":
            for parameter, piece in zip(model.parameters, unflatten(-g, model.parameters), strict=True):
                parameter.grad = piece
            adam.step()
        else:
            step = natural_direction(model, digits, g, damping) if method == "natural gradient" else g
            assign(model.parameters, flatten(model.parameters).detach() + h * step)


def natural_direction(model: Model, digits: Digits, g: Tensor, damping: float) -> Tensor:
    """Solve (F + βI)x = g as far as float64 can.

    Args:
        model: at θ.
        digits: the data.
        g: ∇L.
        damping: β.

    Returns:
        x.
    """
    Fv = fisher_vector_product(model, [digits])
    return conjugate_gradient(lambda v: Fv(v) + damping * v, g, max_iterations=600, tolerance=1e-9).x


def gap_row(method: str, h: float, damping: float, seed: int) -> dict[str, Any]:
    """Train the network written both ways.

    Args:
        method: of `METHODS`.
        h: the step size.
        damping: β.
        seed: of the weights and the digits.

    Returns:
        A row of results.csv.
    """
    digits = choose(load_digits(pool=2), 200, seed)
    start, plain, other = rescaled(seed, 1.0), rescaled(seed, 1.0), rescaled(seed, SCALE)
    for model in (plain, other):
        train(model, digits, method, h, damping)
    moved, gap = mean_kl(start, plain, [digits]), mean_kl(plain, other, [digits])
    return {"method": method, "seed": seed, "h": h, "damping": damping, "moved": moved, "gap": gap}


def draw(rows: Sequence[dict[str, Any]]) -> Any:
    """Draw the gap over the step size, and over the damping.

    Args:
        rows: of results.csv.

    Returns:
        The figure.
    """

    def curves(method: str, damped: bool) -> list[list[float]]:
        mine = [r for r in rows if r["method"] == method and (r["damping"] > 0) == damped]
        return [[r["gap"] / r["moved"] for r in mine if r["seed"] == seed] for seed in SEEDS]

    figure, (left, right) = panels(2)
    for method in METHODS:
        band(left, STEP_SIZES, curves(method, False), method, marker="o", markersize=3)
    band(right, DAMPINGS, curves("natural gradient", True), f"natural gradient, h = {STEP_SIZE:g}", marker="o", markersize=3)
    title = f"W₁ written ×1 and ×{SCALE:g}; median and range, {len(SEEDS)} seeds"
    for panel, label in ((left, "step size h, no damping"), (right, "damping β")):
        panel.set(xlabel=label, ylabel="KL between the networks ÷ KL moved", xscale="log", yscale="log")
        panel.set_title(title, fontsize="medium")
        panel.legend(frameon=False, fontsize="small")
    return figure
