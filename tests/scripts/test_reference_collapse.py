"""The committed comparison: every number of its report, computed again in another way."""

import csv
import gzip
import math
import re
from collections import defaultdict
from statistics import fmean, median

import pytest
from scipy import stats

from tests.helpers import HOME
from trpo.scripts.comparison.methods import METHODS
from trpo.scripts.comparison.report import write_report
from trpo.scripts.comparison.table import Results

REFERENCE = HOME / "runs" / "reference" / "collapse"
GRIDS = {"CartPole-v1": 10, "HalfCheetah-v5": 5}  # seeds


class Again:
    """A grid, read and judged by plain loops."""

    def __init__(self, env):
        with gzip.open(REFERENCE / env / "updates.csv.gz", "rt", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.untrained = float(rows[0]["episode_return"])
        self.runs = defaultdict(list)
        for row in rows[1:]:
            self.runs[row["method"], float(row["step_size"]), int(row["seed"])].append(row)
        self.windows = {key: self.window_returns(run) for key, run in self.runs.items()}
        self.scale = max(max(windows) for windows in self.windows.values()) - self.untrained

    @staticmethod
    def window_returns(run):
        width, known, last = max(1, len(run) // 10), [], math.nan
        for row in run:
            last = float(row["episode_return"]) if row["episode_return"] else last
            known.append(last)
        means = [fmean(known[start : start + width]) for start in range(len(run) - width + 1)]
        return [mean for mean in means if not math.isnan(mean)]

    def outcome(self, key):
        gained, kept = (
            max(self.windows[key]) - self.untrained,
            self.windows[key][-1] - self.untrained,
        )
        return (
            "never learned"
            if gained < self.scale / 10
            else "collapsed"
            if kept < gained / 2
            else "held"
        )

    def keys(self, method, step_size=None):
        return [key for key in self.runs if key[0] == method and step_size in {None, key[1]}]

    def rate(self, keys, outcome):
        count = sum(self.outcome(key) == outcome for key in keys)
        interval = stats.binomtest(count, len(keys)).proportion_ci(method="wilson")
        return f"{count} of {len(keys)} ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)"

    def middle(self, method, step_size):
        return float(
            stats.trim_mean([self.windows[key][-1] for key in self.keys(method, step_size)], 0.25)
        )

    def step_sizes(self, method):
        return sorted({key[1] for key in self.keys(method)})

    def best(self, method):
        def merit(size):
            return self.middle(method, size), fmean(
                fmean(self.windows[key]) for key in self.keys(method, size)
            )

        return max(self.step_sizes(method), key=merit)

    def locked(self, key):
        last, streak = math.nan, 0
        for row in self.runs[key]:
            last = float(row["episode_return"]) if row["episode_return"] else last
            streak = streak + 1 if last < self.untrained else 0
        return streak >= len(self.runs[key]) / 3

    def settling(self, method, step_size):
        firsts = [self.kl([key]) for key in self.keys(method, step_size)]
        return median(median(kl[: max(1, len(kl) // 10)]) for kl in firsts)

    def leap(self, key):
        known, last = [], math.nan
        for row in self.runs[key]:
            last = float(row["episode_return"]) if row["episode_return"] else last
            known.append(last)
        falls = {
            i: fmean(known[i + 1 : i + 11]) - fmean(known[i - 9 : i + 1])
            for i in range(9, len(known) - 10)
        }
        falls = {i: fall for i, fall in falls.items() if not math.isnan(fall)}
        where, kl = min(falls, key=falls.get), self.kl([key])
        if where < 20 or median(kl[where - 20 : where - 10]) == 0:
            return None
        return max(kl[where - 10 : where + 1]) / median(kl[where - 20 : where - 10])

    def kl(self, keys):
        return [float(row["mean_kl"]) for key in keys for row in self.runs[key]]


def table_after(text: str, title: str) -> list[dict[str, str]]:
    lines = text.partition(title)[2].lstrip().splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[: lines.index("")]
        if line.startswith("|")
    ]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


@pytest.fixture(scope="module", params=GRIDS)
def grid(request):
    text = (REFERENCE / request.param / "report.md").read_text(encoding="utf-8")
    return request.param, text, Again(request.param)


def test_the_report_is_the_tables(grid):
    env, text, _ = grid
    assert write_report(Results(REFERENCE / env / "updates.csv.gz"), env) == text


def test_the_grid_is_as_large_as_it_says(grid):
    env, text, again = grid
    assert f"{len(again.runs)} runs of" in text
    assert {"trpo", "npg", "ppo", "vpg-sgd", "vpg-adam"} <= {key[0] for key in again.runs}
    for method in {key[0] for key in again.runs}:
        sizes = again.step_sizes(method)
        assert len(sizes) >= 7
        assert sizes[-1] / sizes[0] >= 999
        assert len(again.keys(method)) == GRIDS[env] * len(sizes)


def test_methods(grid):
    _, text, again = grid
    assert f"R₀ = {again.untrained:.1f};" in text
    assert f"G = {again.scale:.1f}." in text
    for row in table_after(text, "## Methods"):
        method = row["method"]
        sizes, best = again.step_sizes(method), again.best(method)
        gains = [again.middle(method, size) - again.untrained for size in sizes]
        near = [gain >= 0.8 * max(gains) for gain in gains]
        place = sizes.index(best)
        low = max((i + 1 for i in range(place) if not near[i]), default=0)
        high = min((i - 1 for i in range(place, len(sizes)) if not near[i]), default=len(sizes) - 1)
        assert row["best step size"] == f"{best:g}"
        assert row["final return there"].startswith(f"{again.middle(method, best):.1f} (")
        decades = math.log10(sizes[high] / sizes[low])
        more = "at least " if low == 0 or high == len(sizes) - 1 else ""
        assert (
            row["within 20 % of its best"]
            == f"{sizes[low]:g} to {sizes[high]:g}: {more}{decades:.1f} decades"
        )
        assert row["collapsed, all step sizes"] == again.rate(again.keys(method), "collapsed")
        assert row["never learned"] == again.rate(again.keys(method), "never learned")


def test_kl(grid):
    _, text, again = grid
    rows = table_after(text, "## KL")
    assert [row["method"] for row in rows] == list(dict.fromkeys(key[0] for key in again.runs))
    for row in rows:
        method = row["method"]
        kl = again.kl(again.keys(method))
        assert row["updates"] == f"{len(kl):,}"
        assert row["largest KL, nats"] == f"{max(kl):.3g}"
        assert (
            row["largest at its best step size"]
            == f"{max(again.kl(again.keys(method, again.best(method)))):.3g}"
        )
        assert row["above 0.02 nats"] == f"{100 * sum(x > 0.02 for x in kl) / len(kl):.1f} %"


def test_every_update_of_trpo_is_within_its_limit(grid):
    _, text, again = grid
    kept = [
        float(row["mean_kl"]) <= key[1] for key in again.keys("trpo") for row in again.runs[key]
    ]
    assert all(kept)
    (row,) = [row for row in table_after(text, "## KL") if row["method"] == "trpo"]
    assert row["within its own δ"] == f"{len(kept):,} of {len(kept):,}"


def test_every_step_size(grid):
    _, text, again = grid
    for method in dict.fromkeys(key[0] for key in again.runs):
        rows = table_after(text, f"**{method}**, {METHODS[method].scale}\n")
        assert [row["step size"] for row in rows] == [
            f"{size:g}" for size in again.step_sizes(method)
        ]
        for row, size in zip(rows, again.step_sizes(method), strict=True):
            keys = again.keys(method, size)
            low, high = map(float, re.search(r"\((.*) to (.*)\)", row["final return"]).groups())
            finals = [again.windows[key][-1] for key in keys]
            assert row["final return"].startswith(f"{again.middle(method, size):.1f} (")
            assert min(finals) - 0.05 <= low <= again.middle(method, size) + 0.05
            assert again.middle(method, size) - 0.05 <= high <= max(finals) + 0.05
            assert row["collapsed"] == again.rate(keys, "collapsed")
            assert row["never learned"] == again.rate(keys, "never learned")
            assert row["largest KL, nats"] == f"{max(again.kl(keys)):.3g}"


def test_locked(grid):
    _, text, again = grid
    rows = table_after(text, "## Locked")
    reach = max(again.settling("trpo", size) for size in again.step_sizes("trpo"))
    trpo = [again.locked(key) for key in again.keys("trpo")]
    for row in rows:
        method = row["method"]
        sizes, locked = again.step_sizes(method), [again.locked(key) for key in again.keys(method)]
        interval = stats.binomtest(sum(locked), len(locked)).proportion_ci(method="wilson")
        share = f"({100 * interval.low:.0f} to {100 * interval.high:.0f} %)"
        assert row["locked"] == f"{sum(locked)} of {len(locked)} {share}"
        if method != "trpo":
            counts = [[sum(locked), locked.count(False)], [sum(trpo), trpo.count(False)]]
            assert row["p against trpo"] == f"{stats.fisher_exact(counts).pvalue:.2g}"
        kls = {size: again.settling(method, size) for size in sizes}
        ends = f"{min(kls.values()):.2g} to {max(kls.values()):.2g}"
        assert row["KL of its step sizes, nats"] == ends
        near = [again.locked(k) for s in sizes if kls[s] <= reach for k in again.keys(method, s)]
        assert row[f"locked, of runs with KL ≤ {reach:.2g}"] == f"{sum(near)} of {len(near)}"


def test_where_the_line_search_acted(grid):
    _, text, again = grid
    for row in table_after(text, "## Where the line search acted"):
        delta = float(row["δ"])
        over = []
        for key in again.keys("trpo", delta):
            twin = again.runs["npg", delta, key[2]]
            for mine, other in zip(again.runs[key], twin, strict=False):
                kl, free = float(mine["mean_kl"]), float(other["mean_kl"])
                if abs(kl - free) > 0.01 * max(kl, 1e-12):
                    over.append((free / delta, math.sqrt(kl / free)))
                    break
        acted = [ratio for ratio, shorter in over if ratio > 1 and shorter < 0.9]
        assert row["parted by the line search"].startswith(f"{len(acted)} of ")
        assert row["by rounding"] == str(len(over) - len(acted))
        if acted:
            told = row["KL ÷ δ of the step it refused, median and largest"]
            assert told == f"{median(acted):.3f}, {max(acted):.3f}"


def test_a_leap_before_the_fall_is_told_beside_chance(grid):
    _, text, again = grid
    said = re.search(
        r"(\d+) runs collapsed\. .* It can be told for (\d+) of them, "
        r"and is 10 or more in (\d+) of ",
        text,
    )
    collapsed = [key for key in again.runs if again.outcome(key) == "collapsed"]
    leaps = [leap for key in collapsed if (leap := again.leap(key)) is not None]
    assert said.groups() == (
        str(len(collapsed)),
        str(len(leaps)),
        str(sum(leap >= 10 for leap in leaps)),
    )


def test_no_kl_is_infinite(grid):
    _, _, again = grid
    assert all(math.isfinite(kl) for kl in again.kl(again.runs))


def test_on_cartpole_the_others_are_no_straw_men():
    again = Again("CartPole-v1")
    for method in METHODS:
        assert f"{again.middle(method, again.best(method)):.0f}" == "500"
    with (REFERENCE.parent / "ppo" / "results.csv").open(newline="", encoding="utf-8") as file:
        returns = [float(row["deterministic_return"]) for row in csv.DictReader(file)]
    page = (HOME / "scripts" / "comparison" / "README.md").read_text(encoding="utf-8")
    told = (
        f"{fmean(returns):,.1f} ({min(returns):,.1f} to {max(returns):,.1f}, {len(returns)} seeds"
    )
    assert told in page
