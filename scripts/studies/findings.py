"""The output of a study: rows, a figure, and verdicts computed from the rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.animation import Animation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.utils.tensorboard.writer import SummaryWriter

from trpo.scripts.cli.tables import print_rows, write_provenance, write_rows

Holds = Literal["holds", "holds in part", "refuted", "undecided"]
SEEDS = range(5)
BY_SEEDS = (
    f"n = {len(SEEDS)} seeds; brackets hold their range, which has the median in it with "
    f"probability {1 - 2 * 0.5 ** len(SEEDS):.0%}; of what is asked of every seed, an exact "
    f"one-sided sign test: p = {0.5 ** len(SEEDS):.3f}"
)


@dataclass(frozen=True)
class Verdict:
    """A claim of the article, tested by measurement.

    Args:
        claim: its number, as in README.md.
        says: what the article says.
        criterion: what the measurement has to show for the claim to hold, fixed beforehand.
        measured: the deciding number, in words.
        holds: whether the claim holds.
        test: n, interval and test on which this is based.
    """

    claim: str
    says: str
    criterion: str
    measured: str
    holds: Holds
    test: str = BY_SEEDS


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Args:
        rows: what was measured, for results.csv.
        shown: the table to print.
        verdicts: on the claims that the study is about.
        figure: understandable on its own.
        animation: if time is part of what is shown.
    """

    rows: Sequence[Mapping[str, Any]]
    shown: Sequence[Mapping[str, str]]
    verdicts: Sequence[Verdict]
    figure: Figure
    animation: Animation | None = None


def judge(*parts: bool) -> Holds:
    """Return the verdict on a claim of several parts.

    Args:
        parts: whether each holds.

    Returns:
        "holds" if all do, "refuted" if none does, else "holds in part".
    """
    if all(parts):
        return "holds"
    return "holds in part" if any(parts) else "refuted"


def median_range(values: Iterable[float]) -> tuple[float, float, float]:
    """Return the median, the minimum and the maximum of one value per seed.

    Args:
        values: one per seed; infinite where a run never got there.

    Returns:
        Median, minimum, maximum.
    """
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[0], ordered[-1]


def span(values: Iterable[float], unit: str = "") -> str:
    """Return the median and the range over seeds as text.

    Args:
        values: one per seed.
        unit: what to put after the numbers.

    Returns:
        Such as "3.1 (2.8 to 3.6) nats".
    """
    median, low, high = median_range(values)
    return f"{median:.3g} ({low:.3g} to {high:.3g}){unit and ' '}{unit}"


def panels(count: int, rows: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """Make an empty figure.

    Args:
        count: of panels per row.
        rows: of panels.

    Returns:
        The figure and its panels.
    """
    figure = Figure(
        figsize=(5.2 * count, 3.8 * rows), layout="constrained", dpi=110 if rows == 1 else 80
    )
    axes = list(np.ravel(figure.subplots(rows, count)))
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def band(
    axes: Axes, x: Sequence[float], curves: Sequence[Sequence[float]], label: str, **style: Any
) -> None:
    """Draw the median over seeds as a line, the range over seeds as a shade.

    Args:
        axes: where.
        x: abscissae.
        curves: one per seed, as long as `x`.
        label: of the line.
        style: of the line, as matplotlib has it.
    """
    table = np.array(curves, dtype=float)
    (line,) = axes.plot(x, np.median(table, axis=0), label=label, **style)
    axes.fill_between(
        x, table.min(axis=0), table.max(axis=0), color=line.get_color(), alpha=0.2, linewidth=0
    )


def publish(findings: Findings, folder: Path) -> None:
    """Print the table and the verdicts, and write all files.

    Args:
        findings: of one study.
        folder: for results.csv, verdicts.csv, figure.png, provenance.json, TensorBoard's events and
            animation.gif if there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # first, as the next files may belong to the checkout
    write_provenance(folder / "provenance.json")
    write_rows(folder / "results.csv", findings.rows)
    write_rows(folder / "verdicts.csv", [vars(verdict) for verdict in findings.verdicts])
    write_scalars(findings.rows, folder)
    findings.figure.savefig(folder / "figure.png")
    if findings.animation:
        findings.animation.save(str(folder / "animation.gif"), writer="pillow")
    print_rows(findings.shown)
    for verdict in findings.verdicts:
        print(f"\n{verdict.claim}: {verdict.says}")
        print(f"  measured: {verdict.measured}")
        print(f"  verdict: {verdict.holds} (criterion: {verdict.criterion})")
        print(f"  test: {verdict.test}")


def write_scalars(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write every number of the rows for TensorBoard.

    A row's words make the tag, its `step`, else its place, the abscissa.

    Args:
        rows: of results.csv.
        folder: for the events.
    """
    places: dict[str, int] = {}
    with SummaryWriter(folder) as board:
        for row in rows:
            group = "/".join(
                str(value)
                for name, value in row.items()
                if isinstance(value, str) or name == "seed"
            )
            places[group] = places.get(group, -1) + 1
            for name, value in row.items():
                if isinstance(value, int | float) and name not in {"seed", "step"}:
                    board.add_scalar(f"{group}/{name}", value, row.get("step", places[group]))
