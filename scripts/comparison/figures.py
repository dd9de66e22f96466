"""A grid's four figures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from trpo.scripts.comparison.collapse import bootstrap_interval, interquartile_mean, last_known
from trpo.scripts.comparison.methods import METHODS
from trpo.scripts.comparison.table import Results, Run

COLORS = dict(zip(METHODS, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
TOP = 1e3  # nats: what is above is drawn there
CLOSE = 15  # updates to show on each side of a break


def draw_all(results: Results, env: str, out: Path) -> None:
    """Draw all that a grid has: kl.png, curves.png, robustness.png, and collapse.png if a break was caught.

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
            figure.savefig(out / name, dpi=110)
            plt.close(figure)


def _panels(count: int, height: float, sharey: bool) -> tuple[Figure, Sequence[Axes]]:
    columns = min(count, 5 if count in {5, 9, 10} else 4)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(2.9 * columns, height * rows),
        layout="constrained",
        squeeze=False,
        sharey=sharey,
    )
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(grid.flat[:count])


def draw_kl(results: Results, env: str) -> Figure:
    """Draw the KL of every update, a panel a method, a colour a step size.

    Args:
        results: the grid.
        env: its environment.

    Returns:
        The figure.
    """
    figure, panels = _panels(len(results.methods), 2.4, sharey=True)
    for axes, method in zip(panels, results.methods, strict=True):
        step_sizes = results.step_sizes(method)
        for color, step_size in zip(
            plt.get_cmap("viridis")(np.linspace(0, 0.9, len(step_sizes))), step_sizes, strict=True
        ):
            for run in results.of(method, step_size):
                axes.plot(
                    run.columns["steps"],
                    np.minimum(run.kl, TOP),
                    ".",
                    color=color,
                    markersize=1.5,
                    rasterized=True,
                )
            if method == "trpo":
                axes.axhline(step_size, color=color, linewidth=0.8)
        if method != "trpo":
            axes.axhline(METHODS["trpo"].usual, color="tab:red", linewidth=1)
        axes.set(yscale="log", title=f"{method}, {step_sizes[0]:g} to {step_sizes[-1]:g}")
        axes.title.set_fontsize("medium")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    panels[0].set_ylim(1e-6, 2 * TOP)
    limit = METHODS["trpo"].usual
    figure.suptitle(
        f"{env}: KL of every update; lines: TRPO's limits δ, else {limit:g}; lighter: larger step sizes; at the top: all above"
    )
    figure.supylabel("KL(old ‖ new), nats")
    figure.supxlabel("environment steps")
    return figure


def draw_curves(results: Results, env: str) -> Figure:
    """Draw learning curves, at each method's best step size, and at ten times it or the largest there is below that.

    Args:
        results: the grid.
        env: its environment.

    Returns:
        The figure.
    """
    figure, both = plt.subplots(1, 2, figsize=(12, 4), layout="constrained", sharey=True)
    for axes, factor in zip(both, (1, 10), strict=True):
        for method in results.methods:
            best = results.best_step_size(method)
            step_size = max(
                each for each in results.step_sizes(method) if each <= 1.01 * factor * best
            )
            steps, returns = _curves(results.of(method, step_size))
            low, high = bootstrap_interval(returns)
            axes.plot(
                steps,
                interquartile_mean(returns),
                color=COLORS[method],
                label=f"{method}, {step_size:g}",
            )
            axes.fill_between(steps, low, high, color=COLORS[method], alpha=0.15, linewidth=0)
        axes.legend(frameon=False, fontsize="x-small")
        axes.set(
            xlabel="environment steps",
            title="each at its best step size" if factor == 1 else "each at ten times that",
        )
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.spines[["top", "right"]].set_visible(False)
    both[0].set_ylabel("return, interquartile mean over seeds")
    figure.suptitle(env)
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
    """Draw final return against step size, a panel a method, each on its own scale, all over as many decades.

    Args:
        results: the grid.
        env: its environment.

    Returns:
        The figure.
    """
    figure, panels = _panels(len(results.methods), 2.5, sharey=True)
    for axes, method in zip(panels, results.methods, strict=True):
        step_sizes = results.step_sizes(method)
        finals = [results.finals(method, step_size) for step_size in step_sizes]  # each (seeds,)
        intervals = [bootstrap_interval(each) for each in finals]
        low, high, decades = results.near_best(method)
        axes.axvspan(low, high, color=COLORS[method], alpha=0.12, linewidth=0)
        for step_size, each in zip(step_sizes, finals, strict=True):
            axes.semilogx([step_size] * len(each), each, ".", color="0.7", markersize=3)
        axes.fill_between(
            step_sizes, *zip(*intervals, strict=True), color=COLORS[method], alpha=0.3, linewidth=0
        )
        axes.semilogx(
            step_sizes, results.final_means(method), "o-", color=COLORS[method], markersize=4
        )
        axes.axhline(results.untrained, color="0.5", linewidth=0.8, linestyle=":")
        axes.set_title(f"{method}: {decades:.1f} decades", fontsize="medium")
        axes.set_xlabel(METHODS[method].scale, fontsize="small")
    figure.suptitle(
        f"{env}: final return against step size; shaded: within 20 % of the method's best; dotted: untrained"
    )
    figure.supylabel("final return")
    return figure


def draw_collapse(results: Results, env: str) -> Figure | None:
    """Draw the clearest collapse of a first-order method around the update that broke it.

    Args:
        results: the grid.
        env: its environment.

    Returns:
        The figure; `None` if no break was caught.
    """
    found = results.clearest_break()
    if found is None:
        return None
    run, fall = found
    seen = slice(max(0, fall.index - CLOSE), fall.index + CLOSE + 1)
    updates = np.arange(1, len(run.kl) + 1)[seen]
    figure, panels = plt.subplots(4, 1, figsize=(8, 6.4), layout="constrained", sharex=True)
    rows = {
        "episode_return": "return",
        "mean_kl": "KL(old ‖ new), nats",
        "entropy": "entropy, nats",
        "gradient_norm": "gradient norm",
    }
    for axes, (column, label) in zip(panels, rows.items(), strict=True):
        axes.plot(updates, run.columns[column][seen], "o-", color=COLORS[run.method], markersize=3)
        axes.axvline(fall.index + 1, color="tab:red", linewidth=1)
        axes.set_ylabel(label, fontsize="small")
        axes.spines[["top", "right"]].set_visible(False)
        if column in {"mean_kl", "gradient_norm"}:
            axes.set_yscale("log")
    panels[1].axhline(METHODS["trpo"].usual, color="0.5", linewidth=0.8, linestyle="--")
    panels[1].annotate(
        f"{fall.ratio:.3g} × the median before",
        (fall.index + 1, fall.kl),
        (8, -4),
        textcoords="offset points",
    )
    panels[-1].set_xlabel("update")
    figure.suptitle(
        f"{env}: {run.method} at {run.step_size:g}, seed {run.seed}; red: the update that broke it"
    )
    return figure
