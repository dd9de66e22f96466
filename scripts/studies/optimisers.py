"""The race's optimisers, five of torch.optim and three that solve with curvature."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from trpo.agents.updates.vpg import OPTIMIZERS
from trpo.conjugate_gradient import conjugate_gradient
from trpo.fisher import fisher_vector_product
from trpo.measurement import measure_against_present
from trpo.model import Model, surrogate_gradient
from trpo.parameters import assign, flatten
from trpo.reference import hessian_vector_product
from trpo.scripts.studies.digits import Digits, choose, load_digits, log_likelihood, make_classifier
from trpo.trust_region import TrustRegionConfig, natural_direction, trust_region_step

Step = Callable[[], float]
FIRST_ORDER: dict[str, Callable[[Sequence[Tensor], float], Optimizer]] = {
    "gradient descent": OPTIMIZERS["sgd"],
    "momentum": OPTIMIZERS["momentum"],
    "Adagrad": OPTIMIZERS["adagrad"],
    "RMSProp": OPTIMIZERS["rmsprop"],
    "Adam": OPTIMIZERS["adam"],
}
NEWTON, NATURAL, TRUST_REGION = "Newton–CG", "natural gradient", "trust region"
BUDGET, SOLVE = 480, 12  # budget of gradients per run; the cost of a step with a solve
TARGETS = (1.0, 0.3, 0.1, 0.03)  # losses, nats
LOOKS = (1, 2, 4, 8, 16, 32, 128, 480)  # steps at which angles are measured
TUNING_SEEDS = (100, 101)
MEASURES = ("step_angle", "gradient_angle", "step_gain_per_kl", "gradient_gain_per_kl")


@dataclass(frozen=True)
class Trial:
    """One setting of an optimiser.

    Args:
        step_size: the learning rate; δ in nats for the trust region.
        damping: β of optimisers that solve with A + βI.
        iterations: maximum conjugate-gradient iterations.
    """

    step_size: float
    damping: float = 0.0
    iterations: int = 10


def _decades(top: float) -> list[Trial]:
    return [Trial(top * 10 ** (-number / 2)) for number in range(8)]


def _solving(
    step_sizes: Sequence[float], dampings: Sequence[float], iterations: Sequence[int] = (10, 5)
) -> list[Trial]:
    return [Trial(*trial) for trial in product(step_sizes, dampings, iterations)]


TRIALS = {  # eight each
    "gradient descent": _decades(10.0),
    "momentum": _decades(3.0),
    "Adagrad": _decades(1.0),
    "RMSProp": _decades(0.1),
    "Adam": _decades(0.3),
    NEWTON: _solving((0.5, 0.2), (1e-1, 1e-2)),
    NATURAL: _solving((1.0, 0.5), (1e-2, 1e-3)),
    TRUST_REGION: _solving((1.0, 0.3), (1e-2, 1e-3)),
}


def make_step(name: str, trial: Trial, model: Model, digits: Digits) -> Step:
    """Make an optimiser of the mean log-likelihood of all the digits at once.

    Args:
        name: of `TRIALS`.
        trial: its setting.
        model: changed in place by every step.
        digits: the data.

    Returns:
        A function that takes a step, and returns the loss before it.
    """
    if name == TRUST_REGION:
        config = TrustRegionConfig(trial.step_size, trial.damping, trial.iterations)
        return lambda: -trust_region_step(model, log_likelihood, [digits], config).surrogate_before
    if name in FIRST_ORDER:
        optimiser = FIRST_ORDER[name](list(model.parameters), trial.step_size)

        def first_order_step() -> float:
            loss = -log_likelihood(model.distribution(digits), digits).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            return loss.item()

        return first_order_step

    def solving_step() -> float:
        value, g = surrogate_gradient(model, log_likelihood, [digits])
        direction = curved_direction(name, model, digits, g, trial.damping, trial.iterations)
        assign(model.parameters, flatten(model.parameters).detach() + trial.step_size * direction)
        return -value

    return solving_step


def curved_direction(
    name: str, model: Model, digits: Digits, g: Tensor, damping: float, iterations: int = 10
) -> Tensor:
    """Solve (A + βI)x = ∇L by conjugate gradient, A the Fisher matrix or the Hessian of the loss.

    Args:
        name: Newton–CG, else the natural gradient.
        model: at θ.
        digits: the data.
        g: ∇L.
        damping: β.
        iterations: maximum conjugate-gradient iterations.

    Returns:
        x; g itself where the first direction has no positive curvature (Nocedal & Wright 2006,
        algorithm 7.1).
    """
    if name == NEWTON:
        Hv = hessian_vector_product(model, log_likelihood, [digits])
        # the loss is −L
        solution = conjugate_gradient(lambda v: -Hv(v), g, iterations, damping=damping)
    else:
        solution = natural_direction(model, g, [digits], damping, iterations)
    return solution.x if solution.iterations else g


def problem(seed: int) -> tuple[Model, Digits]:
    """Make a network and its data.

    Args:
        seed: of both.

    Returns:
        P = 1,210 parameters in float32, 600 digits.
    """
    return make_classifier(64, (16,), seed, torch.float32), choose(
        load_digits(dtype=torch.float32), 600, seed
    )


def steps_within_budget(name: str) -> int:
    """Return the number of steps of an optimiser.

    Args:
        name: of `TRIALS`.

    Returns:
        The number.
    """
    return BUDGET if name in FIRST_ORDER else BUDGET // SOLVE


def tune(name: str) -> Trial:
    """Try all of an optimiser's settings on the tuning seeds.

    Args:
        name: of `TRIALS`.

    Returns:
        The one with the lowest mean log-loss over the budget.
    """

    def mean_log_loss(trial: Trial) -> float:
        steps = [make_step(name, trial, *problem(seed)) for seed in TUNING_SEEDS]
        losses = [step() for step in steps for _ in range(steps_within_budget(name))]
        return sum(math.log(max(x, 1e-6)) if math.isfinite(x) else math.inf for x in losses) / len(
            losses
        )

    return min(TRIALS[name], key=mean_log_loss)


def race(name: str, trial: Trial, seed: int) -> list[dict[str, Any]]:
    """Run an optimiser for its budget.

    Args:
        name: of `TRIALS`.
        trial: its setting.
        seed: of the network and the digits.

    Returns:
        One row per step: the loss after it, the processor's seconds so far, its KL, and at some
        steps `MEASURES`.
    """
    model, digits = problem(seed)
    step, seconds, length = make_step(name, trial, model, digits), 0.0, 0.0
    rows = []
    for number in range(1, steps_within_budget(name) + 1):
        measure, theta = (
            measure_against_present(model, log_likelihood, [digits]),
            flatten(model.parameters).detach(),
        )
        start = time.process_time()  # one thread: another process's share is not counted
        step()
        seconds += time.process_time() - start
        seen = measure()
        length += math.sqrt(2 * max(seen.mean_kl, 0.0))
        row = {
            "optimiser": name,
            "seed": seed,
            "step": number,
            "seconds": seconds,
            "loss": -seen.surrogate,
            "kl": seen.mean_kl,
        }
        d = flatten(model.parameters).detach() - theta
        looks = compare_step(model, digits, theta, d) if number in LOOKS else {}
        rows.append(row | {"length": length} | dict.fromkeys(MEASURES, math.nan) | looks)
    return rows


def until(run: list[dict[str, Any]], target: float) -> list[dict[str, Any]]:
    """Return a run up to the step that reached a loss.

    Args:
        run: rows of one run.
        target: the loss, nats.

    Returns:
        Its first rows; all of them if it never did.
    """
    return run[
        : next((place for place, row in enumerate(run, 1) if row["loss"] <= target), len(run))
    ]


def first(run: list[dict[str, Any]], target: float) -> dict[str, float]:
    """Return the cost of reaching a loss.

    Args:
        run: rows of one run.
        target: the loss, nats.

    Returns:
        Steps, seconds and path length; infinite if it never did.
    """
    last = until(run, target)[-1]
    if last["loss"] <= target:
        return {key: last[key] for key in ("step", "seconds", "length")}
    return dict.fromkeys(("step", "seconds", "length"), math.inf)


def thinned(run: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows to keep: the first forty, every twentieth, those that reach a target.

    Args:
        run: rows of one run.

    Returns:
        Rows of results.csv.
    """
    reaching = {until(run, target)[-1]["step"] for target in TARGETS}
    return [
        row for row in run if row["step"] <= 40 or row["step"] % 20 == 0 or row["step"] in reaching
    ]


@dataclass(frozen=True)
class Look:
    """The curvature at a θ.

    Args:
        g: (P,), ∇L.
        x: (P,), (F + βI)x = g by 50 iterations, with β = 10⁻³ gᵀFg / gᵀg.
        metric: v ↦ (F + βI)v.
    """

    g: Tensor
    x: Tensor
    metric: Callable[[Tensor], Tensor]

    def gain_per_kl(self, d: Tensor) -> float:
        """Return a direction's gain per KL, as a fraction of the best direction's.

        (gᵀd)² / (dᵀFd · gᵀF⁻¹g), whatever d's length: gain² per KL of the linear and the quadratic
        model; 1 for the natural direction, by Cauchy and Schwarz.

        Args:
            d: (P,).

        Returns:
            In [0, 1], up to conjugate gradient's residual; 0 if d is a descent direction.
        """
        gain = max((self.g @ d).item(), 0.0)
        return gain**2 / ((d @ self.metric(d)).item() * (self.g @ self.x).item())


def look(model: Model, digits: Digits) -> Look:
    """Return the curvature at θ.

    Args:
        model: at θ.
        digits: the data.

    Returns:
        Gradient, natural direction and metric; a fixed β would dominate F once F is smaller.
    """
    _, g = surrogate_gradient(model, log_likelihood, [digits])
    Fv = fisher_vector_product(model, [digits])
    damping = 1e-3 * (g @ Fv(g) / (g @ g)).item()
    x = curved_direction(NATURAL, model, digits, g, damping, iterations=50)
    return Look(g, x, lambda v: Fv(v) + damping * v)


def compare_step(model: Model, digits: Digits, theta: Tensor, d: Tensor) -> dict[str, float]:
    """Compare a step with the gradient and the natural direction at its start.

    Args:
        model: at θ + d, and left there.
        digits: the data.
        theta: (P,), θ.
        d: (P,).

    Returns:
        `MEASURES`; none if the step is zero.
    """
    if not d.any():
        return {}
    assign(model.parameters, theta)
    seen = look(model, digits)
    measures = (
        angle(d, seen.x),
        angle(seen.g, seen.x),
        seen.gain_per_kl(d),
        seen.gain_per_kl(seen.g),
    )
    assign(model.parameters, theta + d)
    return dict(zip(MEASURES, measures, strict=True))


def angle(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the angle between two directions.

    Args:
        one: a direction.
        other: another.

    Returns:
        Degrees.
    """
    return torch.rad2deg(
        torch.arccos((one @ other / one.norm() / other.norm()).clamp(-1, 1))
    ).item()
