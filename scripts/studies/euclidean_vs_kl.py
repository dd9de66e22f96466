"""C1: a step size bounds the distance between parameters, not between *distributions*.

A step d of length ‖d‖ = α moves a model by KL(π_θ ‖ π_θ+d) ≈ ½ dᵀFd = ½ α² (d̂ᵀFd̂): α fixes the
length, F the rest. For the mean of a Gaussian F = 1/σ², so the same α is KL = α²/2σ² nats: nothing
when σ ≫ α, everything when σ ≪ α. For a network F depends on which parameter moves, and on the
progress of training.

The experiment takes steps of one length α, in the mean of N(0, σ²) over five decades of σ, and in a
classifier of handwritten digits: in each of its layers and along its loss's gradient, over training
by a KL-bounded step, and measures the KL of each.
"""

import math
from typing import Any

import torch
from torch.distributions import Normal

from trpo.measurement import measure_against_present
from trpo.model import Model, surrogate_gradient
from trpo.parameters import assign, flatten
from trpo.scripts.studies.digits import choose, load_digits, log_likelihood, make_classifier
from trpo.scripts.studies.findings import SEEDS, Findings, Verdict, band, judge, panels, span
from trpo.trust_region import TrustRegionConfig, trust_region_step

ALPHA = 0.3  # the length of every step here
SIGMAS = torch.logspace(-2, 3, 11).tolist()
STEPS = (0, 5, 10, 20, 40, 80)  # training steps after which the network is probed
LAYERS = ("hidden weights", "hidden biases", "output weights", "output biases")


def study() -> Findings:
    """Measure the KL of equal parameter steps.

    Returns:
        What was found.
    """
    gaussian = [
        {
            "model": "Gaussian mean",
            "direction": "mean",
            "seed": 0,
            "step": 0,
            "sigma": s,
            "kl": _gaussian_kl(s),
        }
        for s in SIGMAS
    ]
    network = [row for seed in SEEDS for row in _network_rows(seed)]
    spreads = {
        "Gaussian, over σ": [max(r["kl"] for r in gaussian) / min(r["kl"] for r in gaussian)]
    }
    spreads["network, over its layers and training"] = [
        _spread_of([r for r in network if r["seed"] == seed]) for seed in SEEDS
    ]
    for direction in dict.fromkeys(r["direction"] for r in network):
        spreads[f"network, {direction}, over training"] = [
            _spread_of([r for r in network if r["seed"] == seed and r["direction"] == direction])
            for seed in SEEDS
        ]
    shown = [
        {"steps of equal length": name, "largest ÷ smallest KL": span(values)}
        for name, values in spreads.items()
    ]
    everything_gaussian, everything_network = (
        spreads["Gaussian, over σ"][0],
        spreads["network, over its layers and training"],
    )
    verdict = Verdict(
        "C1",
        "a fixed step bounds a Euclidean distance; the distribution may move by a tiny or a huge "
        "amount",
        "KL of equal steps spans a factor ≥ 100 for the Gaussian, and for the network in every "
        "seed",
        f"α = {ALPHA}: Gaussian {everything_gaussian:.3g} ×; network {span(everything_network)} ×",
        judge(everything_gaussian >= 100, min(everything_network) >= 100),
    )
    return Findings(gaussian + network, shown, [verdict], _draw(gaussian, network))


def _spread_of(rows: list[dict[str, Any]]) -> float:
    # the largest KL of some rows over the smallest
    return max(row["kl"] for row in rows) / min(row["kl"] for row in rows)


def _kl_of_step(model: Model, microbatch: Any, step: torch.Tensor) -> float:
    # KL(π_θ ‖ π_θ+step), and leave θ as it was
    theta = flatten(model.parameters).detach()
    measure = measure_against_present(
        model, lambda distribution, _: distribution.entropy(), [microbatch]
    )
    assign(model.parameters, theta + step)
    kl = measure().mean_kl
    assign(model.parameters, theta)
    return kl


def _gaussian_kl(sigma: float) -> float:
    # the KL of a step of α in the mean of N(0, σ²)
    mean = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    model: Model[None] = Model([mean], lambda _: (mean, torch.full_like(mean, sigma)), Normal)
    return _kl_of_step(model, None, torch.full_like(mean, ALPHA).detach())


def _network_rows(seed: int) -> list[dict[str, Any]]:
    # train a classifier, and probe it with steps of length α on the way
    digits = choose(load_digits(), 600, seed)
    model = make_classifier(64, (16,), seed)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for step in range(max(STEPS) + 1):
        if step in STEPS:
            directions = {"loss gradient": surrogate_gradient(model, log_likelihood, [digits])[1]}
            for layer, name in enumerate(LAYERS):  # a random direction that moves this layer alone
                pieces = [torch.zeros_like(parameter) for parameter in model.parameters]
                pieces[layer] = torch.randn(
                    pieces[layer].shape, generator=generator, dtype=torch.float64
                )
                directions[name] = flatten(pieces)
            for name, direction in directions.items():
                kl = _kl_of_step(model, digits, ALPHA * direction / direction.norm())
                rows.append({
                    "model": "network",
                    "direction": name,
                    "seed": seed,
                    "step": step,
                    "sigma": math.nan,
                    "kl": kl,
                })
        trust_region_step(
            model, log_likelihood, [digits], TrustRegionConfig(max_kl=0.05, damping=1e-3)
        )
    return rows


def _draw(gaussian: list[dict[str, Any]], network: list[dict[str, Any]]) -> Any:
    # draw the KL of equal steps, over σ and over training
    figure, (left, right) = panels(2)
    left.loglog(SIGMAS, [row["kl"] for row in gaussian], "o-")
    left.set(
        xlabel="standard deviation σ",
        ylabel="KL(old ‖ new), nats",
        title=f"N(0, σ²), its mean moved by {ALPHA}",
    )
    for name in dict.fromkeys(row["direction"] for row in network):
        curves = [
            [r["kl"] for r in network if r["direction"] == name and r["seed"] == seed]
            for seed in SEEDS
        ]
        band(right, STEPS, curves, name, marker="o", markersize=3)
    right.set(
        xlabel="training steps taken (trust region, δ = 0.05 nats)",
        ylabel="KL(old ‖ new), nats",
        yscale="log",
        title=f"digit classifier, ‖Δθ‖ = {ALPHA}; median and range, {len(SEEDS)} seeds",
    )
    right.legend(frameon=False, fontsize="small")
    return figure
