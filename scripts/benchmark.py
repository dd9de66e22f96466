"""`trpo benchmark learning`: trains and evaluates, and keeps every result as a row with what produced it."""

import contextlib
import csv
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
from rich.console import Console
from rich.table import Table

from scripts.command import UsageError, parse
from scripts.evaluate import EvaluateOptions, evaluate_run
from scripts.options import parse_train_options
from scripts.plot import read_metrics
from scripts.presets import PRESETS
from scripts.train import train
from trpo.validation import require

COLUMNS = [
    "environment",
    "seed",
    "options",
    "steps",
    "deterministic_return",
    "deterministic_std",
    "stochastic_return",
    "training_return_100",
    "updates",
    "updates_within_limit",
    "largest_kl",
    "max_kl",
    "updates_put_back",
    "seconds",
    "steps_per_second",
]


@dataclass(frozen=True)
class LearningOptions:
    """Train with each environment's preset, evaluate the final policy, add a row to OUT/results.csv; rows there are kept."""

    envs: tyro.conf.Positional[tuple[str, ...]] = tuple(PRESETS)
    """Environments to train on."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run for each."""
    episodes: int = 100
    """Evaluation episodes of the final policy."""
    workers: int = 2
    """Runs at a time, of one thread each."""
    out: Path = Path("runs/learning")
    """Folder for results.csv, and for the runs."""
    options: str = ""
    """More options of trpo train, in one string, for every run."""

    def __post_init__(self) -> None:
        require(self.episodes >= 1, "episodes", self.episodes, "an integer ≥ 1")
        require(self.workers >= 1, "workers", self.workers, "an integer ≥ 1")


def main(arguments: Sequence[str]) -> int:
    """Run a benchmark.

    Args:
        arguments: the words after `trpo benchmark`.

    Returns:
        0, or 1 if a run failed.

    Raises:
        UsageError: if the benchmark is not one of those there are.
    """
    if arguments and arguments[0] == "learning":
        return learning(parse(LearningOptions, arguments[1:], "benchmark learning"))
    if arguments and arguments[0] in {"-h", "--help"}:
        print("usage: trpo benchmark learning [ENV ...] [OPTIONS]\n\ntrpo benchmark learning --help lists the options.")
        return 0
    raise UsageError(f"unknown benchmark {' '.join(arguments[:1])!r}: expected learning")


def learning(options: LearningOptions) -> int:
    """Train and evaluate every environment with every seed, side by side in processes.

    Args:
        options: what to run.

    Returns:
        0, or 1 if a run failed.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.csv"
    rows = _read(results)
    done = {(row["environment"], int(row["seed"]), row["options"]) for row in rows}
    cells = [(env, seed) for seed in options.seeds for env in options.envs if (env, seed, options.options) not in done]
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
            _write(results, rows)
            print(
                f"[{number}/{len(cells)}] {env} seed {seed}: {row['deterministic_return']:,.1f} in {row['seconds']:.0f} s",
                flush=True,
            )
    _print_table(_read(results))
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
    words = [env, "--seed", str(seed), "--threads", "1", "--runs", str(options.out), *shlex.split(options.options)]
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        folder, _ = train(parse_train_options(words))
    seconds = time.perf_counter() - start
    metrics = read_metrics(folder)
    kl, max_kl, steps = metrics["trust_region/mean_kl"], metrics["trust_region/max_kl"], int(metrics["steps"][-1])
    deterministic, stochastic = (
        np.array([e.undiscounted_return for e in evaluate_run(EvaluateOptions(folder, options.episodes, sampled))])
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
        "updates_within_limit": int((kl <= max_kl).sum()),
        "largest_kl": kl.max(),
        "max_kl": max_kl[-1],
        "updates_put_back": int((metrics["trust_region/accepted"] == 0).sum()),
        "seconds": round(seconds, 1),
        "steps_per_second": round(steps / seconds),
    }


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "environment", "options", "seeds", "deterministic", "stochastic", "training", "within δ", box=None, pad_edge=False
    )
    for env, words in dict.fromkeys((row["environment"], row["options"]) for row in rows):
        mine = [row for row in rows if (row["environment"], row["options"]) == (env, words)]
        means = [
            f"{np.mean([float(row[column]) for row in mine]):,.1f}"
            for column in ("deterministic_return", "stochastic_return", "training_return_100")
        ]
        within, updates = (sum(int(row[column]) for row in mine) for column in ("updates_within_limit", "updates"))
        table.add_row(env, words, str(len(mine)), *means, f"{within} of {updates}")
    Console(width=150).print(table, highlight=False)
