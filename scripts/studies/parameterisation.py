"""C2: the parameterisation determines the distance of parameters, not that of distributions.

A Gaussian may be parameterised by its mean and log σ, its variance or its precision. KL depends on
the distribution only, so it is the same for all three. The gradient is not: under θ = φ(ψ) it
becomes ∇_ψ L = Aᵀ∇_θ L with A = ∂θ/∂ψ, and a step along it another step. F becomes AᵀFA, so F⁻¹∇L
becomes A⁻¹F⁻¹∇L: the same step expressed in ψ, to first order in its length h.

The experiment fits a Gaussian to draws from another by gradient descent, Adam and natural gradient,
each under all three parameterisations, for a fixed time T in T/h steps, and measures the largest KL
between the paths as h shrinks.
"""

import math
from itertools import permutations
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from trpo.model import Model, surrogate_gradient
from trpo.parameters import assign, flatten, unflatten
from trpo.reference import mean_kl
from trpo.scripts.studies.findings import SEEDS, Findings, Verdict, band, judge, panels, span
from trpo.trust_region import natural_direction

# name: (σ ↦ second parameter, second parameter ↦ σ)
WAYS = {
    "log-deviation": (torch.log, torch.exp),
    "variance": (torch.square, torch.sqrt),
    "precision": (lambda sigma: sigma**-2, lambda precision: precision**-0.5),
}
STYLES = ("-", "--", ":")  # of the three
METHODS = ("gradient descent", "Adam", "natural gradient")
START = (0.0, 2.0)  # mean and standard deviation of the first fit; the data's are 1 and 1
TIME, STEP_SIZES = 0.8, (0.08, 0.04, 0.02, 0.005)


def study() -> Findings:
    """Measure distances, and gaps between paths.

    Returns:
        What was found.
    """
    pairs = [row for sigma in (0.1, 1.0, 10.0) for row in _pair_rows(sigma, 2 * sigma)]
    gaps = [_gap_row(method, h, seed) for method in METHODS for h in STEP_SIZES for seed in SEEDS]
    shown = [
        {"": f"N(0, {r['sigma']:g}²) and N(0, {2 * r['sigma']:g}²) by {r['name']}"}
        | {"Euclidean distance": f"{r['euclidean']:.3g}", "KL, nats": f"{r['kl']:.3g}"}
        for r in pairs
    ]
    shown += [
        {
            "": f"paths of {m}, h = {h:g}",
            "Euclidean distance": "",
            "KL, nats": span(_gaps_of(gaps, m, h)),
        }
        for m in METHODS
        for h in STEP_SIZES
    ]
    kl_spread, euclidean_spread = (
        max(r[k] for r in pairs) / min(r[k] for r in pairs) for k in ("kl", "euclidean")
    )
    ends = {
        m: zip(_gaps_of(gaps, m, STEP_SIZES[0]), _gaps_of(gaps, m, STEP_SIZES[-1]), strict=True)
        for m in METHODS
    }
    shrinks = {
        m: [large / small for large, small in pairs_of_gaps] for m, pairs_of_gaps in ends.items()
    }
    verdict = Verdict(
        "C2",
        "distance between distributions does not depend on the parameterisation; distance between "
        "parameters does",
        "KL agrees to 1e-10 where Euclidean distance spans ≥ 10 ×; with steps 16 times smaller the "
        "natural path's gap shrinks "
        "≥ 100 × in every seed, the others' ≤ 2 ×",
        f"KL agrees to {kl_spread - 1:.0e}, Euclidean distance spans {euclidean_spread:.3g} ×; the "
        "gap shrinks "
        + ", ".join(f"{span(values)} × for {method}" for method, values in shrinks.items()),
        judge(
            kl_spread < 1 + 1e-10 and euclidean_spread >= 10,
            min(shrinks["natural gradient"]) >= 100
            and max(shrinks["gradient descent"] + shrinks["Adam"]) <= 2,
        ),
    )
    return Findings(pairs + gaps, shown, [verdict], _draw(gaps))


def _make_gaussian(way: str, mean: float, sigma: float) -> Model:
    # make N(mean, σ²), in one parameterisation, as a model of one state
    write, read = WAYS[way]
    theta = [
        torch.tensor([x], dtype=torch.float64)
        for x in (mean, write(torch.tensor(sigma, dtype=torch.float64)).item())
    ]
    parameters = [x.requires_grad_() for x in theta]
    return Model(parameters, lambda _: (parameters[0], read(parameters[1])), Normal)


def _pair_rows(sigma: float, other: float) -> list[dict[str, Any]]:
    # measure the same two Gaussians in every parameterisation
    rows = []
    for way in WAYS:
        one, two = _make_gaussian(way, 0.0, sigma), _make_gaussian(way, 0.0, other)
        euclidean = (flatten(one.parameters) - flatten(two.parameters)).norm().item()
        kl = mean_kl(one, two, [None])
        rows.append({
            "kind": "distance",
            "name": way,
            "seed": 0,
            "sigma": sigma,
            "h": math.nan,
            "euclidean": euclidean,
            "kl": kl,
        })
    return rows


def _path(way: str, method: str, h: float, draws: Tensor) -> list[Model]:
    # fit a Gaussian to draws from another for a time T, in T/h steps
    model = _make_gaussian(way, *START)
    adam = torch.optim.Adam(model.parameters, lr=h)
    seen = []
    steps = round(TIME / h)
    for step in range(1, steps + 1):
        _, g = surrogate_gradient(
            model, lambda distribution, data: distribution.log_prob(data), [draws]
        )
        if method == "Adam":
            for parameter, piece in zip(
                model.parameters, unflatten(-g, model.parameters), strict=True
            ):
                parameter.grad = piece
            adam.step()
        else:
            direction = (
                natural_direction(model, g, [draws], damping=0.0, tolerance=1e-12).x
                if method == "natural gradient"
                else g
            )
            assign(model.parameters, flatten(model.parameters).detach() + h * direction)
        if step * 10 % steps == 0:
            seen.append(_make_gaussian(way, *[x.item() for x in model.outputs(None)]))
    return seen


def _gap_row(method: str, h: float, seed: int) -> dict[str, Any]:
    # measure the largest gap between a method's paths under the parameterisations
    draws = 1 + torch.randn(200, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    paths = [_path(way, method, h, draws) for way in WAYS]
    gap = max(
        mean_kl(a, b, [None])
        for one, two in permutations(paths, 2)
        for a, b in zip(one, two, strict=True)
    )
    return {
        "kind": "paths",
        "name": method,
        "seed": seed,
        "sigma": START[1],
        "h": h,
        "euclidean": math.nan,
        "kl": gap,
    }


def _gaps_of(gaps: list[dict[str, Any]], method: str, h: float) -> list[float]:
    # a method's gaps at a step size, one per seed
    return [r["kl"] for r in gaps if r["name"] == method and r["h"] == h]


def _draw(gaps: list[dict[str, Any]]) -> Any:
    # draw the paths at one step size, and the gap between them over step sizes
    figure, (left, right) = panels(2)
    draws = 1 + torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for number, method in enumerate(METHODS):
        for way, style in zip(WAYS, STYLES, strict=True):
            points = [
                [x.item() for x in model.outputs(None)] for model in _path(way, method, 0.02, draws)
            ]
            left.plot(
                *zip(START, *points, strict=True),
                style,
                color=f"C{number}",
                marker=".",
            )
        left.plot([], [], color=f"C{number}", label=method)
        curves = [
            [r["kl"] for r in gaps if r["name"] == method and r["seed"] == seed] for seed in SEEDS
        ]
        band(right, STEP_SIZES, curves, method)
    left.set(
        xlabel="mean μ",
        ylabel="deviation σ",
        title=f"paths to time {TIME:g}, h = 0.02, seed 0",
        xlim=(-0.05, 1.4),
    )
    right.set(
        xlabel="step size h",
        ylabel="largest KL between paths, nats",
        title=f"median and range, {len(SEEDS)} seeds",
    )
    right.loglog()
    right.set_xticks(STEP_SIZES, [f"{h:g}" for h in STEP_SIZES])
    right.minorticks_off()
    for way, style in zip(WAYS, STYLES, strict=True):
        left.plot([], [], style, color="0.4", label=f"by {way}")
    left.legend(frameon=False, fontsize="small", loc="upper right", handlelength=3)
    right.legend(frameon=False, fontsize="small")
    return figure
