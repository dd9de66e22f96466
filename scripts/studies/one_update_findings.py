"""The findings of the one-update study, by the criteria that were written down beforehand.

runs/reference/collapse/CRITERIA.md, section 1. The unit is a seed: its statistic is a mean or a
correlation over its forks, and verdicts are based on seeds.
"""

import csv
import gzip
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, spearmanr

from trpo.scripts.cli.tables import read_rows
from trpo.scripts.studies.findings import BY_SEEDS, Findings, Verdict, judge, panels, span

CONTROL = "none"
NATURAL = {"trpo", "npg"}
ENOUGH = 5  # minimum seeds; with fewer, a task is undecided
SMALL, LARGE = 0.03, 30.0  # nats
BANDS = ((0.03, 0.3), (0.3, 3.0), (3.0, 30.0), (30.0, 300.0), (300.0, math.inf))
MARKERS = {
    CONTROL: "*",
    "trpo": "o",
    "npg": "D",
    "vpg-sgd": "s",
    "vpg-adam": "^",
    "ppo": "v",
}
NUMBERS = ("asked", "step_size", "kl", "left", "recovered", "untrained", "trained")


@dataclass(frozen=True)
class Seed:
    """The forks of one task and seed.

    Args:
        task: its environment.
        seed: its number.
        rows: one row per fork, with `left` and `recovered` as fractions of the gain of θ.
        updates_back: for each row, the updates until five updates' mean return is back at 90 % of
            the gain; infinite if it never is.
    """

    task: str
    seed: int
    rows: Sequence[dict[str, Any]]
    updates_back: Sequence[float]

    @property
    def control(self) -> float:
        """The fraction recovered without a fork's update."""
        return float(next(r["share_recovered"] for r in self.rows if r["rule"] == CONTROL))

    def of(self, low: float, high: float, key: str) -> list[float]:
        """Return a measure of the forks with a KL in [low, high).

        Args:
            low: nats.
            high: nats.
            key: of a row.

        Returns:
            One value per fork.
        """
        return [r[key] for r in self.rows if r["rule"] != CONTROL and low <= r["kl"] < high]


def read(folder: Path) -> list[Seed]:
    """Read the tables.

    Args:
        folder: with results.csv and updates.csv.gz.

    Returns:
        The seeds whose forks are all there, by task.
    """
    curves: dict[tuple[str, int, str, float], list[float]] = defaultdict(list)
    with gzip.open(folder / "updates.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = row["task"], int(row["seed"]), row["rule"], float(row["asked"])
            curves[key].append(float(row["episode_return"] or "nan"))
    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in read_rows(folder / "results.csv"):
        number = {name: float(row[name]) for name in NUMBERS}
        gain = number["trained"] - number["untrained"]
        shares = {
            f"share_{name}": (number[name] - number["untrained"]) / gain
            for name in ("left", "recovered")
        }
        groups[row["task"], int(row["seed"])].append(row | number | shares)
    most = max(len(rows) for rows in groups.values())
    seeds = []
    for (task, seed), rows in groups.items():
        if len(rows) == most:
            back = [
                _updates_back(
                    curves[task, seed, r["rule"], r["asked"]], r["untrained"], r["trained"]
                )
                for r in rows
            ]
            seeds.append(Seed(task, seed, rows, back))
    return seeds


def _updates_back(returns: Sequence[float], untrained: float, trained: float) -> float:
    wanted = untrained + 0.9 * (trained - untrained)
    for end in range(5, len(returns) + 1):
        known = [x for x in returns[end - 5 : end] if not math.isnan(x)]
        if known and sum(known) / len(known) >= wanted:
            return float(end)
    return math.inf


def learned(seeds: Sequence[Seed]) -> list[Seed]:
    """Leave out the seeds of a task whose θ gained less than half of its seeds' median.

    Args:
        seeds: of one task.

    Returns:
        The others.
    """
    gains = [s.rows[0]["trained"] - s.rows[0]["untrained"] for s in seeds]
    return [s for s, gain in zip(seeds, gains, strict=True) if gain >= np.median(gains) / 2]


def findings(folder: Path) -> Findings:
    """Evaluate all forks.

    Args:
        folder: of the tables.

    Returns:
        What was found.
    """
    tasks: dict[str, list[Seed]] = defaultdict(list)
    for seed in read(folder):
        tasks[seed.task].append(seed)
    kept = {task: learned(seeds) for task, seeds in tasks.items()}
    out = [
        f"{task} seed {s.seed}"
        for task, seeds in tasks.items()
        for s in seeds
        if s not in kept[task]
    ]
    note = f"; left out, as θ had not learned: {', '.join(out)}" if out else ""
    verdicts = [
        _verdict(kept, "small is safe", _small, "share left and share recovered", note),
        _verdict(kept, "KL doses the damage", _dose, "Spearman's ρ of KL and share left", note),
        _verdict(
            kept, "the rule adds little to its KL", _rule, "natural − others, share left", note
        ),
        _verdict(kept, "a large update is dearer than learning anew", _anew, "recovered", note),
    ]
    rows = read_rows(folder / "results.csv")
    return Findings(rows, [*_shown(kept)], verdicts, _draw(kept))


CRITERIA = {
    "small is safe": "forks with KL ≤ 0.03 nats: the seed's mean share left ≥ 0.9 and recovered ≥ "
    "0.9, in every seed",
    "KL doses the damage": "Spearman's ρ of KL and share left ≤ −0.5 in every seed",
    "the rule adds little to its KL": "in each band of KL where at least 4 seeds have forks of the "
    "natural direction and of others: the median over seeds of their difference in share left is "
    "within ±0.2",
    "a large update is dearer than learning anew": "forks with KL ≥ 30 nats: the seed's mean share "
    "recovered after as many updates as θ took from scratch is < 1; exact one-sided sign test over "
    "seeds, p < 0.05; undecided if the controls' is < 0.9 in the median or no fork went as far",
}


def _verdict(
    tasks: dict[str, list[Seed]],
    name: str,
    measure: Callable[[Sequence[Seed]], tuple[str, bool | None]],
    what: str,
    note: str,
) -> Verdict:
    found = {task: measure(seeds) for task, seeds in tasks.items()}
    for task, (words, _) in found.items():
        if len(tasks[task]) < ENOUGH:
            found[task] = words, None
    decided = [holds for _, holds in found.values() if holds is not None]
    return Verdict(
        "C10",
        name,
        f"for each task: {CRITERIA[name]}",
        f"{what}: "
        + "; ".join(
            f"{task} (n = {len(tasks[task])} seeds) {words}"
            + {True: ", holds", False: ", does not", None: ", undecided"}[holds]
            for task, (words, holds) in found.items()
        )
        + note,
        judge(*decided),
        f"{BY_SEEDS}; with fewer a task is undecided",
    )


def _small(seeds: Sequence[Seed]) -> tuple[str, bool | None]:
    left = [_mean(s.of(0, SMALL, "share_left")) for s in seeds]
    back = [_mean(s.of(0, SMALL, "share_recovered")) for s in seeds]
    return f"{span(left)} and {span(back)}", min(left) >= 0.9 and min(back) >= 0.9


def _dose(seeds: Sequence[Seed]) -> tuple[str, bool | None]:
    rho = [
        float(spearmanr(s.of(0, math.inf, "kl"), s.of(0, math.inf, "share_left")).statistic)
        for s in seeds
    ]
    return span(rho), max(rho) <= -0.5


def _rule(seeds: Sequence[Seed]) -> tuple[str, bool | None]:
    words, holds = [], []
    for low, high in BANDS[:4]:
        differences = []
        for s in seeds:
            forks = [r for r in s.rows if r["rule"] != CONTROL and low <= r["kl"] < high]
            natural = [r["share_left"] for r in forks if r["rule"] in NATURAL]
            others = [r["share_left"] for r in forks if r["rule"] not in NATURAL]
            if natural and others:
                differences.append(_mean(natural) - _mean(others))
        if len(differences) >= 4:
            words.append(f"{span(differences)} at {low:g} to {high:g} nats")
            holds.append(abs(float(np.median(differences))) <= 0.2)
    return ", ".join(words), all(holds) if holds else None


def _anew(seeds: Sequence[Seed]) -> tuple[str, bool | None]:
    control = [s.control for s in seeds]
    parts, holds = [], None
    for low, high in ((3.0, LARGE), (LARGE, math.inf)):
        shares = [_mean(part) for s in seeds if (part := s.of(low, high, "share_recovered"))]
        if not shares:
            parts.append(f"no fork at {low:g} nats or more")
            continue
        below = sum(share < 1 for share in shares)
        p = binomtest(below, len(shares), alternative="greater").pvalue
        reach = f"{low:g} to {high:g} nats" if high < math.inf else f"{low:g} nats and more"
        parts.append(
            f"{span(shares)} at {reach} (below 1 in {below} of {len(shares)}, p = {p:.2g})"
        )
        if low == LARGE and np.median(control) >= 0.9:
            holds = bool(p < 0.05)
    return f"control {span(control)}, " + ", ".join(parts), holds


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _shown(tasks: dict[str, list[Seed]]) -> Iterable[dict[str, str]]:
    for task, seeds in tasks.items():
        for low, high in ((0.0, SMALL), *BANDS):
            left = [_mean(part) for s in seeds if (part := s.of(low, high, "share_left"))]
            back = [_mean(part) for s in seeds if (part := s.of(low, high, "share_recovered"))]
            forks = [
                (r, u)
                for s in seeds
                for r, u in zip(s.rows, s.updates_back, strict=True)
                if r["rule"] != CONTROL and low <= r["kl"] < high
            ]
            if forks:
                half = sum(r["share_recovered"] < 0.5 for r, _ in forks)
                yield {
                    "task": task,
                    "KL, nats": f"{low:g} to {high:g}",
                    "forks (seeds)": f"{len(forks)} ({len(left)})",
                    "left": span(left),
                    "recovered": span(back),
                    "recovered < ½": f"{half} of {len(forks)}",
                    "updates back": f"{np.median([u for _, u in forks]):.0f}",
                }


def _draw(tasks: dict[str, list[Seed]]) -> Any:
    # fraction left above, recovered below, over the KL of the one update; one column per task
    figure, axes = panels(len(tasks), rows=2)
    for place, (task, seeds) in enumerate(tasks.items()):
        for row, key in enumerate(("share_left", "share_recovered")):
            panel = axes[row * len(tasks) + place]
            rows = [r for s in seeds for r in s.rows if r["rule"] != CONTROL]
            top = max(1.25, 1.05 * max(r[key] for r in rows), 1.05 * max(s.control for s in seeds))
            for number, (rule, marker) in enumerate(MARKERS.items()):
                mine = [r for r in rows if r["rule"] == rule]
                panel.plot(
                    [min(r["kl"], 1e6) for r in mine],
                    [max(r[key], -0.6) for r in mine],
                    marker,
                    color=f"C{number}",
                    label=rule,
                    markersize=5,
                    alpha=0.7,
                )
            if row:
                panel.axhspan(
                    min(s.control for s in seeds),
                    max(s.control for s in seeds),
                    color="0.85",
                    label="without the update (range)",
                    zorder=0,
                )
            panel.axhline(1, color="0.4", linewidth=0.8)
            panel.axhline(0, color="0.4", linewidth=0.8, linestyle=":")
            panel.set(xscale="log", ylim=(-0.65, top if row else 1.4))
            panel.set_title(
                f"{task}, {len(seeds)} seeds, {'after the way back' if row else 'right after'}",
                fontsize="medium",
            )
            panel.set_xlabel("KL(old ‖ new) of the one update, nats")
    axes[0].set_ylabel("share of the gain that is left")
    axes[len(tasks)].set_ylabel("share of the gain recovered")
    handles, labels = axes[len(tasks)].get_legend_handles_labels()
    keep = [i for i, label in enumerate(labels) if label != CONTROL]
    figure.legend(
        [handles[i] for i in keep],
        [labels[i] for i in keep],
        loc="outside lower center",
        ncols=len(keep),
        frameon=False,
    )
    return figure
