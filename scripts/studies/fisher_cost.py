"""C7, C8: what F costs, written out and as a product; and whether it costs less than the loss's Hessian, the author's doubt.

F is P × P: P² numbers to keep, and P³ operations to solve with. But F = E[JᵀMJ], so Fv is one pass forward and one back, and
conjugate gradient needs nothing else: O(P) memory, and a few products a solve. The loss's Hessian H has a product too,
∇((∇L)ᵀv), at O(P). So the doubt is about a constant; it is measured here, both with their graphs kept, in turns on one network.
What sets them apart is elsewhere: vᵀFv = E[(Jv)ᵀM(Jv)] ≥ 0 always; vᵀHv may be negative, away from a minimum.

The experiment times both products, and a solve of (F + βI)x = g by CG and with F written out, on digit classifiers of growing
P; and writes out the spectra of F and H of one small network over training.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.studies.digits import choose, load_digits, log_likelihood, make_classifier
from scripts.studies.findings import SEEDS, Findings, Verdict, band, judge, median_range, panels, told
from trpo.conjugate_gradient import conjugate_gradient
from trpo.curvature import hessian_vector_product, materialize
from trpo.fisher import fisher_vector_product
from trpo.model import surrogate_gradient
from trpo.parameters import flatten
from trpo.trust_region import TrustRegionConfig, trust_region_step

WIDTHS, DENSE_WIDTHS = (1, 4, 16, 64, 256, 1024), (1, 4, 16, 64)  # of the hidden layer
BATCH, ROUNDS, DAMPING = 256, 9, 1e-2
TRAINED = (0, 5, 20, 60)  # steps before a spectrum
COSTS = ("gradient", "F product", "H product", "solve by CG", "solve with F dense")


def study() -> Findings:
    """Measure time, memory and definiteness.

    Returns:
        What was found.
    """
    costs = [row for width in WIDTHS for seed in SEEDS for row in _cost_rows(width, seed)]
    spectra = [row for seed in SEEDS for row in _spectrum_rows(seed)]

    def cost(what: str, parameters: int) -> list[float]:
        return [r["milliseconds"] for r in costs if r["what"] == what and r["parameters"] == parameters]

    def quotient(one: str, other: str, parameters: int) -> list[float]:
        return [a / b for a, b in zip(cost(one, parameters), cost(other, parameters), strict=True)]

    sizes = sorted({r["parameters"] for r in costs})
    dense = [p for p in sizes if cost("solve with F dense", p)]
    shown = [
        {"P": f"{p:,}"}
        | {f"{what}, ms": f"{median_range(cost(what, p))[0]:.3g}" if cost(what, p) else "–" for what in COSTS}
        | {"F ÷ H": told(quotient("F product", "H product", p)), "F dense, MiB": f"{p * p * 4 / 2**20:,.1f}"}
        for p in sizes
    ]
    largest = quotient("solve with F dense", "solve by CG", dense[-1])
    dear = {p: quotient("solve by CG", "gradient", p) for p in sizes}
    growth = [last / first for first, last in zip(dear[sizes[0]], dear[sizes[-1]], strict=True)]
    all_dear = [x for values in dear.values() for x in values]
    ratios = [x for p in sizes for x in quotient("F product", "H product", p)]
    lowest = {name: [r["smallest"] / r["largest"] for r in spectra if r["what"] == name] for name in ("F", "H")}
    verdicts = [
        Verdict(
            "C7",
            "each natural step is dear, because F is P × P",
            "a CG solve takes ≥ 3 gradients at every P and seed; and ≥ 3 × as many at the largest P as at the smallest",
            f"CG: {told(all_dear)} gradients, {told(growth)} × as many at P = {sizes[-1]:,} as at {sizes[0]:,}; dense: "
            + ", ".join(f"{told(quotient('solve with F dense', 'gradient', p))} at P = {p:,}" for p in (dense[0], dense[-1]))
            + f", there {told(largest)} × CG's time; F alone fills this machine's memory at P = {_fits():,}",
            judge(min(all_dear) >= 3, min(growth) >= 3),
        ),
        Verdict(
            "C8",
            "the author's doubt, is F any cheaper than the loss's Hessian, read as: it is; and it is definite where H is not",
            "one product with F takes ≤ 0.8 of the time of one with H at every P and seed; F is never indefinite, H always",
            f"F ÷ H = {told(ratios)} over sizes and seeds; smallest ÷ largest eigenvalue of F ≥ {min(lowest['F']):.0e}, of H "
            f"{told(lowest['H'])}, negative in {sum(x < -1e-6 for x in lowest['H'])} of {len(lowest['H'])} spectra",
            judge(max(ratios) <= 0.8, min(lowest["F"]) > -1e-6 and max(lowest["H"]) < -1e-6),
        ),
    ]
    return Findings(costs + spectra, shown, verdicts, _draw(costs, spectra))


def _fits() -> int:
    # the P whose dense F, in float32, is as large as this machine's memory
    return int((os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4) ** 0.5)


def _cost_rows(width: int, seed: int) -> list[dict[str, Any]]:
    # time everything in turns on one network, in float32 as training does
    digits = choose(load_digits(dtype=torch.float32), BATCH, seed)
    model = make_classifier(64, (width,), seed, torch.float32)
    _, g = surrogate_gradient(model, log_likelihood, [digits])
    Fv, Hv = fisher_vector_product(model, [digits]), hessian_vector_product(model, log_likelihood, [digits])

    def solve_by_products() -> Tensor:
        product = fisher_vector_product(model, [digits])  # a step builds its graphs anew
        return conjugate_gradient(lambda v: product(v) + DAMPING * v, g, max_iterations=10).x

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
    blank = {"trained": 0, "smallest": float("nan"), "largest": float("nan")}
    return [
        {"what": what, "seed": seed, "parameters": len(g), "milliseconds": float(np.median(times))} | blank
        for what, times in milliseconds.items()
    ]


def _spectrum_rows(seed: int) -> list[dict[str, Any]]:
    # write out F and the Hessian H of the loss of one network over training, and find their extreme eigenvalues
    digits = choose(load_digits(pool=2), 300, seed)
    model = make_classifier(16, (8,), seed)
    rows = []
    for step in range(max(TRAINED) + 1):
        if step in TRAINED:
            theta = flatten(model.parameters).detach()
            F = materialize(fisher_vector_product(model, [digits]), theta)
            H = -materialize(hessian_vector_product(model, log_likelihood, [digits]), theta)  # the loss is −L
            for name, matrix in (("F", F), ("H", H)):
                spectrum = torch.linalg.eigvalsh((matrix + matrix.T) / 2)
                extremes = {"smallest": spectrum[0].item(), "largest": spectrum[-1].item()}
                row = {"what": name, "seed": seed, "parameters": len(theta), "milliseconds": float("nan"), "trained": step}
                rows.append(row | extremes)
        trust_region_step(model, log_likelihood, [digits], TrustRegionConfig(max_kl=0.05, damping=1e-3))
    return rows


def _draw(costs: list[dict[str, Any]], spectra: list[dict[str, Any]]) -> Any:
    # draw time over P, memory over P, and definiteness over training
    figure, (left, middle, right) = panels(3)
    for what in COSTS:
        mine = [[r for r in costs if r["what"] == what and r["seed"] == seed] for seed in SEEDS]
        sizes = [r["parameters"] for r in mine[0]]
        band(left, sizes, [[r["milliseconds"] for r in part] for part in mine], what, marker="o", markersize=3)
    left.set(xlabel="parameters P", ylabel="milliseconds, one thread, float32", xscale="log", yscale="log")
    left.set_title(f"{BATCH} digits; median and range, {len(SEEDS)} seeds", fontsize="medium")
    sizes = sorted({r["parameters"] for r in costs})
    middle.loglog(sizes, [4 * p * p / 2**20 for p in sizes], "o-", color="C4", label="F written out, P² numbers")
    middle.loglog(sizes, [4 * 5 * p / 2**20 for p in sizes], "o-", color="C3", label="CG: x, r, p, Ap, g, 5 P numbers")
    middle.axhline(4 * _fits() ** 2 / 2**20, color="0.6", linestyle=":", label="this machine's memory")
    middle.set(xlabel="parameters P", ylabel="MiB, float32, counted", title="memory of a solve, without the graphs")
    for name, color in (("F", "C1"), ("H", "C2")):
        mine = [[r for r in spectra if r["what"] == name and r["seed"] == seed] for seed in SEEDS]
        band(right, TRAINED, [[r["smallest"] / r["largest"] for r in part] for part in mine], name, color=color, marker="o")
    right.set(xlabel="training steps taken", ylabel="smallest ÷ largest eigenvalue")
    right.set_yscale("symlog", linthresh=1e-6)
    right.set_title(f"P = {spectra[0]['parameters']}, float64; median and range, {len(SEEDS)} seeds", fontsize="medium")
    for panel in (left, middle, right):
        panel.legend(frameon=False, fontsize="small")
    return figure
