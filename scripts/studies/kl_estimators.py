"""KL from samples: bias and spread of three estimators, compared with the closed form.

Where KL has no closed form it is estimated from draws x ∼ π_old, with r = π_new(x) / π_old(x):

    k₁ = −log r        unbiased, may be negative, spread of first order in the distance
    k₂ = ½ (log r)²    biased by third order, spread of second order
    k₃ = r − 1 − log r unbiased (E r = 1), never negative, spread of second order

(Schulman 2020, Approximating KL divergence.) TRPO limits KL to about 0.02 nats: whether such a
limit can be enforced depends on how accurate an estimate from one batch is there. Here KL has a
closed form, and the trust-region step uses it. The mean of each estimator and its standard
deviation per sample are estimated from draws of Gaussian pairs (with different means) and of
ten-way softmax pairs.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Normal

from trpo.divergence import kl_divergence
from trpo.scripts.studies.findings import SEEDS, Findings, Verdict, band, judge, panels, span

DRAWS = 200_000
DISTANCES = [10 ** (power / 2) for power in range(-4, 2)]  # in logits, or in standard deviations
PAIRS = ("Gaussian", "ten-way softmax")
ESTIMATORS = ("k1", "k2", "k3")
NEAR = 0.1  # distance at which the verdict looks: KL is 0.005 nats


def study() -> Findings:
    """Estimate KL of pairs of distributions.

    Returns:
        What was found.
    """
    rows = [row for pair in PAIRS for seed in SEEDS for row in _rows(pair, seed)]

    def of(pair: str, estimator: str, distance: float, key: str) -> list[float]:
        found = (pair, estimator, distance)
        return [r[key] for r in rows if (r["pair"], r["estimator"], r["distance"]) == found]

    shown = [
        {"pair": pair, "estimator": estimator, "distance": f"{distance:.2g}"}
        | {"KL, nats": span(of(pair, estimator, distance, "kl"))}
        | {"bias ÷ KL": span(of(pair, estimator, distance, "bias"))}
        | {"deviation of one sample ÷ KL": span(of(pair, estimator, distance, "deviation"))}
        for pair in PAIRS
        for estimator in ESTIMATORS
        for distance in DISTANCES
    ]
    near = min(DISTANCES, key=lambda d: abs(d - NEAR))
    better = [
        b / a
        for pair in PAIRS
        for a, b in zip(
            of(pair, "k3", near, "deviation"), of(pair, "k1", near, "deviation"), strict=True
        )
    ]
    unbiased = [abs(z) for e in ("k1", "k3") for pair in PAIRS for z in of(pair, e, near, "z")]
    far = max(DISTANCES)
    biased = [b for pair in PAIRS for b in of(pair, "k2", far, "bias")]
    batch = {e: math.sqrt(2048) / max(of("Gaussian", e, near, "deviation")) for e in ESTIMATORS}
    verdict = Verdict(
        "KL",
        "KL can be measured from samples without its closed form",
        f"at a distance of {near:.2g}: k₁ and k₃ within 4 standard errors of KL in every pair and "
        f"seed; k₃'s deviation at most a third of k₁'s in each; k₂ off by ≥ 10 % at {far:.2g}",
        f"k₁ and k₃ within {max(unbiased):.2g} standard errors; k₁'s deviation {span(better)} × "
        f"k₃'s; k₂'s bias at {far:.2g}: {span(biased)} of KL. One batch of 2,048 tells a "
        "Gaussian's KL, in its own standard errors: "
        + ", ".join(f"{e} {n:.1f}" for e, n in batch.items()),
        judge(max(unbiased) <= 4, min(better) >= 3, min(abs(b) for b in biased) >= 0.1),
    )
    return Findings(rows, shown, [verdict], _draw(rows))


def make_pair(name: str, distance: float, seed: int) -> tuple[Distribution, Distribution]:
    """Make two distributions a distance apart.

    Args:
        name: of `PAIRS`.
        distance: between the means in standard deviations, or of the logits, in a direction drawn
            by seed.
        seed: of the first distribution and of the direction.

    Returns:
        The old and the new one.
    """
    generator = torch.Generator().manual_seed(seed)
    if name == "Gaussian":
        mean = torch.randn((), generator=generator, dtype=torch.float64)
        return Normal(mean, 1.0), Normal(mean + distance, 1.0)
    logits, direction = torch.randn(2, 10, generator=generator, dtype=torch.float64)
    direction = direction - (Categorical(logits=logits).probs * direction).sum()
    # the standard deviation of log π, so KL ≈ ½ d²
    spread = (Categorical(logits=logits).probs * direction**2).sum().sqrt()
    return Categorical(logits=logits), Categorical(logits=logits + distance * direction / spread)


def estimates(old: Distribution, new: Distribution, x: Tensor) -> dict[str, Tensor]:
    """Return the three estimators' values.

    Args:
        old: that x was drawn from.
        new: the other.
        x: (n,).

    Returns:
        (n,) each, nats.
    """
    log_r = new.log_prob(x) - old.log_prob(x)
    return {"k1": -log_r, "k2": log_r**2 / 2, "k3": torch.expm1(log_r) - log_r}


def _rows(pair: str, seed: int) -> list[dict[str, Any]]:
    rows = []
    for distance in DISTANCES:
        old, new = make_pair(pair, distance, seed)
        torch.manual_seed(seed)
        x, kl = old.sample(torch.Size([DRAWS])), kl_divergence(old, new).item()
        for name, values in estimates(old, new, x).items():
            error, deviation = values.mean().item() - kl, values.std().item()
            rows.append({
                "pair": pair,
                "estimator": name,
                "distance": distance,
                "seed": seed,
                "kl": kl,
                "bias": error / kl,
                "deviation": deviation / kl,
                "z": error / (deviation / math.sqrt(DRAWS)),
            })
    return rows


def _draw(rows: list[dict[str, Any]]) -> Any:
    figure, axes = panels(len(PAIRS))
    for panel, pair in zip(axes, PAIRS, strict=True):
        for estimator in ESTIMATORS:
            curves = [
                [
                    r["deviation"]
                    for r in rows
                    if (r["pair"], r["estimator"], r["seed"]) == (pair, estimator, seed)
                ]
                for seed in SEEDS
            ]
            kls = [d * d / 2 for d in DISTANCES]
            band(panel, kls, curves, estimator, marker="o")
        panel.set(
            xscale="log",
            yscale="log",
            xlabel="KL, nats (½ distance²)",
            ylabel="deviation of one sample ÷ KL",
        )
        panel.set_title(f"{pair}; median and range, {len(SEEDS)} seeds", fontsize="medium")
        panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
