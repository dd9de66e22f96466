"""C7, C8: the cost of F, as a matrix and as a product, and of the loss's Hessian.

F is P × P: P² numbers to store, and P³ operations to solve with. But F = E[JᵀMJ], so Fv is one
forward and one backward pass, and conjugate gradient needs nothing else: O(P) memory, and a few
products per solve. The loss's Hessian H has a product, too, ∇((∇L)ᵀv), at O(P). So the question is
one of constants; these are measured here, both with their graphs kept, alternating on one network.

The experiment times both products, and a solve of (F + βI)x = g with CG and with dense F, for
classifiers of increasing size.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trpo.fisher import fisher_vector_product
from trpo.model import surrogate_gradient
from trpo.reference import hessian_vector_product, materialize
from trpo.scripts.studies.digits import choose, load_digits, log_likelihood, make_classifier
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
from trpo.trust_region import natural_direction

WIDTHS, DENSE_WIDTHS = (1, 4, 16, 64, 256, 1024), (1, 4, 16, 64)  # of the hidden layer
BATCH, ROUNDS, DAMPING = 256, 15, 1e-2
COSTS = ("gradient", "F product", "H product", "solve by CG", "solve with F dense")


def study() -> Findings:
    """Measure time and memory.

    Returns:
        What was found.
    """
    costs = [row for width in WIDTHS for seed in SEEDS for row in _cost_rows(width, seed)]

    def cost(what: str, parameters: int) -> list[float]:
        return [
            r["milliseconds"] for r in costs if r["what"] == what and r["parameters"] == parameters
        ]

    def quotient(one: str, other: str, parameters: int) -> list[float]:
        return [a / b for a, b in zip(cost(one, parameters), cost(other, parameters), strict=True)]

    sizes = sorted({r["parameters"] for r in costs})
    dense = [p for p in sizes if cost("solve with F dense", p)]
    ratios = {p: quotient("F product", "H product", p) for p in sizes}
    shown = [
        {"P": f"{p:,}"}
        | {
            f"{what}, ms": f"{median_range(cost(what, p))[0]:.3g}" if cost(what, p) else "–"
            for what in COSTS
        }
        | {"F ÷ H": span(ratios[p]), "F dense, MiB": f"{p * p * 4 / 2**20:,.1f}"}
        for p in sizes
    ]
    largest = quotient("solve with F dense", "solve by CG", dense[-1])
    dear = {p: quotient("solve by CG", "gradient", p) for p in sizes}
    growth = [last / first for first, last in zip(dear[sizes[0]], dear[sizes[-1]], strict=True)]
    all_dear = [x for values in dear.values() for x in values]
    verdicts = [
        Verdict(
            "C7",
            "each natural step is dear, because F is P × P",
            "a CG solve takes ≥ 3 gradients at every P and seed; and ≥ 3 × as many at the largest "
            "P as at the smallest",
            f"CG: {span(all_dear)} gradients, {span(growth)} × as many at P = {sizes[-1]:,} as at "
            f"{sizes[0]:,}; dense: "
            + ", ".join(
                f"{span(quotient('solve with F dense', 'gradient', p))} at P = {p:,}"
                for p in (dense[0], dense[-1])
            )
            + f", there {span(largest)} × CG's time; F alone fills this machine's memory at P = "
            f"{_fits():,}",
            judge(min(all_dear) >= 3, min(growth) >= 3),
        ),
        Verdict(
            "C8",
            "the author's doubt, is F any cheaper than the loss's Hessian, read as: it is",
            "one product with F takes ≤ 0.8 of the time of one with H at every P: the median over "
            "seeds",
            f"F ÷ H = {', '.join(f'{span(values)} at P = {p:,}' for p, values in ratios.items())}",
            judge(all(median_range(values)[0] <= 0.8 for values in ratios.values())),
        ),
    ]
    return Findings(costs, shown, verdicts, _draw(costs))


def _fits() -> int:
    # the P whose dense F, in float32, is as large as this machine's memory
    return int((os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4) ** 0.5)


def _cost_rows(width: int, seed: int) -> list[dict[str, Any]]:
    # time everything in turn on one network, in float32 as in training
    digits = choose(load_digits(dtype=torch.float32), BATCH, seed)
    model = make_classifier(64, (width,), seed, torch.float32)
    _, g = surrogate_gradient(model, log_likelihood, [digits])
    Fv, Hv = (
        fisher_vector_product(model, [digits]),
        hessian_vector_product(model, log_likelihood, [digits]),
    )

    def solve_by_products() -> Tensor:
        return natural_direction(model, g, [digits], DAMPING).x  # rebuilds its graphs

    def solve_densely() -> Tensor:
        F = materialize(fisher_vector_product(model, [digits]), g)
        return torch.linalg.solve(F + DAMPING * torch.eye(len(g)), g)

    timed: dict[str, Callable[[], Tensor]] = {
        "gradient": lambda: surrogate_gradient(model, log_likelihood, [digits])[1],
        "F product": lambda: Fv(g),
        "H product": lambda: Hv(g),
        "solve by CG": solve_by_products,
    }
    milliseconds: dict[str, list[float]] = {what: [] for what in timed}
    for _ in range(ROUNDS):
        for what, call in timed.items():
            start = time.perf_counter()
            call()
            milliseconds[what].append(1e3 * (time.perf_counter() - start))
    if width in DENSE_WIDTHS:  # once: the largest takes seconds
        start = time.perf_counter()
        solve_densely()
        milliseconds["solve with F dense"] = [1e3 * (time.perf_counter() - start)]
    return [  # the minimum of the rounds, as other work on the machine only adds time
        {"what": what, "seed": seed, "parameters": len(g), "milliseconds": min(times)}
        for what, times in milliseconds.items()
    ]


def _draw(costs: list[dict[str, Any]]) -> Any:
    # draw time over P, memory over P, and F against H
    figure, (left, middle, right) = panels(3)
    for what in COSTS:
        mine = [[r for r in costs if r["what"] == what and r["seed"] == seed] for seed in SEEDS]
        sizes = [r["parameters"] for r in mine[0]]
        band(
            left,
            sizes,
            [[r["milliseconds"] for r in part] for part in mine],
            what,
            marker="o",
            markersize=3,
        )
    left.set(
        xlabel="parameters P",
        ylabel="milliseconds, one thread, float32",
        xscale="log",
        yscale="log",
    )
    left.set_title(f"{BATCH} digits; median and range, {len(SEEDS)} seeds", fontsize="medium")
    sizes = sorted({r["parameters"] for r in costs})
    middle.loglog(
        sizes,
        [4 * p * p / 2**20 for p in sizes],
        "o-",
        color="C4",
        label="F written out, P² numbers",
    )
    middle.loglog(
        sizes,
        [4 * 5 * p / 2**20 for p in sizes],
        "o-",
        color="C3",
        label="CG: x, r, p, Ap, g, 5 P numbers",
    )
    middle.axhline(
        4 * _fits() ** 2 / 2**20, color="0.6", linestyle=":", label="this machine's memory"
    )
    middle.set(
        xlabel="parameters P",
        ylabel="MiB, float32, counted",
        title="memory of a solve, without the graphs",
    )
    one, other = (
        [[r["milliseconds"] for r in costs if (r["what"], r["seed"]) == (w, s)] for s in SEEDS]
        for w in COSTS[1:3]
    )
    quotients = [
        [f / h for f, h in zip(*pair, strict=True)] for pair in zip(one, other, strict=True)
    ]
    band(right, sizes, quotients, "one product with F ÷ one with H", marker="o", markersize=3)
    right.axhline(1.0, color="0.6", linestyle=":")
    right.set(
        xlabel="parameters P", ylabel="time with F ÷ time with H", xscale="log", ylim=(0, 1.6)
    )
    right.set_title(
        f"in turns on one network; median and range, {len(SEEDS)} seeds", fontsize="medium"
    )
    for panel in (left, middle, right):
        panel.legend(frameon=False, fontsize="small")
    return figure
