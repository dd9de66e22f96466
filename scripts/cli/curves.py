"""Learning curves: one metric of several runs, grouping runs that differ only in their seed."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from trpo.agents.metrics import METRICS
from trpo.agents.runs import Run
from trpo.agents.runs.metrics_table import columns_of
from trpo.agents.storage.typed_json import flat, to_json
from trpo.scripts.cli.command import UsageError
from trpo.scripts.cli.output import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Axis = Literal["steps", "seconds"]
POINTS = 400  # of a band
# what runs of one group may differ in
APART = {"observation_space", "action_space", "threads", "versions", "git_commit"}


@dataclass(frozen=True)
class Curve:
    """A metric of one run.

    Args:
        x: (U,) environment steps, or seconds of training, ascending.
        y: (U,) the metric, finite.
    """

    x: np.ndarray
    y: np.ndarray


def read_curves(runs: Sequence[Run], metric: str, over: Axis, smooth: int) -> dict[Run, Curve]:
    """Read the curves of runs that have a value of a metric; others are named on standard error.

    Args:
        runs: some of which may have ended before their first value.
        metric: of `trpo.agents.metrics.METRICS`.
        over: the horizontal axis; seconds are those of updates, without pauses between processes.
        smooth: number of updates averaged per point, the last of which is the point's.

    Returns:
        One or more curves, by run, without updates that have no value.

    Raises:
        UsageError: if there is no such metric, or no run has a value of it.
    """
    _check_metric(metric)
    curves = {run: _curve(columns_of(run.records()), metric, over, smooth) for run in runs}
    known = {run: curve for run, curve in curves.items() if curve.x.size}
    left_out = ", ".join(printable(run.folder) for run in runs if run not in known)
    if not known:
        raise UsageError(f"run {left_out} has no {metric} yet")
    if left_out:
        print(f"left out, without {metric}: {left_out}", file=sys.stderr)
    return known


def _curve(columns: Mapping[str, np.ndarray], metric: str, over: Axis, smooth: int) -> Curve:
    y = columns[metric]
    x = columns["steps"] if over == "steps" else np.nancumsum(columns["time/seconds"])
    known = np.isfinite(y)
    return Curve(x[known], running_mean(y[known], smooth))


def _check_metric(metric: str) -> None:
    if metric not in METRICS:
        near = difflib.get_close_matches(metric, METRICS, n=3, cutoff=0.4)
        guess = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"unknown metric {metric!r}{guess}")


def running_mean(values: np.ndarray, size: int) -> np.ndarray:
    """Return the mean of each value and those before it.

    Args:
        values: (U,).
        size: maximum number of values averaged.

    Returns:
        (U,).
    """
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - size, 0)
    means: np.ndarray = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def by_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group runs that differ only in their seed.

    Args:
        runs: at least one.

    Returns:
        The groups, named by the options that distinguish them, or by the environment.
    """
    settings = [_settings(run) for run in runs]
    names = dict.fromkeys(name for each in settings for name in each)
    differing = [name for name in names if len({each.get(name) for each in settings}) > 1]
    groups: dict[str, list[Run]] = {}
    for run, mine in zip(runs, settings, strict=True):
        words = [f"{name} = {mine.get(name, 'none')}" for name in differing]
        groups.setdefault(", ".join(words) or run.config.env, []).append(run)
    return groups


def _settings(run: Run) -> dict[str, str]:
    config = {name: part for name, part in to_json(run.config).items() if name not in APART}
    settings = {
        name: str(value)
        for name, value in flat(config).items()
        if name.rpartition(".")[2] != "seed"
    }
    for prefix in ("learner.", "trainer.", "trpo.", "policy.", "environment."):  # as options are
        settings = {name.removeprefix(prefix): value for name, value in settings.items()}
    return settings


def draw_curves(axes: Axes, groups: Mapping[str, Sequence[Curve]]) -> None:
    """Draw each group: a single run as a line; several as their mean, with a min–max band.

    Runs without common steps are drawn as separate lines.

    Args:
        axes: to draw on.
        groups: label to curves.
    """
    for label, curves in groups.items():
        start, end = max(curve.x[0] for curve in curves), min(curve.x[-1] for curve in curves)
        if len(curves) == 1 or start >= end:  # the band covers only the range where all have values
            _draw_lines(axes, label, curves)
            continue
        x = np.linspace(start, end, POINTS)
        ys = np.array([np.interp(x, curve.x, curve.y) for curve in curves])  # (seeds, POINTS)
        (line,) = axes.plot(x, ys.mean(0), label=f"{label}: mean of {len(curves)}, and range")
        axes.fill_between(x, ys.min(0), ys.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_lines(axes: Axes, label: str, curves: Sequence[Curve]) -> None:
    (first,) = axes.plot(curves[0].x, curves[0].y, linewidth=1.2, label=label)
    for curve in curves[1:]:
        axes.plot(curve.x, curve.y, linewidth=1.2, color=first.get_color())
