"""Figures of runs: one run's return and the KL of its updates, or a comparison of several."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trpo.agents.runs import Run
from trpo.agents.storage.files import replace_file
from trpo.scripts.cli.command import UsageError
from trpo.scripts.cli.curves import Axis, Curve, by_method, draw_curves

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"steps": "environment steps", "seconds": "seconds of training"}
RETURN = "episode/return_100"


def run_figure(run: Run) -> Figure:
    """Draw a run: its return, and its KL at every update against the limit.

    Args:
        run: any with updates.

    Returns:
        The figure, to be saved.
    """
    import matplotlib.pyplot as plt  # slow to import, and needed by few commands

    columns = run.metrics()
    figure, (learning, trust) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    learning.plot(columns["steps"], columns[RETURN], label="sampled actions, last 100 episodes")
    evaluated = columns["evaluation/return"] == columns["evaluation/return"]  # no NaN
    if evaluated.any():
        returns = columns["evaluation/return"][evaluated]
        learning.plot(columns["steps"][evaluated], returns, ".-", label="deterministic policy")
        learning.legend(frameon=False, fontsize="small")
    learning.set(ylabel="return", title=run.config.env)
    _draw_kl(trust, run, columns)
    for axes in (learning, trust):
        _finish(axes, "steps")
    return figure


def _draw_kl(axes: Axes, run: Run, columns: dict[str, np.ndarray]) -> None:
    learner, steps = run.config.learner, columns["steps"]
    mean_kl, max_kl = columns["update/mean_kl"], columns["trust_region/max_kl"]
    dots = {"linestyle": "", "marker": "."}
    largest = columns["update/max_state_kl"]
    axes.semilogy(steps, largest, **dots, color="0.8", markersize=3, label="largest over states")
    axes.semilogy(steps, mean_kl, **dots, color="tab:blue", markersize=4, label="mean over states")
    title = f"KL of {len(steps):,} updates, which {learner.algorithm} does not limit"
    if learner.max_kl is not None:
        axes.semilogy(steps, max_kl, color="tab:red", label=f"limit δ ≤ {learner.max_kl:g}")
        within = int((mean_kl <= max_kl).sum())
        title = f"mean KL ≤ δ in {within:,} of {len(steps):,} updates"
    axes.set(ylabel="KL(old ‖ new), nats", title=title)
    axes.set_ylim(bottom=0.1 * min(mean_kl[mean_kl > 0], default=1e-6))
    axes.legend(frameon=False, fontsize="small", loc="lower center", ncols=3)


def comparison_figure(
    curves: Mapping[Run, Curve], metric: str = RETURN, over: Axis = "steps", smooth: int = 1
) -> Figure:
    """Plot a metric of several runs; those that differ only in their seed as a mean with a band.

    Args:
        curves: one or more, by run.
        metric: the curves' metric.
        over: the horizontal axis.
        smooth: number of updates averaged per point.

    Returns:
        The figure, to be saved.
    """
    import matplotlib.pyplot as plt

    methods = by_method(list(curves))
    groups = {name: [curves[run] for run in members] for name, members in methods.items()}
    envs = ", ".join(dict.fromkeys(run.config.env for run in curves))
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    draw_curves(axes, groups)
    smoothed = f", mean of {smooth} updates" if smooth > 1 else ""
    axes.set(ylabel=metric + smoothed, title=envs)
    axes.legend(frameon=False, fontsize="small")
    _finish(axes, over)
    return figure


def _finish(axes: Axes, over: Axis) -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_xlabel(LABELS[over])
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure, and close it.

    Args:
        figure: of pyplot.
        out: the file, in any format of matplotlib's.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        replace_file(out, image_of(figure, out.suffix.removeprefix(".") or "png"))
    except OSError as error:  # an untrusted run may have put a link there
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"cannot write {out}: {error}") from error


def image_of(figure: Figure, kind: str, dpi: int = 130) -> bytes:
    """Return a figure as the content of a file, and close it.

    Args:
        figure: of pyplot.
        kind: of file: png, svg, pdf.
        dpi: dots per inch.

    Returns:
        Bytes.
    """
    import matplotlib.pyplot as plt

    image = io.BytesIO()
    try:
        figure.savefig(image, format=kind, dpi=dpi)
    finally:
        plt.close(figure)
    return image.getvalue()
