"""A grid's report: every number in it follows from the grid's table."""

import math

import numpy as np

from trpo.scripts.comparison.collapse import (
    LEAP,
    Outcome,
    bootstrap_interval,
    fisher_p,
    interquartile_mean,
    told_rate,
    wilson_interval,
)
from trpo.scripts.comparison.methods import METHODS
from trpo.scripts.comparison.table import Results, Run

SHORTENED = 0.9  # of a full step, in √KL: a backtrack leaves 0.8 of it


def write_report(results: Results, env: str) -> str:
    """Return a grid's report.

    Args:
        results: the grid.
        env: its environment.

    Returns:
        Markdown, which shows the figures next to it.
    """
    seeds = len({run.seed for run in results.runs})
    parts = [
        f"# Policy collapse on {env}",
        f"{len(results.runs)} runs of {results.steps:,.0f} steps, {seeds} seeds each. Every number "
        "here follows from `updates.csv.gz`; `provenance.json` has the command, commit and "
        "versions that made it, and `options.json` every option as it resolved then.",
        _definitions(results),
        "## Methods",
        _table(_method_rows(results)),
        "![Final return against step size, a panel a method](robustness.png)",
        "![Learning curves at each method's best step size, and at a larger one](curves.png)",
        "## Locked: below the untrained policy to the end",
        _locked_words(results),
        _table(_locked_rows(results)),
        "## KL",
        _table(_kl_rows(results)),
        "That every update of TRPO is within its own δ restates the test that its line search "
        "makes: "
        "it shows that the code does what it says, and no more.",
        "![KL of every update, a panel a method](kl.png)",
        *_line_search(results),
        "## Every step size",
        "Final return, interquartile mean over seeds; what became of the runs; and the KL that the "
        "step size amounts to.",
        *(
            f"**{method}**, {METHODS[method].scale}\n\n{_table(_step_rows(results, method))}"
            for method in results.methods
        ),
        "## A leap before the fall?",
        _close_up(results),
    ]
    return "\n\n".join(parts) + "\n"


def _definitions(results: Results) -> str:
    return (
        "Returns are of sampled actions. The untrained policy's return is R₀ = "
        f"{results.untrained:.1f}; the largest gain over "
        f"it of any run, in its best tenth, is G = {results.scale:.1f}. A run *never learned* if "
        "its own best tenth gained "
        "less than G / 10; else it *collapsed* if its last tenth lost more than half of what its "
        "best tenth had gained, or its "
        "numbers were no longer finite; else it *held*. Rates have Wilson's 95 % intervals; "
        "returns are interquartile means "
        "over seeds with 95 % bootstrap intervals. *Within 20 % of its best* is the unbroken range "
        "of step sizes whose final "
        "gain over R₀ is at least 80 % of the best one's: *at least* so many decades, where it "
        "reaches the grid's edge."
    )


def _rate(results: Results, runs: list[Run], outcome: Outcome) -> str:
    return told_rate(results.count(runs, outcome), len(runs))


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


def _locked_words(results: Results) -> str:
    others = len(results.methods) - 1
    return (
        "A run is *locked* if its return, the last known standing where no episode ended, is below "
        "R₀ "
        "from some update to the end, for at least a third of its updates: it may be among those "
        "that "
        "collapsed or those that never learned. p is of Fisher's exact test, two-sided, of the "
        f"method's runs against TRPO's; there are {others} such tests, and nothing is corrected "
        "for "
        "that. Step sizes of unlike methods are no common axis (KL grows with the square of a "
        "gradient step, and δ is KL itself), so the last columns give what was *measured*: the KL "
        "that a step size amounts to is the median over its first tenth of updates, then over "
        "seeds."
    )


def _locked_rows(results: Results) -> list[dict[str, str]]:
    trpo = results.of("trpo")
    reach = max(
        (results.settling_kl("trpo", size) for size in results.step_sizes("trpo")),
        default=math.inf,  # a grid without TRPO has no range of its own to compare with
    )
    rows = []
    for method in results.methods:
        runs, sizes = results.of(method), results.step_sizes(method)
        count = results.locked(runs)
        low, high = wilson_interval(count, len(runs))
        p = fisher_p(count, len(runs), results.locked(trpo), len(trpo)) if trpo else math.nan
        kls = {size: results.settling_kl(method, size) for size in sizes}
        at = [kls[size] for size in sizes if results.locked(results.of(method, size))]
        near = [run for size in sizes if kls[size] <= reach for run in results.of(method, size)]
        rows.append({
            "method": method,
            "locked": f"{count} of {len(runs)} ({100 * low:.0f} to {100 * high:.0f} %)",
            "p against trpo": "" if method == "trpo" else f"{p:.2g}",
            "KL of its step sizes, nats": f"{min(kls.values()):.2g} to {max(kls.values()):.2g}",
            f"locked, of runs with KL ≤ {reach:.2g}": f"{results.locked(near)} of {len(near)}",
            "least KL at which a run locked": f"{min(at):.2g}" if at else "none did",
        })
    return rows


def _line_search(results: Results) -> list[str]:
    pairs = results.without_line_search()
    if not pairs:
        return []
    rows = []
    for delta in results.step_sizes("trpo"):
        mine = [pair for pair in pairs if pair[0].step_size == delta]
        parted = [(trpo.kl[at], npg.kl[at]) for trpo, npg, at in mine if at < len(trpo.kl)]
        acted = [
            full / delta
            for shortened, full in parted
            if full > delta and np.sqrt(shortened / full) < SHORTENED
        ]
        rows.append({
            "δ": f"{delta:g}",
            "parted by the line search": f"{len(acted)} of {len(mine)}",
            "by rounding": f"{len(parted) - len(acted)}",
            "KL ÷ δ of the step it refused, median and largest": (
                f"{np.median(acted):.3f}, {max(acted):.3f}" if acted else ""
            ),
            "largest KL of a run without it": f"{max(npg.kl.max() for _, npg, _ in mine):.3g}",
            "collapsed or locked with it": _ended_badly(results, [trpo for trpo, _, _ in mine]),
            "without": _ended_badly(results, [npg for _, npg, _ in mine]),
        })
    never = sum(at == len(trpo.kl) for trpo, _, at in pairs)
    return [
        "## Where the line search acted, and what happens without it",
        "`npg` takes TRPO's direction, scaled to the same δ, and checks nothing: until TRPO's line "
        "search acts the two are one run, to rounding. They part where KL first differs by more "
        "than 1 %: by the line search if `npg`'s is above δ there and TRPO's step shorter by more "
        "than a tenth, in √KL, else by what rounding has grown to. They never part in "
        f"{never} of {len(pairs)} runs: the natural gradient's outcome there is no evidence "
        "beside TRPO's, but the same run. Where the line search acted, the first step that it "
        "shortened is the one that `npg` took in full:",
        _table(rows),
    ]


def _ended_badly(results: Results, runs: list[Run]) -> str:
    bad = sum(
        results.judged(run).outcome is Outcome.COLLAPSED or bool(results.locked([run]))
        for run in runs
    )
    return f"{bad} of {len(runs)}"


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
            "locked": f"{results.locked(results.of(method, step_size))}",
            "KL, nats": f"{results.settling_kl(method, step_size):.2g}",
            "largest KL, nats": f"{max(run.kl.max() for run in results.of(method, step_size)):.3g}",
        }
        for step_size in results.step_sizes(method)
    ]


def _close_up(results: Results) -> str:
    falls = [fall for _, fall in results.falls()]
    known = [fall for fall in falls if not np.isnan(fall.leap)]
    leaps = sum(fall.leap >= LEAP for fall in known)
    elsewhere = np.concatenate([np.zeros(0), *(fall.elsewhere for fall in falls)])
    said = (
        f"{results.count(results.runs, Outcome.COLLAPSED)} runs collapsed. A run *fell* where the "
        "mean "
        "return of ten updates is lowest against that of the ten before; its *leap* is the largest "
        "KL "
        "of the eleven updates up to there, over the median of the ten before those. It can be "
        "told "
        f"for {len(known)} of them, and is {LEAP} or more in {told_rate(leaps, len(known))}. "
        "Chance: at updates of the same runs that are not within twenty of the fall, it is "
        f"{told_rate(int((elsewhere >= LEAP).sum()), len(elsewhere))} (updates of a run are no "
        "independent draws, so the interval is too narrow)."
    )
    found = results.steepest_fall()
    if found is None:
        return said
    run, fall = found
    judged = results.judged(run)
    return (
        f"{said} The steepest fall of them all, chosen by return alone: {run.method} at "
        f"{run.step_size:g}, seed {run.seed}, from {fall.return_before:.1f} to "
        f"{fall.return_after:.1f} "
        f"around update {fall.index + 1}, with a leap of {fall.leap:.3g}. The run's best tenth had "
        "a "
        f"return of {judged.best:.1f}, its last {judged.final:.1f}.\n\n"
        "![Return, KL, entropy and gradient norm around that update](collapse.png)"
    )


def _table(rows: list[dict[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
