"""C7, C9: fewer, more expensive steps; and the relation of momentum, RMSProp and Adam to curvature.

C7. A natural step solves (F + βI)x = ∇L: some ten products in addition to one gradient. It pays if
it saves as many steps. C9. Adagrad, RMSProp and Adam divide each coordinate by the root of its
squared gradients: a diagonal guess at curvature. If it is a good one, their steps gain more per KL,
(gᵀd)² / (dᵀFd · gᵀF⁻¹g), than the gradient does; an angle would judge them by the Euclidean
distance that is in question. If they lack its coherence, they move the distribution further for the
same gain: how far a path went is Σ √(2 KL) over its steps, its Fisher–Rao length; a sum of KL would
shrink with the step.

Eight optimisers fit a network to handwritten digits by full batches. Each gets eight trials, and
takes the one with the lowest mean log-loss on networks of two other seeds; a run's budget is
counted in gradients, so that first-order optimisers may take twelve times as many steps. Clocks
stop while KL and angles are measured.
"""

import math
from typing import Any

import numpy as np
import torch

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
from trpo.scripts.studies.optimisers import (
    FIRST_ORDER,
    LOOKS,
    NATURAL,
    TARGETS,
    TRIALS,
    TRUST_REGION,
    Trial,
    first,
    race,
    thinned,
    tune,
    until,
)


def study() -> Findings:
    """Tune on some seeds, race on others.

    Returns:
        What was found.
    """
    chosen = {name: tune(name) for name in TRIALS}
    runs = {(name, seed): race(name, chosen[name], seed) for name in TRIALS for seed in SEEDS}
    rows = [row for run in runs.values() for row in thinned(run)]
    reached = {
        (name, seed, target): first(runs[name, seed], target)
        for name, seed in runs
        for target in TARGETS
    }

    def over_seeds(name: str, key: str, target: float) -> list[float]:
        return [reached[name, seed, target][key] for seed in SEEDS]

    shown = [
        {"optimiser": name, "setting": _setting(chosen[name], name)}
        | {f"steps to {target:g}": span(over_seeds(name, "step", target)) for target in TARGETS}
        | {
            f"s to {target:g}": f"{median_range(over_seeds(name, 'seconds', target))[0]:.3f}"
            for target in TARGETS[1::2]
        }
        | {
            "KL a step": "{:.1e}".format(
                np.median([r["kl"] for s in SEEDS for r in until(runs[name, s], 0.3)])
            )
        }
        | {"Σ√(2KL) to 0.3": span(over_seeds(name, "length", 0.3))}
        for name in TRIALS
    ]
    return Findings(
        rows, shown, [_verdict_on_cost(reached), _verdict_on_curvature(runs)], _draw(runs)
    )


def _setting(trial: Trial, name: str) -> str:
    solve = (
        f", β {trial.damping:g}, {trial.iterations} iterations" if name not in FIRST_ORDER else ""
    )
    return f"{trial.step_size:.2g}{solve}"


def _verdict_on_cost(reached: dict[Any, dict[str, float]]) -> Verdict:
    # judge C7

    def quotients(
        key: str, target: float
    ) -> list[float]:  # the best first-order optimiser of each seed over the better natural one
        def best(names: Any, seed: int) -> float:
            return min(reached[name, seed, target][key] for name in names)

        return [best(FIRST_ORDER, seed) / best((NATURAL, TRUST_REGION), seed) for seed in SEEDS]

    fewer = {target: quotients("step", target) for target in TARGETS}
    seconds = {target: quotients("seconds", target) for target in TARGETS}

    def pace(names: Any, seed: int) -> float:
        used = [reached[name, seed, TARGETS[1]] for name in names]
        return min(u["seconds"] / u["step"] for u in used if math.isfinite(u["step"]))

    dearer = [pace((NATURAL, TRUST_REGION), seed) / pace(FIRST_ORDER, seed) for seed in SEEDS]
    return Verdict(
        "C7",
        "the natural gradient needs fewer steps, but each is dearer",
        "fewer steps than the best first-order optimiser to every target in every seed; ≥ 2 × the "
        "seconds a step",
        "best first-order ÷ natural, in steps: "
        + ", ".join(f"{span(values)} × to {target:g}" for target, values in fewer.items())
        + f"; a natural step takes {span(dearer)} × the time; in seconds: "
        + ", ".join(f"{span(values)} × to {target:g}" for target, values in seconds.items()),
        judge(all(min(values) > 1 for values in fewer.values()), min(dearer) >= 2),
    )


def _verdict_on_curvature(runs: dict[tuple[str, int], list[dict[str, Any]]]) -> Verdict:
    # judge C9

    def over_looks(
        name: str, key: str
    ) -> list[float]:  # the first step is along the gradient or its signs
        return [
            median_range(r[key] for r in runs[name, seed] if r["step"] in LOOKS[1:])[0]
            for seed in SEEDS
        ]

    def length(name: str) -> list[float]:  # of the way to a loss of 0.3, from the same network
        return [first(runs[name, s], 0.3)["length"] for s in SEEDS]

    guesses = ("momentum", "RMSProp", "Adam")
    better = {
        name: [
            s / g
            for s, g in zip(
                over_looks(name, "step_gain_per_kl"),
                over_looks(name, "gradient_gain_per_kl"),
                strict=True,
            )
        ]
        for name in guesses
    }
    natural = [min(pair) for pair in zip(length(NATURAL), length(TRUST_REGION), strict=True)]
    further = {
        name: [own / best for own, best in zip(length(name), natural, strict=True)]
        for name in guesses
    }
    return Verdict(
        "C9",
        "momentum, RMSProp and Adam approximate curvature, without the natural gradient's "
        "coherence",
        "for each: its step gains more per KL than the gradient at the same θ, in every seed "
        "(curvature); "
        "its Fisher–Rao path to a loss of 0.3 is longer than the shorter natural one, in every "
        "seed (no coherence)",
        "; ".join(
            f"{name}: gain per KL {span(over_looks(name, 'step_gain_per_kl'))} of the natural "
            "direction's, "
            f"{span(better[name])} × the gradient's "
            f"{span(over_looks(name, 'gradient_gain_per_kl'))}; path "
            f"{span(further[name])} × as long; angle {span(over_looks(name, 'step_angle'))}°, the "
            "gradient's "
            f"{span(over_looks(name, 'gradient_angle'))}°"
            for name in guesses
        ),
        judge(
            *(min(better[name]) > 1 for name in guesses),
            *(min(further[name]) > 1 for name in guesses),
        ),
    )


def _draw(runs: dict[tuple[str, int], list[dict[str, Any]]]) -> Any:
    # draw loss over steps, over seconds and over path length, and KL and angles over steps
    figure, (*axes, corner) = panels(3, rows=2)
    for number, name in enumerate(TRIALS):
        mine = [runs[name, seed] for seed in SEEDS]
        style = {"color": f"C{number}", "linestyle": "--" if name in FIRST_ORDER else "-"}
        steps = [row["step"] for row in mine[0]]
        middle = {
            key: torch.tensor([[row[key] for row in run] for run in mine]).median(0).values
            for key in ("seconds", "length")
        }
        losses = [[row["loss"] for row in run] for run in mine]
        for panel, x in zip(
            axes, (steps, middle["seconds"].tolist(), middle["length"].tolist()), strict=False
        ):
            band(panel, x, losses, name, **style)
        band(axes[3], steps, [[max(row["kl"], 1e-9) for row in run] for run in mine], name, **style)
        seen = [step for step in LOOKS if step in steps]
        band(
            axes[4],
            seen,
            [[row["step_gain_per_kl"] for row in run if row["step"] in LOOKS] for run in mine],
            name,
            **style,
        )
    labels = (
        "steps",
        "seconds, one thread (median)",
        "path length Σ √(2 KL) (median)",
        "steps",
        "steps",
    )
    for panel, label in zip(axes, labels, strict=True):
        panel.set(xlabel=label, ylabel="training loss, nats", xscale="log", yscale="log")
    for panel in axes[:3]:
        panel.set_ylim(1e-3, 3)
    axes[1].set_xlim(left=2e-3)
    axes[2].set_xscale("linear")
    axes[3].set_ylabel("KL(old ‖ new) of the step, nats")
    axes[4].set(ylabel="gain² per KL of the step ÷ the natural direction's", yscale="linear")
    axes[0].set_title(
        f"digits, full batch; median and range, {len(SEEDS)} seeds", fontsize="medium"
    )
    corner.axis("off")
    corner.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="center left")
    return figure
