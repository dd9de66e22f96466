"""`trpo plot RUN…`: a run's return and KL in one figure, or several runs' learning curves."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from trpo.agents.runs import Run
from trpo.scripts.cli.command import UsageError, parse
from trpo.scripts.cli.curves import Axis, read_curves
from trpo.scripts.cli.figures import RETURN, comparison_figure, run_figure, save_figure
from trpo.scripts.cli.output import printable
from trpo.validation import require


@dataclass(frozen=True)
class PlotOptions:
    """Plot a run's learning curve, and the KL of every update against the limit; or compare runs.

    With several runs, one metric is plotted; runs that differ only in their seed are shown as their
    mean, with a band from minimum to maximum. Runs without values of it are left out.
    """

    run: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Folders of runs, as trpo train leaves them; files are ignored, so that runs/ENV/* works."""
    out: Path | None = None
    """File to write, in any format of matplotlib's. Default: RUN/figure.png, or curves.png for
    several runs."""
    metric: str = RETURN
    """Column of metrics.csv to compare runs by."""
    over: Axis = "steps"
    """Horizontal axis: environment steps, or seconds of training."""
    smooth: int = 1
    """Number of updates that each point averages."""

    def __post_init__(self) -> None:
        require(self, "run", len(self.run) >= 1, "one run or more")
        require(self, "smooth", self.smooth >= 1, "an integer ≥ 1")

    @property
    def folders(self) -> list[Path]:
        """The folders among `run`."""
        # not Path.is_file, which raises where a name is too long
        return [path for path in self.run if not os.path.isfile(path)]

    @property
    def compares(self) -> bool:
        """Whether to plot one metric, rather than a run's return and KL."""
        asked = (self.metric, self.over, self.smooth)
        return len(self.folders) > 1 or asked != (RETURN, "steps", 1)


def main(arguments: Sequence[str]) -> int:
    """Draw, as the options say.

    Args:
        arguments: the words after `trpo plot`.

    Returns:
        0.

    Raises:
        UsageError: if none of the words is a folder, or no run has a value of the metric.
    """
    options = parse(PlotOptions, arguments, "plot")
    if not options.folders:
        raise UsageError(f"{options.run[0]} is a file: expected folders of runs")
    runs = [Run.open(folder) for folder in options.folders]
    if options.compares:
        asked = (options.metric, options.over, options.smooth)
        curves = read_curves(runs, *asked)
        runs, figure = list(curves), comparison_figure(curves, *asked)
    else:
        figure = run_figure(runs[0])
    out = options.out or (runs[0].folder / "figure.png" if len(runs) == 1 else Path("curves.png"))
    save_figure(figure, out)
    print(printable(out))
    return 0
