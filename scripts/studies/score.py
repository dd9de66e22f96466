"""C5: two gradients: the loss's uses true targets, the score the model's *own*.

The score is ∇_θ log π(a|s). Under the model's own a ∼ π its mean is Σ_a π ∇log π = Σ_a ∇π = ∇1 = 0,
whatever θ is: no step raises the likelihood of everything. Its covariance is F: how far the score
scatters about 0 is the curvature of KL. With the data's targets in place of a, its mean is the
gradient of the log-likelihood, minus the loss's: what training follows.

The experiment takes the expectation exactly, each of the ten labels weighted by its probability,
and from draws of the model, for a classifier of handwritten digits at its start and trained; it
also shows the gradient of the loss.
"""

from typing import Any

import numpy as np
import torch

from trpo.model import surrogate_gradient
from trpo.reference import dense_fisher, score_moments
from trpo.scripts.studies.digits import (
    Digits,
    categorical,
    choose,
    load_digits,
    log_likelihood,
    make_classifier,
)
from trpo.scripts.studies.findings import SEEDS, Findings, Verdict, band, judge, panels, span
from trpo.trust_region import TrustRegionConfig, trust_region_step

DRAWS = (1, 10, 100, 1000, 10000)  # answers drawn from the model for each digit
PHASES = {"start": 0, "trained": 8}  # training steps before


def study() -> Findings:
    """Measure the moments of the score.

    Returns:
        What was found.
    """
    rows = [row for seed in SEEDS for row in _seed_rows(seed)]

    def values(quantity: str, phase: str) -> list[float]:
        return [r["value"] for r in rows if (r["quantity"], r["phase"]) == (quantity, phase)]

    quantities = ("exact mean score", "covariance − F, largest entry", "loss gradient")
    shown = [
        {"": f"{quantity}, {phase}", "median and range": span(values(quantity, phase))}
        for quantity in quantities
        for phase in PHASES
    ]
    slopes = [_power(rows, phase, seed) for phase in PHASES for seed in SEEDS]
    shown += [
        {
            "": "power of the number of draws with which the drawn mean falls",
            "median and range": span(slopes),
        }
    ]
    mean, covariance, loss = (
        [x for phase in PHASES for x in values(quantity, phase)] for quantity in quantities
    )
    verdict = Verdict(
        "C5",
        "the score's mean under the model is 0 and its variance is F; the loss's gradient is "
        "another one",
        "exact mean ≤ 1e-12 and covariance = F to 1e-10 in every seed; the loss's gradient ≥ 1e6 "
        "times the mean score",
        f"‖mean score‖ ≤ {max(mean):.1e}, covariance = F to {max(covariance):.1e}, ‖∇loss‖ ≥ "
        f"{min(loss):.2g}; "
        f"from draws of the model the mean falls with their number to the power {span(slopes)}",
        judge(max(mean) <= 1e-12, max(covariance) < 1e-10, min(loss) >= 1e6 * max(mean)),
    )
    return Findings(rows, shown, [verdict], _draw(rows))


def _seed_rows(seed: int) -> list[dict[str, Any]]:
    # measure one classifier at its start and trained
    digits = choose(load_digits(pool=2), 40, seed)
    model = make_classifier(16, (6,), seed)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for phase, steps in PHASES.items():
        for _ in range(steps):
            trust_region_step(
                model, log_likelihood, [digits], TrustRegionConfig(max_kl=0.05, damping=1e-3)
            )
        mean, second_moment = score_moments(model, [digits])
        covariance = second_moment - torch.outer(mean, mean)
        measured = {
            "exact mean score": mean.norm().item(),
            "covariance − F, largest entry": (covariance - dense_fisher(model, [digits]))
            .abs()
            .max()
            .item(),
            "loss gradient": surrogate_gradient(model, log_likelihood, [digits])[1].norm().item(),
        }
        rows += [
            {"quantity": name, "phase": phase, "seed": seed, "draws": 0, "value": x}
            for name, x in measured.items()
        ]
        for draws in DRAWS:
            with torch.no_grad():
                probabilities = categorical(*model.outputs(digits)).probs
            answers = torch.multinomial(
                probabilities, draws, replacement=True, generator=generator
            )  # (B, draws)
            drawn = Digits(digits.inputs.repeat_interleave(draws, 0), answers.flatten())
            norm = surrogate_gradient(model, log_likelihood, [drawn])[1].norm().item()
            rows.append({
                "quantity": "drawn mean score",
                "phase": phase,
                "seed": seed,
                "draws": draws,
                "value": norm,
            })
    return rows


def _drawn(rows: list[dict[str, Any]], phase: str, seed: int) -> list[float]:
    # the norm of one seed's drawn mean score, over `DRAWS`
    return [
        r["value"]
        for r in rows
        if (r["quantity"], r["phase"], r["seed"]) == ("drawn mean score", phase, seed)
    ]


def _power(rows: list[dict[str, Any]], phase: str, seed: int) -> float:
    # the power of the number of draws with which the drawn mean score falls; −½ is pure chance
    return float(np.polyfit(np.log(DRAWS), np.log(_drawn(rows, phase, seed)), 1)[0])


def _draw(rows: list[dict[str, Any]]) -> Any:
    # draw the mean score over the number of draws, and the loss gradient
    figure, axes = panels(len(PHASES))
    for panel, phase in zip(axes, PHASES, strict=True):
        band(
            panel,
            DRAWS,
            [_drawn(rows, phase, seed) for seed in SEEDS],
            "score under the model, from draws",
            marker="o",
        )
        for quantity, label in (
            ("loss gradient", "gradient of the loss, true targets"),
            ("exact mean score", "score under the model, exact"),
        ):
            one = [r["value"] for r in rows if (r["quantity"], r["phase"]) == (quantity, phase)]
            band(panel, DRAWS, [[value] * len(DRAWS) for value in one], label)
        panel.set(
            xlabel="answers drawn for each digit", ylabel="‖mean‖", xscale="log", yscale="log"
        )
        panel.set_title(
            f"digit classifier, {phase}; median and range, {len(SEEDS)} seeds", fontsize="medium"
        )
        panel.legend(frameon=False, fontsize="small")
    return figure
