"""C3: KL is not a metric: KL(P‖Q) ≠ KL(Q‖P). Yet it tells how far apart two distributions are.

To second order both directions are ½ dᵀFd, with the same F; they differ at third order. So their
ratio is 1 + O(d): in either direction, a *small* step has the same length. Far apart, KL(P‖Q) is
large where P puts mass that Q does not, and order matters.

The experiment moves Q away from P by d: a Gaussian's log σ, a Gaussian's mean (where, by symmetry,
both directions are equal at every distance), and the logits of a ten-way choice along random
directions; and measures both directions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from trpo.measurement import measure_against_present
from trpo.model import Model
from trpo.parameters import assign
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

DISTANCES = np.logspace(
    -3, 0.5, 15
).tolist()  # d: in log σ, in the mean as a multiple of σ, in a direction of logits
Family = Callable[..., Any]


def study() -> Findings:
    """Measure KL in both directions.

    Returns:
        What was found.
    """
    rows = []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(1, 10, generator=generator, dtype=torch.float64)
        direction = torch.randn(1, 10, generator=generator, dtype=torch.float64)
        rows += _both_directions(
            "ten-way choice, its logits", logits, direction, lambda x: Categorical(logits=x), seed
        )
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    rows += _both_directions("Gaussian, its log σ", zero, one, lambda x: Normal(0.0, x.exp()), 0)
    rows += _both_directions("Gaussian, its mean", zero, one, lambda x: Normal(x, 1.0), 0)
    names = list(dict.fromkeys(row["pair"] for row in rows))
    shown = [
        {
            "P and Q differ in": name,
            "distance d": f"{d:.2g}",
            "KL(P‖Q) ÷ KL(Q‖P)": span(_at(rows, name, d)),
            "|ratio − 1| ÷ d": span([abs(ratio - 1) / d for ratio in _at(rows, name, d)]),
        }
        for name in names
        for d in (DISTANCES[0], DISTANCES[4], DISTANCES[8], DISTANCES[12])
    ]
    parting = [name for name in names if name != "Gaussian, its mean"]
    far = min(
        median_range([max(x, 1 / x) for x in _at(rows, name, DISTANCES[-1])])[1] for name in parting
    )
    near = max(abs(x - 1) for name in names for x in _at(rows, name, DISTANCES[0]))
    order = [_slope(mine) for name in parting for mine in _by_seed(rows, name)]
    verdict = Verdict(
        "C3",
        "KL(P‖Q) ≠ KL(Q‖P), yet KL measures how far apart two distributions are",
        "far apart the directions differ by ≥ 10 % in every seed; |ratio − 1| falls as d to the "
        "power 0.9 to 1.1, to ≤ 1 %",
        f"at d = {DISTANCES[-1]:.2g} at least {far:.3g} ×; at d = {DISTANCES[0]:.2g} |ratio − 1| ≤ "
        f"{near:.2g}; "
        f"power {span(order)}. Gaussians of equal σ are the exception: equal both ways",
        judge(far >= 1.1, near <= 0.01 and min(order) > 0.9 and max(order) < 1.1),
    )
    return Findings(rows, shown, [verdict], _draw(rows, names))


def _both_directions(
    pair: str, start: Tensor, direction: Tensor, family: Family, seed: int
) -> list[dict[str, Any]]:
    # move Q away from P, and measure
    parameter = start.clone().requires_grad_()
    model: Model[None] = Model([parameter], lambda _: (parameter,), family)
    measure = measure_against_present(model, lambda distribution, _: distribution.entropy(), [None])
    rows = []
    for d in DISTANCES:
        assign([parameter], (start + d * direction).flatten())
        seen = measure()
        rows.append(
            {
                "pair": pair,
                "seed": seed,
                "distance": d,
                "kl": seen.mean_kl,
                "reverse_kl": seen.mean_reverse_kl,
            }
            | {"ratio": seen.mean_kl / seen.mean_reverse_kl}
        )
    return rows


def _at(rows: list[dict[str, Any]], pair: str, distance: float) -> list[float]:
    # a pair's ratio at a distance, one per seed
    return [row["ratio"] for row in rows if row["pair"] == pair and row["distance"] == distance]


def _by_seed(rows: list[dict[str, Any]], pair: str) -> list[list[dict[str, Any]]]:
    # a pair's rows, one list per seed
    parts = [[row for row in rows if row["pair"] == pair and row["seed"] == seed] for seed in SEEDS]
    return [part for part in parts if part]


def _slope(rows: list[dict[str, Any]]) -> float:
    # the power of d with which |ratio − 1| falls as d → 0
    near = [row for row in rows if row["distance"] <= 0.02]
    return float(
        np.polyfit(
            np.log([r["distance"] for r in near]), np.log([abs(r["ratio"] - 1) for r in near]), 1
        )[0]
    )


def _draw(rows: list[dict[str, Any]], names: list[str]) -> Any:
    # draw both directions, and how their ratio goes to 1
    figure, (left, right) = panels(2)
    for number, name in enumerate(names):
        mine = _by_seed(rows, name)
        band(
            left,
            DISTANCES,
            [[r["kl"] for r in part] for part in mine],
            f"{name}: KL(P‖Q)",
            color=f"C{number}",
        )
        band(
            left,
            DISTANCES,
            [[r["reverse_kl"] for r in part] for part in mine],
            "KL(Q‖P)",
            color=f"C{number}",
            linestyle=":",
        )
        band(
            right,
            DISTANCES,
            [[r["ratio"] for r in part] for part in mine],
            name,
            color=f"C{number}",
        )
    left.set(
        xlabel="distance d", ylabel="KL, nats", xscale="log", yscale="log", title="both directions"
    )
    right.set(
        xlabel="distance d",
        ylabel="KL(P‖Q) ÷ KL(Q‖P)",
        xscale="log",
        yscale="log",
        title="their ratio",
    )
    right.text(
        0.02,
        0.02,
        f"choice: median and range, {len(SEEDS)} seeds",
        transform=right.transAxes,
        fontsize="small",
    )
    left.legend(frameon=False, fontsize="x-small")
    right.legend(frameon=False, fontsize="small")
    return figure
