"""C4: F is the expected outer product of the score, and the curvature of KL; three ways to it.

Three definitions, one matrix:  E_s E_a∼π[∇log π ∇log πᵀ]  =  ∇²_θ' E_s[KL(π_θ ‖ π_θ')] at θ' = θ  =
E_s[Jᵀ M J]. The first is statistics, the second geometry, the third what a program can multiply by.
From the second, KL's Taylor series: KL(π_θ ‖ π_θ+d) = ½ dᵀFd + O(‖d‖³), so ½ dᵀFd / KL = 1 +
O(‖d‖). Training trusts the quadratic to choose a step's length.

The experiment forms F in all three ways, and from the products that training uses, for a classifier
of handwritten digits, at its start and trained; then measures KL along random steps d of shrinking
length.
"""

from typing import Any

import numpy as np
import torch

from trpo.fisher import fisher_vector_product
from trpo.measurement import measure_against_present
from trpo.parameters import assign, flatten
from trpo.reference import dense_fisher, double_backward_product, materialize, score_moments
from trpo.scripts.studies.digits import choose, load_digits, log_likelihood, make_classifier
from trpo.scripts.studies.findings import SEEDS, Findings, Verdict, band, judge, panels, span
from trpo.trust_region import TrustRegionConfig, trust_region_step

LENGTHS = np.logspace(-3, 0.5, 15).tolist()  # ‖d‖
WAYS = ("score outer product", "Hessian of KL", "products of training")  # each against JᵀMJ


def study() -> Findings:
    """Compare the ways to F, and ½dᵀFd with KL.

    Returns:
        What was found.
    """
    rows = [row for seed in SEEDS for row in _seed_rows(seed)]
    ways = {way: [r["value"] for r in rows if r["quantity"] == way] for way in WAYS}
    errors = {
        phase: [_curve(rows, phase, seed) for seed in SEEDS] for phase in ("start", "trained")
    }
    slopes = [_power(values) for phase in errors.values() for values in phase]
    nearest = [values[0] for phase in errors.values() for values in phase]
    shown = [
        {"": f"{way} − JᵀMJ, largest entry", "median and range": span(values)}
        for way, values in ways.items()
    ]
    shown += [
        {
            "": f"|½dᵀFd ÷ KL − 1| at ‖d‖ = {LENGTHS[i]:.2g}, {phase}",
            "median and range": span([v[i] for v in values]),
        }
        for phase, values in errors.items()
        for i in (0, 4, 8, 12)
    ]
    shown += [{"": "power of ‖d‖ with which it falls", "median and range": span(slopes)}]
    worst = max(max(values) for values in ways.values())
    verdict = Verdict(
        "C4",
        "F is the expected outer product of ∇log p, and the curvature of KL",
        "entries agree to 1e-10 in float64 in every seed; |½dᵀFd ÷ KL − 1| falls with ‖d‖ to the "
        "power 0.8 to 1.2, to ≤ 1 %",
        f"entries agree to {worst:.1e}; power {span(slopes)}; at ‖d‖ = {LENGTHS[0]:.1g} off by ≤ "
        f"{max(nearest):.1e}",
        judge(worst < 1e-10, min(slopes) > 0.8 and max(slopes) < 1.2 and max(nearest) <= 0.01),
    )
    return Findings(rows, shown, [verdict], _draw(rows, errors))


def _seed_rows(seed: int) -> list[dict[str, Any]]:
    # measure one classifier at its start and trained
    digits = choose(load_digits(pool=2), 40, seed)
    model = make_classifier(16, (6,), seed)
    d = torch.randn(
        flatten(model.parameters).shape,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )
    rows = []
    for phase, steps in (("start", 0), ("trained", 20)):
        for _ in range(steps):
            trust_region_step(
                model, log_likelihood, [digits], TrustRegionConfig(max_kl=0.05, damping=1e-3)
            )
        theta = flatten(model.parameters).detach()
        F = dense_fisher(model, [digits])
        roads = (
            score_moments(model, [digits])[1],
            materialize(double_backward_product(model, [digits]), theta),
            materialize(fisher_vector_product(model, [digits]), theta),
        )
        for way, other in zip(WAYS, roads, strict=True):
            gap = (other - F).abs().max().item()
            rows.append({
                "quantity": way,
                "phase": phase,
                "seed": seed,
                "length": 0.0,
                "value": gap,
            })
        measure = measure_against_present(model, log_likelihood, [digits])
        for length in LENGTHS:
            step = length * d / d.norm()
            assign(model.parameters, theta + step)
            ratio = 0.5 * (step @ F @ step).item() / measure().mean_kl
            rows.append({
                "quantity": "½dᵀFd ÷ KL",
                "phase": phase,
                "seed": seed,
                "length": length,
                "value": ratio,
            })
        assign(model.parameters, theta)
    return rows


def _curve(rows: list[dict[str, Any]], phase: str, seed: int) -> list[float]:
    # |½dᵀFd ÷ KL − 1| of one seed, over `LENGTHS`
    return [
        abs(r["value"] - 1)
        for r in rows
        if (r["quantity"], r["phase"], r["seed"]) == ("½dᵀFd ÷ KL", phase, seed)
    ]


def _power(errors: list[float]) -> float:
    # the power of ‖d‖ with which errors fall as ‖d‖ → 0
    return float(np.polyfit(np.log(LENGTHS[:6]), np.log(errors[:6]), 1)[0])


def _draw(rows: list[dict[str, Any]], errors: dict[str, list[list[float]]]) -> Any:
    # draw how the ways agree, and how the quadratic becomes KL
    figure, (left, right) = panels(2)
    for number, way in enumerate(WAYS):
        gaps = [row["value"] for row in rows if row["quantity"] == way]
        left.semilogy([number] * len(gaps), gaps, "o", alpha=0.6)
    left.axhline(1e-10, color="0.6", linestyle=":")
    left.set_xticks(range(len(WAYS)), WAYS, fontsize="small")
    left.set(
        ylabel="largest difference of an entry from JᵀMJ",
        title=f"F by four roads, P = 172, float64; {len(SEEDS)} seeds × 2",
    )
    for phase, values in errors.items():
        band(right, LENGTHS, values, phase)
    right.plot(
        LENGTHS,
        [length * errors["start"][0][0] / LENGTHS[0] for length in LENGTHS],
        ":",
        color="0.6",
        label="slope 1",
    )
    right.set(xlabel="‖d‖", ylabel="|½dᵀFd ÷ KL − 1|", xscale="log", yscale="log")
    right.set_title(
        f"random steps d, digit classifier; median and range, {len(SEEDS)} seeds", fontsize="medium"
    )
    right.legend(frameon=False, fontsize="small")
    return figure
