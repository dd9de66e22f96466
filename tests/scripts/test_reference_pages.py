"""The tables of the learners' page and of the reference results, from the committed tables."""

import json
import math
import re
from statistics import fmean, median, median_high

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from tests.helpers import HOME
from tests.results_table import UNTUNED, beside_peers, peers_table, table
from trpo.scripts.benchmarks.learning_report import fell, interval
from trpo.scripts.cli.tables import read_rows

REFERENCE = HOME / "runs" / "reference"
LEARNERS = " ".join((HOME / "agents" / "README.md").read_text(encoding="utf-8").split())
RESULTS = " ".join((REFERENCE / "README.md").read_text(encoding="utf-8").split())
ENVS = ("CartPole-v1", "HalfCheetah-v5", "Hopper-v5")
LEVERS = {  # a line of the learners' page: the trials' name for it
    "full δ, V without limit": [""],
    "V's trust region alone, ε 0.1": ["ε = 0.1"],
    "full δ where gradients' halves agree, less where not": [
        "δ × (split-half reliability)², halves by = time"
    ],
    "step ηx alone, η 1 · 3": ["η = 1", "η = 3"],
    "δ scaled by the advantages' variance alone": ["δ × min(1, variance ratio ** p), p = 1"],
    "earlier states in F alone (as many as the batch; KL 0.01 on average)": [
        "F += κ·F(earlier states), κ = 1"
    ],
    "earlier states in V's Gauss–Newton matrix alone": ["JᵀJ += κ·JᵀJ(earlier states), κ = 1"],
    "η 1, ε 0.1": ["η = 1; ε = 0.1"],
    "earlier states in F, ε 0.1, full δ": ["F += κ·F(earlier states), κ = 1; ε = 0.1"],
    "earlier states in F, ε 0.1, η 3": ["F += κ·F(earlier states), κ = 1; η = 3; ε = 0.1"],
}


def rates(env, contender):
    return [
        float(row["steps_per_second"])
        for row in read_rows(REFERENCE / "speed" / "results.csv")
        if (row["environment"], row["contender"]) == (env, contender)
    ]


def ratio(env, contender):
    """Training over a contender, round by round."""
    pairs = zip(rates(env, "training"), rates(env, contender), strict=True)
    return median(mine / theirs for mine, theirs in pairs)


def returns(file, env, options, seeds=range(100)):
    return [
        float(row["deterministic_return"])
        for row in read_rows(REFERENCE / file)
        if (row["environment"], row["options"]) == (env, options) and int(row["seed"]) in seeds
    ]


def told(values):
    return f"{fmean(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


@pytest.mark.parametrize("env", ENVS)
def test_speed(env):
    cells = [f"{median(rates(env, name)):,.0f}" for name in ("environment alone", "training")]
    for number, peer in enumerate(("defaults", "8 environments", "32 environments")):
        name = f"sb3-contrib, {peer}"
        this_is = "this is " if (env, number) == ("CartPole-v1", 0) else ""
        cells.append(f"{median(rates(env, name)):,.0f} ({this_is}{ratio(env, name):.1f} ×)")
    assert f"| {env} | {' | '.join(cells)} |" in RESULTS


def test_speed_in_words():
    own = [f"{ratio(env, 'environment alone'):.2f}" for env in ("Hopper-v5", "HalfCheetah-v5")]
    assert (
        f"Hopper-v5 trains at {own[0]} of its environment's own rate, HalfCheetah-v5 at {own[1]}"
        in RESULTS
    )


def test_speed_of_environments_alone():
    page = (HOME / "envs" / "README.md").read_text(encoding="utf-8")
    for env in ENVS:
        assert f"{median(rates(env, 'environment alone')):,.0f} " in page
        assert f"for {env}" in page


def test_soak():
    summary = json.loads((REFERENCE / "soak" / "summary.json").read_text(encoding="utf-8"))
    first, last = (summary[f"rss_kib_{when}"] / 1024 for when in ("first", "last"))
    page = (HOME / "runs" / "README.md").read_text(encoding="utf-8")
    files = {row["files"] for row in read_rows(REFERENCE / "soak" / "samples.csv")}
    assert f"memory went from {first:.0f} to {last:.0f} MiB" in page
    assert files == {"6"}
    assert "open files from 6 to 6" in page


@pytest.mark.parametrize("env", ENVS)
def test_where_the_time_goes(env):
    shares = {
        name: rates(env, f"share of training: {name}")[0]
        for name in (
            "environment",
            "inference",
            "advantages",
            "policy",
            "value",
            "statistics",
            "logging",
        )
    }
    logging = shares.pop("logging")
    cells = [f"{share:.0%}".replace("%", " %") for share in shares.values()]
    assert f"| {env} | {' | '.join(cells)} | {100 * logging:.1f} % |" in LEARNERS


def test_what_speed_cost_in_learning():
    both = "--num-envs 32 --value.cg-iterations 6"
    alone = "--num-envs 32 --value.cg-iterations 10"
    for env in ("HalfCheetah-v5", "Hopper-v5"):
        after = returns("trials/candidates.csv", env, both)
        now, tried = (
            returns("trials/learning.csv", env, ""),
            returns("trials/after.csv", env, alone),
        )
        before = returns("trials/before.csv", env, "")
        assert (
            f"| {env} | {told(before)} | {told(after)} | {told(now)} | {told(tried)} |" in LEARNERS
        )
        if env == "Hopper-v5":
            assert min(after + now + tried) > 3000
            assert f"none of {len(after + now + tried)} runs with 32 is below 3,000" in LEARNERS
        else:
            assert len(after + now) == 8
            assert f"on all eight seeds is at {fmean(after + now):,.0f}" in LEARNERS
    pole = returns("trials/after.csv", "CartPole-v1", both)
    assert f"reaches 500 on {sum(r == 500 for r in pole)} of {len(pole)} seeds" in LEARNERS
    fewer = alone.replace("32", "16")
    swing = [fmean(returns("trials/after.csv", "Pendulum-v1", o)) for o in (alone, fewer)]
    assert f"({swing[0]:.0f} instead of {swing[1]:.0f}, six seeds)" in LEARNERS
    moon = [fmean(returns("trials/after.csv", "LunarLander-v3", o)) for o in (alone, fewer)]
    assert f"({moon[0]:.0f} and {moon[1]:.0f}, three seeds)" in LEARNERS
    more = returns("trials/after.csv", "Acrobot-v1", alone.replace("32", "64"))
    assert f"({fmean(more):.0f}, five seeds" in LEARNERS
    assert f"{fmean(returns('trials/before.csv', 'Acrobot-v1', '')):.0f}" == f"{fmean(more):.0f}"


def test_what_a_checkpoint_costs():
    for row in read_rows(REFERENCE / "checkpoint" / "cost.csv"):
        cells = [f"{float(row[f'{name}_ms']):.0f} ms" for name in ("saving", "fresh_environments")]
        cells.append(f"{100 * float(row['share_of_time']):.1f} %")
        cells.append(f"{100 * float(row['share_of_steps_in_cut_episodes']):.0f} %")
        assert f"| {row['environment']} | {' | '.join(cells)} |" in LEARNERS
    never = returns("checkpoint/results.csv", "HalfCheetah-v5", "--checkpoint-interval 100000")
    default = returns("trials/before.csv", "HalfCheetah-v5", "")
    assert f"{told(never)[:-1]}, {len(never)} seeds) if environments never start" in LEARNERS
    assert f"{told(default)[:-1]}, {len(default)} other seeds) by the default" in LEARNERS
    for updates in (5, 100_000):
        pole = returns("checkpoint/results.csv", "CartPole-v1", f"--checkpoint-interval {updates}")
        assert pole == [500] * 5


def test_the_price_of_a_fisher_product():
    times = {
        (int(row["batch"]), int(row["width"]), row["product"]): float(row["milliseconds"])
        for row in read_rows(REFERENCE / "fisher" / "results.csv")
        if row["threads"] == "1"
    }
    narrow, wide, double = [], [], []
    for (batch, width, product), time in times.items():
        if product == "F·v":
            gradient = time / times[batch, width, "surrogate gradient"]
            (wide if width == 256 else narrow).append(gradient)
            double.append(time / times[batch, width, "F·v by double backward"])
    words = [f"{min(some):.1f} to {max(some):.1f}" for some in (narrow, wide, double)]
    told = (
        f"costs {words[0]} surrogate gradients up to 64 units, {words[1]} at 256, and {words[2]} "
        "of a double-backward product"
    )
    assert told in LEARNERS


@pytest.mark.parametrize("line", LEVERS)
def test_what_holds_a_solved_pendulum(line):
    ends, holds = [], []
    for levers in LEVERS[line]:
        runs = [
            row
            for row in read_rows(REFERENCE / "learning" / "holding.csv")
            if (row["environment"], row["options"].strip(), row["levers"], row["recipe"])
            == (
                "InvertedPendulum-v5",
                "--total-steps 300000",
                levers,
                "trial code, before the action scale",
            )
        ]
        for counts, column, least in ((ends, "last100", 990), (holds, "worst_after_half", 950)):
            counts.append(f"{sum(float(run[column]) >= least for run in runs)} of {len(runs)}")
    assert f"| {line} | {' · '.join(ends)} | {' · '.join(holds)} |" in LEARNERS


def test_the_pendulum_by_its_criterion():
    rows = [
        row
        for row in read_rows(REFERENCE / "panel" / "results.csv")
        if row["environment"] == "InvertedPendulum-v5"
    ]
    worst = [float(row["worst_after_half"]) for row in rows]
    n = len(rows)
    ends = sum(float(row["deterministic_return"]) >= 990 for row in rows)
    holds = sum(x >= 950 for x in worst)
    assert f"{ends} of {n} runs end at 990 or more, and {holds} of {n} hold" in RESULTS
    assert f"no update's episodes averaged less than {min(worst):,.1f}" in RESULTS


def test_cart_pole_by_its_criterion():
    ends = [
        float(row["deterministic_return"])
        for row in read_rows(REFERENCE / "panel" / "results.csv")
        if row["environment"] == "CartPole-v1"
    ]
    assert f"{ends.count(500)} of {len(ends)} runs end at 500" in RESULTS


def test_what_the_humanoids_mean_rests_on():
    rows = [
        row
        for row in read_rows(REFERENCE / "panel" / "results.csv")
        if (row["environment"], row["options"]) == ("Humanoid-v5", "")
    ]
    finals = sorted(float(row["deterministic_return"]) for row in rows)
    sampled = fmean(float(row["stochastic_return"]) for row in rows)
    assert fmean(finals[:-2]) < 1400 < fmean(finals)
    assert (
        f"rests on two runs: the median is {median(finals):,.1f}, and sampled actions have a mean "
        f"of {sampled:,.1f}" in RESULTS
    )
    longer = returns("panel/results.csv", "Humanoid-v5", "--total-steps 3000000", range(200))
    shorter = returns("panel/results.csv", "Humanoid-v5", "", range(100, 103))
    assert min(longer) > 6000
    assert max(shorter) < median(finals)
    assert "Seeds 100 to 102, three of the lower half there, end above 6,000 after 3M." in RESULTS


def test_every_run_that_fell_is_named():
    fallen = list(filter(fell, read_rows(REFERENCE / "panel" / "results.csv")))
    assert ("No run of the panel fell." in RESULTS) == (not fallen)
    for row in fallen:
        last, best = (float(row[f"{which}_return_100"]) for which in ("training", "best"))
        assert (
            f"On {row['environment']}, seed {row['seed']} fell: its last 100 episodes averaged "
            f"{last:,.1f}, after {best:,.1f} at best" in RESULTS
        )


def test_what_earlier_presets_came_to():
    rows = read_rows(REFERENCE / "panel" / "earlier.csv")
    assert " ".join(table(rows)) in RESULTS
    told = re.search(r"Of these, (.*?) fell\.", RESULTS)
    assert told
    for row in filter(fell, rows):
        assert re.search(rf"{row['environment']}'s seeds?[ \dand]* {row['seed']}\b", told[1]), row


def test_beside_sb3():
    panel, peers = (read_rows(REFERENCE / name / "results.csv") for name in ("panel", "peers"))
    assert " ".join(peers_table(panel, peers)) in RESULTS
    own, theirs = beside_peers(panel, peers)
    fallen = list(filter(fell, theirs))
    assert f"{len(fallen)} of sb3-contrib's {len(theirs)} runs fell" in RESULTS
    assert f"same tasks and seeds, {sum(map(fell, own))} did." in RESULTS
    named = re.search(r"of sb3-contrib's \d+ runs fell (.*?) Of this project's", RESULTS)
    assert named
    for row in fallen:
        seeds = re.search(rf"{row['environment']}'s seeds? ([\d, and]+)", named[1])
        assert seeds
        assert row["seed"] in seeds[1]
    untuned = sum(row["environment"] in UNTUNED for row in fallen)
    assert f"{untuned} of them are on tasks that the Zoo has no settings for" in RESULTS
    kept = read_rows(REFERENCE / "peers" / "defaults.csv")
    assert {row["deterministic_return"] for row in kept} == {"1000"}
    keeps = f"By its own defaults sb3-contrib keeps {kept[0]['environment']}"
    seeds = f"{kept[0]['seed']} to {kept[-1]['seed']}"
    assert f"{keeps}: seeds {seeds} end at 1,000 (" in RESULTS
    assert f"in which the median is with {1 - 2 * 0.5**3:.0%}".replace("%", " %") in RESULTS
    timed = [row for row in peers if row["environment"] == "HalfCheetah-v5"]
    first = np.array([
        float(row["deterministic_return"]) for row in timed if row["learner"] == "trpo"
    ])
    assert f"that had {first.mean():,.1f}{interval(first)} here" in RESULTS
    seconds = [
        [float(row["seconds"]) for row in timed if row["learner"] == learner]
        for learner in ("trpo", "sb3-contrib")
    ]
    told = [f"{min(side):,.0f} to {max(side):,.0f}" for side in seconds]
    assert f"HalfCheetah-v5 took {told[0]} seconds here, {told[1]} there" in RESULTS


def test_census():
    rows = read_rows(REFERENCE / "census" / "results.csv")
    for engine, told in (
        ("envpool", "Of EnvPool's {:,} ids {:,} train, {:.1%}"),
        ("gymnasium", "Of Gymnasium's {} ids {} train"),
    ):
        mine = [row for row in rows if row["engine"] == engine]
        trained = sum(row["outcome"] == "trained" for row in mine)
        assert told.format(len(mine), trained, trained / len(mine)).replace("%", " %") in RESULTS
    assert f"({max(float(row['largest_kl'] or 0) for row in rows):.5f} of 0.02 at most)" in RESULTS
    players = [row for row in rows if "players: expected one" in row["outcome"]]
    assert f"{len(players)} ids are games of several players" in RESULTS


def test_memory():
    rows = read_rows(REFERENCE / "memory" / "results.csv")
    assert all(row["updates_within_limit"] == row["updates"] for row in rows)

    def ends(env: str, column: str) -> tuple[list[float], list[float]]:
        mine = [row for row in rows if row["environment"] == env]
        gru = [row for row in mine if "--recurrent gru" in row["options"]]
        others = [row for row in mine if row not in gru]
        return [float(row[column]) for row in gru], [float(row[column]) for row in others]

    gru, without = ends("CartPole-v1", "deterministic_return")
    assert set(gru) == {500}
    assert f"{len(gru)} of 3 seeds end at 500, without" in RESULTS
    assert f"without it at {min(without):.1f} to {max(without):.1f}." in RESULTS
    gru, without = ends("MiniGrid-MemoryS7-v0", "stochastic_return")
    three = "{:.2f}, {:.2f} and {:.2f}"
    told = f"reach {three} by the policy that samples, without it {three}"
    assert told.format(*sorted(gru), *sorted(without)) in RESULTS


def test_images():
    rows = read_rows(REFERENCE / "images" / "results.csv")
    assert all(row["updates_within_limit"] == row["updates"] for row in rows)
    sampled: dict[str, list[float]] = {}
    for row in rows:
        sampled.setdefault(row["environment"], []).append(float(row["stochastic_return"]))
    keys = "{:.2f}, {:.2f} and {:.2f} of the policy that samples"
    assert keys.format(*sampled["MiniGrid-DoorKey-6x6-v0"]) in RESULTS
    breakout = sampled["trpo.scripts.benchmarks.minatar_games:MinAtar/Breakout-v1"]
    assert "MinAtar/Breakout-v1 reached {:.1f}, {:.1f} and {:.1f} in".format(*breakout) in RESULTS
    coinrun = [
        float(row["stochastic_return"])
        for row in rows
        if (row["environment"], row["options"])
        == ("CoinrunEasy-v0", "--total-steps 600000 --value.epochs 4")
    ]
    assert (
        "CoinrunEasy-v0 reached {:.1f}, {:.1f} and {:.1f}, by the policy that samples, over 200 "
        "new episodes each: {:.1f} in the mean".format(*coinrun, fmean(coinrun))
        in RESULTS
    )
    last = [
        float(row["training_return_100"])
        for row in rows
        if row["environment"] == "trpo.scripts.benchmarks.minatar_games:MinAtar/Breakout-v0"
    ]
    assert (
        "averaged {:.1f}, {:.1f} and {:.1f} over its last 100 episodes after 500k frames, {:.1f} "
        "in the mean".format(*last, fmean(last))
        in RESULTS
    )
    for env, options, told in (
        (
            "Pong-v5",
            "--total-steps 900000",
            "Seed 101's last 100 episodes averaged {last:.1f} after {steps:,} steps",
        ),
        (
            "Pong-v5",
            "--total-steps 1500000",
            "{steps:,} steps (3.5M frames, 40 minutes): its last 100 episodes averaged {last:.1f}, "
            "from {first:.1f} (goal: above -10), its last checkpoint's policy {sampled:.1f} over",
        ),
        (
            "CoinrunEasy-v0",
            "--total-steps 500000",
            "{steps:,} steps: {last:.1f} over its last 100 episodes, and {sampled:.1f} over 50",
        ),
        *(
            ("Pong-v5", f"--entropy-bonus 0.003 {seed}", told)
            for seed, told in (
                (100, "averaged {last:.1f} after {steps:,} steps ({best:.1f} at best), seed 101's"),
                (101, "seed 101's {last:.1f} after {steps:,}, seed 102's"),
                (102, "seed 102's {last:.1f} after {steps:,}, where they were stopped"),
            )
        ),
    ):
        (row,) = (
            r for r in rows if r["environment"] == env and options in f"{r['options']} {r['seed']}"
        )
        figures = {
            "steps": int(row["steps"]),
            "last": float(row["training_return_100"]),
            "first": float(row["first_return_100"]),
            "best": float(row["best_return_100"]),
            "sampled": float(row["stochastic_return"]),
        }
        assert told.format(**figures) in RESULTS


def test_tuning():
    tune = REFERENCE / "tune"
    trials, rows = read_rows(tune / "trials.csv"), read_rows(tune / "results.csv")
    assert f"[{len(trials)} trials]" in RESULTS
    reached: dict[bool, dict[str, float]] = {True: {}, False: {}}  # found, preset: seed to steps
    for row in read_rows(tune / "curves.csv"):
        steps = float(row["steps"]) if float(row["return_100"] or "nan") >= 475 else math.inf
        seeds = reached[bool(row["options"])]
        seeds[row["seed"]] = min(seeds.get(row["seed"], math.inf), steps)
    for seeds in reached.values():
        assert len(seeds) == 10
    ends = [row for row in rows if float(row["deterministic_return"]) == 500]
    assert len(rows) == len(ends) == 20  # "10 of 10 runs of either end at 500"
    found, preset = (sorted(seeds.values()) for seeds in reached.values())
    counts = [sum(map(math.isfinite, steps)) for steps in (found, preset)]
    assert f"{counts[0]} and {counts[1]} of 10 runs reached" in RESULTS
    middle = [median_high(filter(math.isfinite, steps)) for steps in (found, preset)]
    assert f"after {middle[0]:,.0f} and {middle[1]:,.0f} steps" in RESULTS
    p = mannwhitneyu(found, preset, alternative="two-sided").pvalue
    assert f"p = {p:.2f})" in RESULTS
