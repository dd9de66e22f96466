"""A grid's four figures."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from trpo.agents.storage.files import replace_file
from trpo.scripts.cli.figures import image_of
from trpo.scripts.comparison.collapse import (
    bootstrap_interval,
    interquartile_mean,
    is_locked,
    last_known,
)
from trpo.scripts.comparison.methods import METHODS
from trpo.scripts.comparison.table import Results, Run

COLORS = dict(zip(METHODS, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
BOTTOM, TOP = 1e-6, 1e3  # nats: what is outside is drawn there
CLOSE = 15  # updates to show on each side of a fall
LEAST_WIDTH = 7.5  # inches, for titles and legends of all panels
LETTERS = 10.5  # characters of a figure's title per inch


def draw_all(results: Results, env: str, out: Path) -> None:
    """Draw kl.png, curves.png, robustness.png, and collapse.png if a run collapsed.

    Args:
        results: the grid.
        env: its environment.
        out: folder to write to.
    """
    figures: dict[str, Callable[[Results, str], Figure | None]] = {
        "kl.png": draw_kl,
        "curves.png": draw_curves,
        "robustness.png": draw_robustness,
        "collapse.png": draw_collapse,
    }
    for name, draw in figures.items():
        figure = draw(results, env)
        if figure is not None:
            replace_file(out / name, image_of(figure, "png", dpi=110))


def _panels(count: int, height: float) -> tuple[Figure, Sequence[Axes]]:
    columns = min(count, 5 if count in {5, 9, 10} else 4)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(max(2.9 * columns, LEAST_WIDTH), height * rows + 0.9),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(grid.flat[:count])


def _entitle(figure: Figure, text: str) -> None:
    """Write a figure's title, in as many lines as it takes."""
    figure.suptitle(textwrap.fill(text, int(LETTERS * figure.get_figwidth())))


def draw_kl(results: Results, env: str) -> Figure:
    """Draw the KL of every update, with one panel per method and one colour per step size.

    Args:
        results: the grid.
        env: its environment.

    Returns:
        The figure.
    """
    figure, panels = _panels(len(results.methods), 2.4)
    multiples = [s / METHODS[m].usual for m in results.methods for s in results.step_sizes(m)]
    key = ScalarMappable(LogNorm(min(multiples), 2 * max(multiples)), "viridis")
    for axes, method in zip(panels, results.methods, strict=True):
        step_sizes = results.step_sizes(method)
        for step_size in step_sizes:
            color = key.to_rgba(np.array(step_size / METHODS[method].usual))
            for run in results.of(method, step_size):
                kl = np.clip(run.kl, BOTTOM, TOP)
                axes.plot(
                    run.columns["steps"], kl, ".", color=color, markersize=1.5, rasterized=True
                )
            if method == "trpo":
                axes.axhline(step_size, color=color, linewidth=0.8)
        if method != "trpo":
            axes.axhline(METHODS["trpo"].usual, color="tab:red", linewidth=1)
        axes.set(yscale="log", title=f"{method}, {step_sizes[0]:g} to {step_sizes[-1]:g}")
        axes.title.set_fontsize("medium")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    panels[0].set_ylim(BOTTOM / 2, 2 * TOP)
    figure.colorbar(key, ax=list(panels), label="step size ÷ usual", aspect=30)
    limit = METHODS["trpo"].usual
    _entitle(
        figure,
        f"{env}: KL of every update; lines: TRPO's limits δ, else {limit:g}; "
        "drawn at the edge: all beyond it",
    )
    figure.supylabel("KL(old ‖ new), nats")
    figure.supxlabel("environment steps")
    return figure


def draw_curves(results: Results, env: str) -> Figure:
    """Draw learning curves, one panel per method: at its best step size, and at the largest.

    Args:
        results: the grid.
        env: its environment.

    Returns:
        The figure.
    """
    figure, panels = _panels(len(results.methods), 2.5)
    for axes, method in zip(panels, results.methods, strict=True):
        best, largest = results.best_step_size(method), results.step_sizes(method)[-1]
        for step_size, color in ((best, COLORS[method]), (largest, "0.35")):
            steps, returns = _curves(results.of(method, step_size))
            low, high = bootstrap_interval(returns)
            axes.plot(steps, interquartile_mean(returns), color=color)
            axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
        axes.axhline(results.untrained, color="0.5", linewidth=0.8, linestyle=":")
        kl = [results.settling_kl(method, size) for size in (best, largest)]
        axes.set_title(
            f"{method}\n{best:g} ({kl[0]:.2g} nats), grey {largest:g} ({kl[1]:.2g} nats)",
            fontsize="small",
        )
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.supylabel("return")
    figure.supxlabel("environment steps")
    _entitle(
        figure,
        f"{env}: each method at its best step size, and at its largest (KL of their first tenth); "
        "interquartile means over seeds; dotted: untrained",
    )
    return figure


def _curves(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    # steps (U,) and returns (U, n) over the updates that every run has and in which every run has
    # had an episode
    updates = min(len(run.returns) for run in runs)
    returns = np.stack([last_known(run.returns[:updates]) for run in runs], axis=-1)
    steps = np.mean([run.columns["steps"][:updates] for run in runs], axis=0)
    known = ~np.isnan(returns).any(axis=-1)
    return steps[known], returns[known]


def draw_robustness(results: Results, env: str) -> Figure:
    """Draw final return against the KL of a step size, one panel per method.

    Args:
        results: the grid.
        env: its environment.

    Returns:
        The figure.
    """
    figure, panels = _panels(len(results.methods), 2.5)
    for axes, method in zip(panels, results.methods, strict=True):
        step_sizes = results.step_sizes(method)
        kl = np.clip([results.settling_kl(method, size) for size in step_sizes], BOTTOM, TOP)
        for each, step_size in zip(kl, step_sizes, strict=True):
            for run in results.of(method, step_size):
                locked = is_locked(run.returns, results.untrained)
                marker, color = ("x", "k") if locked else (".", "0.6")
                final = results.judged(run).final
                axes.plot([each], [final], marker=marker, color=color, markersize=4)
        axes.plot(kl, results.final_means(method), "o-", color=COLORS[method], markersize=4)
        axes.axhline(results.untrained, color="0.5", linewidth=0.8, linestyle=":")
        locked_runs = results.locked(results.of(method))
        axes.set(xscale="log", xlim=(BOTTOM / 2, 2 * TOP))
        axes.set_title(
            f"{method}: {locked_runs} of {len(results.of(method))} locked", fontsize="medium"
        )
    _entitle(
        figure,
        f"{env}: final return against measured KL; one point per run, crosses locked; "
        "line: interquartile mean; dotted: untrained",
    )
    figure.supylabel("final return")
    figure.supxlabel(
        "KL of the first tenth of updates, median, nats (at the right edge: 1000 or more)"
    )
    return figure


def draw_collapse(results: Results, env: str) -> Figure | None:
    """Draw the steepest fall of all runs that collapsed, chosen by return only.

    Args:
        results: the grid.
        env: its environment.

    Returns:
        The figure; `None` if no run collapsed.
    """
    found = results.steepest_fall()
    if found is None:
        return None
    run, fall = found
    seen = slice(max(0, fall.index - CLOSE), fall.index + CLOSE + 1)
    updates = np.arange(1, len(run.kl) + 1)[seen]
    figure, panels = plt.subplots(4, 1, figsize=(8, 6.4), layout="constrained", sharex=True)
    series = {
        "return": run.returns,
        "KL(old ‖ new),\nnats": run.kl,
        "entropy, nats": run.columns["entropy"],
        "‖g‖": run.columns["gradient_norm"],
    }
    for axes, (label, values) in zip(panels, series.items(), strict=True):
        axes.plot(updates, values[seen], ".-", color="tab:blue", markersize=5, linewidth=1)
        if label == "return":  # the last known return is kept
            axes.step(updates, last_known(values)[seen], where="post", color="tab:blue", alpha=0.4)
        axes.axvline(fall.index + 1, color="tab:red", linewidth=1)
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[[1, 3]]:
        axes.set_yscale("log")
    panels[1].axhline(METHODS["trpo"].usual, color="0.5", linewidth=0.8, linestyle="--")
    panels[-1].set_xlabel("update")
    _entitle(
        figure,
        f"{env}: {run.method} at {run.step_size:g}, seed {run.seed}, the steepest fall; "
        f"red: where; KL leapt {fall.leap:.3g} × before it",
    )
    return figure
