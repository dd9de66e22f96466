"""C7 under the conditions of deep learning: minibatches, a test set, and processor time.

The article finds natural gradients not compelling for most of deep learning. Full batches and the
training loss do not test that. Here a network learns 1,200 handwritten digits from minibatches of
64, and is tested on 597 others. A natural step takes its gradient from the minibatch too, and F
from it or from a larger one: an F of 64 samples is of low rank, and damping has to fill the rest.
Each optimiser has eight trials, on another seed, and keeps the one whose test accuracy is highest
on average over the time's logarithm; then all get the same processor time on one thread. The clock
is stopped during tests. Choosing the trial on the test set favours no optimiser.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from trpo.agents.updates.vpg import OPTIMIZERS, OptimizerName
from trpo.model import Model, surrogate_gradient
from trpo.parameters import assign, flatten
from trpo.scripts.studies.digits import (
    Digits,
    choose,
    load_digits,
    log_likelihood,
    make_classifier,
)
from trpo.scripts.studies.findings import SEEDS, Findings, Verdict, band, judge, panels, span
from trpo.trust_region import natural_direction

TRAINED, MINIBATCH, TUNING_SEED = 1200, 64, 100
SECONDS = 1.5  # processor seconds per run
LOOKS = np.geomspace(0.002, SECONDS, 60).tolist()  # tests, each 12 % later
GOAL = 0.95  # test accuracy
FIRST_ORDER: dict[str, OptimizerName] = {"momentum": "momentum", "Adam": "adam"}
NATURAL = {"natural, F of 64": 64, "natural, F of 512": 512}
Trial = tuple[float, float]  # step size, damping
TRIALS: dict[str, list[Trial]] = {
    "momentum": [(1.0 * 10 ** (-n / 2), 0.0) for n in range(8)],
    "Adam": [(0.1 * 10 ** (-n / 2), 0.0) for n in range(8)],
} | {
    name: [(step, beta) for step in (1.0, 0.3, 0.1, 0.03) for beta in (0.1, 0.01)]
    for name in NATURAL
}


def study() -> Findings:
    """Tune on one seed, train on others.

    Returns:
        What was found.
    """
    chosen = {name: _tune(name) for name in TRIALS}
    rows = [row for name in TRIALS for seed in SEEDS for row in train(name, chosen[name], seed)]

    def runs(name: str) -> list[list[dict[str, Any]]]:
        return [[r for r in rows if (r["optimiser"], r["seed"]) == (name, s)] for s in SEEDS]

    best = {name: [max(r["accuracy"] for r in run) for run in runs(name)] for name in TRIALS}
    to_goal = {name: [_seconds_to_goal(run) for run in runs(name)] for name in TRIALS}
    shown = [
        {
            "optimiser": name,
            "step, β": f"{chosen[name][0]:.2g}, {chosen[name][1]:g}",
            "steps": span([run[-1]["step"] for run in runs(name)]),
            "best test accuracy": span(best[name]),
            f"s to {GOAL:.0%}": span(to_goal[name]),
        }
        for name in TRIALS
    ]

    def better(values: dict[str, list[float]], names: Any, pick: Any) -> list[float]:
        return [pick(values[name][seed] for name in names) for seed in SEEDS]

    times = [
        natural / first
        for natural, first in zip(
            better(to_goal, NATURAL, min), better(to_goal, FIRST_ORDER, min), strict=True
        )
    ]
    points = [
        100 * (natural - first)
        for natural, first in zip(
            better(best, NATURAL, max), better(best, FIRST_ORDER, max), strict=True
        )
    ]
    verdict = Verdict(
        "C7",
        "natural gradients are not compelling for most of deep learning",
        f"minibatches of {MINIBATCH}, {SECONDS} s each: the better natural gradient takes longer "
        "to "
        f"{GOAL:.0%} test accuracy than the better first-order optimiser, in every seed; its best "
        "test accuracy is no more than a point higher, in every seed",
        f"natural ÷ first-order seconds to {GOAL:.0%}: {span(times)}; best test accuracy, natural "
        "− "
        f"first-order: {span(points)} points; n = {len(SEEDS)} seeds",
        judge(min(times) > 1, max(points) <= 1),
    )
    return Findings(rows, shown, [verdict], _draw(runs))


def split(seed: int) -> tuple[Digits, Digits]:
    """Split the digits.

    Args:
        seed: of the split.

    Returns:
        To train on, and to test on.
    """
    every = choose(load_digits(dtype=torch.float32), 1797, seed)
    return (
        Digits(every.inputs[:TRAINED], every.labels[:TRAINED]),
        Digits(every.inputs[TRAINED:], every.labels[TRAINED:]),
    )


def train(name: str, trial: Trial, seed: int) -> list[dict[str, Any]]:
    """Train for the available time.

    Args:
        name: of `TRIALS`.
        trial: step size and damping.
        seed: of the split, the network and the minibatches.

    Returns:
        One row per test.
    """
    data, test = split(seed)
    model = make_classifier(64, (32,), seed, torch.float32)
    step = _make_step(name, trial, model, data, torch.Generator().manual_seed(seed))
    rows, seconds, steps = [], 0.0, 0
    for look in LOOKS:
        while seconds < look:
            start = time.process_time()
            step()
            seconds += time.process_time() - start
            steps += 1
        with torch.no_grad():
            answers = model.outputs(test)[0].argmax(-1)
        accuracy = (answers == test.labels).double().mean().item()
        rows.append({
            "optimiser": name,
            "seed": seed,
            "step": steps,
            "seconds": seconds,
            "accuracy": accuracy,
        })
    return rows


def _make_step(
    name: str, trial: Trial, model: Model[Digits], data: Digits, generator: torch.Generator
) -> Callable[[], None]:
    step_size, damping = trial

    def minibatch(size: int) -> Digits:
        index = torch.randint(len(data.labels), (size,), generator=generator)
        return Digits(data.inputs[index], data.labels[index])

    if name in FIRST_ORDER:
        optimiser = OPTIMIZERS[FIRST_ORDER[name]](list(model.parameters), step_size)

        def first_order() -> None:
            batch = minibatch(MINIBATCH)
            optimiser.zero_grad()
            (-log_likelihood(model.distribution(batch), batch).mean()).backward()
            optimiser.step()

        return first_order

    def natural() -> None:
        batch = minibatch(MINIBATCH)
        _, g = surrogate_gradient(model, log_likelihood, [batch])
        size = NATURAL[name]
        of_fisher = batch if size == MINIBATCH else minibatch(size)
        x = natural_direction(model, g, [of_fisher], damping, 5).x
        assign(model.parameters, flatten(model.parameters).detach() + step_size * x)

    return natural


def _tune(name: str) -> Trial:
    def merit(trial: Trial) -> float:
        return float(np.mean([row["accuracy"] for row in train(name, trial, TUNING_SEED)]))

    return max(TRIALS[name], key=merit)


def _seconds_to_goal(run: list[dict[str, Any]]) -> float:
    return next((row["seconds"] for row in run if row["accuracy"] >= GOAL), float("inf"))


def _draw(runs: Callable[[str], list[list[dict[str, Any]]]]) -> Any:
    figure, axes = panels(2)
    for name in TRIALS:
        mine = runs(name)
        errors = [[max(1 - row["accuracy"], 1e-3) for row in run] for run in mine]
        for panel, key in zip(axes, ("seconds", "step"), strict=True):
            x = np.median([[row[key] for row in run] for run in mine], axis=0)
            band(panel, x.tolist(), errors, name)
    for panel, label in zip(axes, ("processor's seconds, one thread", "steps"), strict=True):
        panel.set(xscale="log", yscale="log", xlabel=label, ylabel="test error")
        panel.set_title(f"minibatches; median and range, {len(SEEDS)} seeds", fontsize="medium")
        panel.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    return figure
