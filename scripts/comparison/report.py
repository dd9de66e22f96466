"""A grid's report: every number in it follows from the grid's table."""

from trpo.scripts.comparison.collapse import (
    LEAP,
    Outcome,
    bootstrap_interval,
    interquartile_mean,
    wilson_interval,
)
from trpo.scripts.comparison.methods import METHODS
from trpo.scripts.comparison.table import Results, Run


def write_report(results: Results, env: str) -> str:
    """Tell what became of a grid.

    Args:
        results: the grid.
        env: its environment.

    Returns:
        Markdown, which shows the figures that lie beside it.
    """
    seeds = len({run.seed for run in results.runs})
    parts = [
        f"# Policy collapse on {env}",
        f"{len(results.runs)} runs of {results.steps:,.0f} steps, {seeds} seeds each. Every number here "
        "follows from `updates.csv.gz`; `provenance.json` has the command and the versions that made it.",
        _definitions(results),
        "## Methods",
        _table(_method_rows(results)),
        "![Final return against step size, a panel a method](robustness.png)",
        "![Learning curves at each method's best step size, and at a larger one](curves.png)",
        "## KL",
        _table(_kl_rows(results)),
        "![KL of every update, a panel a method](kl.png)",
        "## Every step size",
        "Final return, interquartile mean over seeds, and runs that collapsed.",
        *(
            f"**{method}**, {METHODS[method].scale}\n\n{_table(_step_rows(results, method))}"
            for method in results.methods
        ),
        "## A collapse in close-up",
        _close_up(results),
    ]
    return "\n\n".join(parts) + "\n"


def _definitions(results: Results) -> str:
    return (
        f"Returns are of sampled actions. The untrained policy's return is R₀ = {results.untrained:.1f}; the largest gain over "
        f"it of any run, in its best tenth, is G = {results.scale:.1f}. A run *never learned* if its own best tenth gained "
        "less than G / 10; else it *collapsed* if its last tenth lost more than half of what its best tenth had gained, or its "
        "numbers were no longer finite; else it *held*. Rates have Wilson's 95 % intervals; returns are interquartile means "
        "over seeds with 95 % bootstrap intervals. *Within 20 % of its best* is the unbroken range of step sizes whose final "
        "gain over R₀ is at least 80 % of the best one's: *at least* so many decades, where it reaches the grid's edge."
    )


def _rate(results: Results, runs: list[Run], outcome: Outcome) -> str:
    count = results.count(runs, outcome)
    low, high = wilson_interval(count, len(runs))
    return f"{count} of {len(runs)} ({100 * low:.0f} to {100 * high:.0f} %)"


def _return(results: Results, method: str, step_size: float) -> str:
    finals = results.finals(method, step_size)
    low, high = bootstrap_interval(finals)
    return f"{interquartile_mean(finals):.1f} ({low:.1f} to {high:.1f})"


def _method_rows(results: Results) -> list[dict[str, str]]:
    rows = []
    for method in results.methods:
        low, high, decades = results.near_best(method)
        best, runs, sizes = (
            results.best_step_size(method),
            results.of(method),
            results.step_sizes(method),
        )
        more = "at least " if low == sizes[0] or high == sizes[-1] else ""  # the grid's edge
        rows.append({
            "method": method,
            "best step size": f"{best:g}",
            "final return there": _return(results, method, best),
            "within 20 % of its best": f"{low:g} to {high:g}: {more}{decades:.1f} decades",
            "collapsed, all step sizes": _rate(results, runs, Outcome.COLLAPSED),
            "never learned": _rate(results, runs, Outcome.NEVER_LEARNED),
        })
    return rows


def _kl_rows(results: Results) -> list[dict[str, str]]:
    limit = METHODS["trpo"].usual
    rows = []
    for method in results.methods:
        runs = results.of(method)
        updates = sum(len(run.kl) for run in runs)
        above = sum(int((~(run.kl <= limit)).sum()) for run in runs)
        kept = sum(int((run.kl <= run.step_size).sum()) for run in runs)
        at_best = results.of(method, results.best_step_size(method))
        rows.append({
            "method": method,
            "updates": f"{updates:,}",
            "largest KL, nats": f"{max(run.kl.max() for run in runs):.3g}",
            "largest at its best step size": f"{max(run.kl.max() for run in at_best):.3g}",
            f"above {limit:g} nats": f"{100 * above / updates:.1f} %",
            "within its own δ": f"{kept:,} of {updates:,}" if method == "trpo" else "has none",
        })
    return rows


def _step_rows(results: Results, method: str) -> list[dict[str, str]]:
    return [
        {
            "step size": f"{step_size:g}",
            "final return": _return(results, method, step_size),
            "collapsed": _rate(results, results.of(method, step_size), Outcome.COLLAPSED),
            "never learned": _rate(results, results.of(method, step_size), Outcome.NEVER_LEARNED),
            "largest KL, nats": f"{max(run.kl.max() for run in results.of(method, step_size)):.3g}",
        }
        for step_size in results.step_sizes(method)
    ]


def _close_up(results: Results) -> str:
    breaks = [fall for _, fall in results.breaks()]
    leaps = sum(fall.ratio >= LEAP for fall in breaks)
    said = (
        f"{results.count(results.runs, Outcome.COLLAPSED)} runs collapsed. The update after which a run's return fell most at "
        f"once had a KL of {LEAP} times the median before it, or more, in {leaps} of them."
    )
    found = results.clearest_break()
    if found is None:
        return f"{said} None of these was of a first-order method with finite KL."
    run, fall = found
    judged = results.judged(run)
    return (
        f"{said} The one of a first-order method that fell most: {run.method} at {run.step_size:g}, seed {run.seed}. Update "
        f"{fall.index + 1} moved the policy by {fall.kl:.3g} nats, {fall.ratio:.3g} times the median before it "
        f"({fall.median_before:.3g}); the return was {fall.return_before:.1f} before it and {fall.return_after:.1f} after it. "
        f"The run's best tenth had a return of {judged.best:.1f}, its last {judged.final:.1f}.\n\n"
        "![Return, KL, entropy and gradient norm around that update](collapse.png)"
    )


def _table(rows: list[dict[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
