"""`trpo benchmark learning`: trains, evaluates, and keeps every result as a row."""

import contextlib
import io
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from trpo.agents.runs import Run
from trpo.scripts.cli.command import parse
from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.cli.presets import PRESETS
from trpo.scripts.cli.tables import print_rows, read_rows, write_provenance, write_rows
from trpo.scripts.evaluate import EvaluateOptions, evaluate_run
from trpo.scripts.train import train
from trpo.validation import require


@dataclass(frozen=True)
class LearningOptions:
    """Train with each preset, evaluate the final policy, add a row to OUT/results.csv."""

    envs: tyro.conf.Positional[tuple[str, ...]] = tuple(PRESETS)
    """Environments to train on."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run for each."""
    episodes: int = 100
    """Evaluation episodes of the final policy."""
    workers: int = 2
    """Runs at a time, of one thread each."""
    out: Path = Path("runs/learning")
    """Folder for results.csv and runs/."""
    options: str = ""
    """More options of trpo train, in one string, for every run."""

    def __post_init__(self) -> None:
        require(self, "episodes", self.episodes >= 1, "an integer ≥ 1")
        require(self, "workers", self.workers >= 1, "an integer ≥ 1")


def main(arguments: Sequence[str]) -> int:
    """Train and evaluate every environment with every seed, side by side in processes.

    Args:
        arguments: the words after `trpo benchmark learning`.

    Returns:
        0, or 1 if a run failed.
    """
    options = parse(LearningOptions, arguments, "benchmark learning")
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.csv"
    rows = read_rows(results)
    done = {(row["environment"], int(row["seed"]), row["options"]) for row in rows}
    cells = [
        (env, seed)
        for seed in options.seeds
        for env in options.envs
        if (env, seed, options.options) not in done
    ]
    write_provenance(options.out / "provenance.json")
    failures = 0
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        runs = {pool.submit(learn, env, seed, options): (env, seed) for env, seed in cells}
        for number, run in enumerate(as_completed(runs), 1):
            env, seed = runs[run]
            try:
                row = run.result()
            except Exception as error:  # one run's failure leaves the others
                failures += 1
                print(f"[{number}/{len(cells)}] {env} seed {seed} failed: {error!r}")
                continue
            rows.append(row)
            write_rows(results, rows)
            print(
                f"[{number}/{len(cells)}] {env} seed {seed}: "
                f"{row['deterministic_return']:,.1f} in {row['seconds']:.0f} s",
                flush=True,
            )
    print_rows(summarize(read_rows(results)))
    return 1 if failures else 0


def learn(env: str, seed: int, options: LearningOptions) -> dict[str, Any]:
    """Train and evaluate once.

    Args:
        env: the environment.
        seed: of the run.
        options: evaluation and folders.

    Returns:
        A row of results.csv.
    """
    words = [
        env,
        "--seed",
        str(seed),
        "--threads",
        "1",
        "--runs",
        str(options.out / "runs"),
        *shlex.split(options.options),
    ]
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        folder, _ = train(parse_train_options(words))
    seconds = time.perf_counter() - start
    metrics = Run.open(folder).metrics()
    kl, max_kl, steps = (
        metrics["update/mean_kl"],
        metrics["trust_region/max_kl"],
        int(metrics["steps"][-1]),
    )
    deterministic, stochastic = (
        np.array([
            e.undiscounted_return
            for e in evaluate_run(
                EvaluateOptions(run=folder, episodes=options.episodes, stochastic=sampled)
            )
        ])
        for sampled in (False, True)
    )
    return {
        "environment": env,
        "seed": seed,
        "options": options.options,
        "steps": steps,
        "deterministic_return": deterministic.mean(),
        "deterministic_std": deterministic.std(),
        "stochastic_return": stochastic.mean(),
        "training_return_100": metrics["episode/return_100"][-1],
        "updates": len(kl),
        "updates_within_limit": "" if np.isnan(max_kl[-1]) else int((kl <= max_kl).sum()),
        "largest_kl": kl.max(),
        "max_kl": "" if np.isnan(max_kl[-1]) else max_kl[-1],
        "updates_put_back": int((metrics["update/accepted"] == 0).sum()),
        "seconds": round(seconds, 1),
        "steps_per_second": round(steps / seconds),
    }


def summarize(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return one row an environment: means over seeds of each kind of return, with their range.

    Args:
        rows: of results.csv.

    Returns:
        Rows to print.
    """
    summary = []
    for env, words in dict.fromkeys((row["environment"], row["options"]) for row in rows):
        mine = [row for row in rows if (row["environment"], row["options"]) == (env, words)]

        def spread(column: str, mine: list[dict[str, Any]] = mine) -> str:
            values = [float(row[column]) for row in mine]
            return f"{np.mean(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"

        limited = all(row["max_kl"] for row in mine)
        within, updates = (
            sum(int(row[column] or 0) for row in mine)
            for column in ("updates_within_limit", "updates")
        )
        summary.append({
            "environment": env,
            "steps": f"{int(mine[0]['steps']):,}",
            "seeds": str(len(mine)),
            "deterministic policy": spread("deterministic_return"),
            "sampled actions": spread("stochastic_return"),
            "last 100 in training": spread("training_return_100"),
            "updates within δ": f"{within:,} of {updates:,}" if limited else "it has none",
            "more options": words,
        })
    return summary
