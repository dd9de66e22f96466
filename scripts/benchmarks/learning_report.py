"""Summaries of `trpo benchmark learning`: a table, and learning curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from trpo.agents.storage.files import replace_file
from trpo.scripts.cli.figures import image_of

RESAMPLES = 10_000  # of the seeds
LOST = 0.2  # loss, as a fraction of the best gain, above which a run counts as fallen


def summarize(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return a row for each task and learner, over its seeds.

    Args:
        rows: of results.csv.

    Returns:
        Rows to print.
    """
    summary = []
    for key in dict.fromkeys(map(_key, rows)):
        mine = [row for row in rows if _key(row) == key]
        env, learner, words = key
        final = np.array([float(row["deterministic_return"]) for row in mine])
        falls = [float(row["fall"]) for row in mine]
        limited = all(row["max_kl"] for row in mine)
        within, updates = (
            sum(int(row[column] or 0) for row in mine)
            for column in ("updates_within_limit", "updates")
        )
        summary.append({
            "environment": env,
            "learner": f"{learner} {words}".strip(),
            "steps": f"{int(mine[0]['steps']):,}",
            "seeds": str(len(mine)),
            "mean": f"{final.mean():,.1f}{interval(final)}",
            "median": f"{np.median(final):,.1f}",
            "interquartile mean": f"{stats.trim_mean(final, 0.25):,.1f}",
            "range": f"{final.min():,.1f} to {final.max():,.1f}",
            "largest fall": f"{max(falls):,.1f}",
            "fell": f"{sum(map(fell, mine))} of {len(mine)}",
            "updates within δ": f"{within:,} of {updates:,}" if limited else "not measured",
        })
    return summary


def fell(row: dict[str, Any]) -> bool:
    """Return whether a run ended with more than a fifth of its best gain lost.

    Args:
        row: of results.csv.
    """
    best, first = float(row["best_return_100"]), float(row["first_return_100"])
    return float(row["fall"]) > LOST * (best - first)


def interval(values: np.ndarray) -> str:
    """Return `bounds` formatted for printing after a mean, from three values on.

    Args:
        values: (n,), one per seed.
    """
    if len(values) < 3:
        return ""
    low, high = bounds(values)
    return f" [{low:,.1f}, {high:,.1f}]" if low < high else ""


def bounds(values: np.ndarray) -> tuple[float, float]:
    """Return the mean's 95 % percentile bootstrap interval.

    Args:
        values: (n,), one per seed.
    """
    if np.ptp(values) == 0:
        return values[0], values[0]
    low, high = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    return low, high


def draw(points: Sequence[dict[str, Any]], axis: str, out: Path) -> None:
    """Plot each task's learning curves: one line per seed, one colour per learner.

    Args:
        points: of curves.csv.
        axis: its column to draw over: steps or seconds.
        out: the file to write.
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    envs = list(dict.fromkeys(point["environment"] for point in points))
    columns = min(5, len(envs))
    figure, panels = plt.subplots(
        -(-len(envs) // columns),
        columns,
        figsize=(3.2 * columns, 2.4 * -(-len(envs) // columns)),
        layout="constrained",
        squeeze=False,
    )
    known: list[str] = []  # labels, in the order of their colours
    for axes, env in zip(panels.flat, envs, strict=False):
        runs: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for p in points:
            if p["environment"] == env:
                runs.setdefault((p["learner"], p["options"], p["seed"]), []).append((
                    float(p[axis]),
                    float(p["return_100"]),
                ))
        learners = list(dict.fromkeys(run[:2] for run in runs))
        labels = dict(zip(learners, distinctions(learners), strict=True))
        known += [label for label in labels.values() if label not in known]
        colors = {learner: f"C{known.index(label)}" for learner, label in labels.items()}
        for run, curve in runs.items():
            axes.plot(*zip(*curve, strict=True), color=colors[run[:2]], alpha=0.7, linewidth=0.9)
        if len(learners) > 1:
            handles = [Line2D([], [], color=color) for color in colors.values()]
            axes.legend(handles, labels.values(), fontsize="x-small", frameon=False)
        axes.set_title(env.rpartition(":")[2], fontsize="medium")  # without its module
        axes.spines[["top", "right"]].set_visible(False)
        axes.ticklabel_format(axis="x", scilimits=(0, 5))
    for axes in panels.flat[len(envs) :]:
        axes.set_visible(False)
    figure.supxlabel("environment steps" if axis == "steps" else "seconds, one thread")
    figure.supylabel("return, last 100 episodes")
    replace_file(out, image_of(figure, "png", dpi=110))


def distinctions(learners: Sequence[tuple[str, str]]) -> list[str]:
    """Return labels that distinguish learners: their names, or the options in which they differ.

    Args:
        learners: names, and their options as the command line has them.

    Returns:
        As many; a name where no option is left.
    """
    options = [[f"--{option.strip()}" for option in words.split("--")[1:]] for _, words in learners]
    common = set.intersection(*map(set, options))
    same_name = len({name for name, _ in learners}) == 1
    told = []
    for (name, _), words in zip(learners, options, strict=True):
        own = [word for word in words if word not in common]
        told.append(" ".join(own if own and same_name else [name, *own]))
    return told


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["environment"], row["learner"], row["options"]
