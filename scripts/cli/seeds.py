"""`trpo train ENV --seeds N`: the same training with N seeds, in parallel, with one report."""

import contextlib
import io
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeAlias

from trpo.agents.runs import Run
from trpo.scripts.cli.claim import claim_name
from trpo.scripts.cli.command import run_command
from trpo.scripts.cli.curves import read_curves
from trpo.scripts.cli.display import print_facts
from trpo.scripts.cli.figures import comparison_figure, save_figure
from trpo.scripts.cli.interrupt import Interrupt
from trpo.scripts.cli.numbers import counted, nats, readable
from trpo.scripts.cli.options import TrainOptions, cpu_count
from trpo.scripts.cli.output import printable
from trpo.scripts.cli.processes import start_process
from trpo.scripts.cli.tables import print_rows

RETURNS = {"evaluation/return": "last evaluation", "episode/return_100": "last 100 episodes"}
"""Metrics to judge seeds by: the first available one is used."""
Train: TypeAlias = Callable[[TrainOptions], tuple[Path, int]]


def train_seeds(options: TrainOptions, train: Train) -> int:
    """Train with several seeds, as many at a time as there are cores, and report on them together.

    Args:
        options: of all of them; `seeds` is their number.
        train: trains one run.

    Returns:
        0; 1 or 2 if any failed; 130 or 143 when interrupted.
    """
    threads = options.threads or 1
    first = f"-seed{options.learner.trainer.seed}"
    name = options.name or claim_name(options, time.strftime("%Y%m%d-%H%M%S"), first)
    named = replace(options, threads=threads, name=name)
    runs = [_seeded(named, number) for number in range(options.seeds)]
    with Interrupt() as interrupt:
        codes = _run(runs, train, max(cpu_count() // threads, 1), interrupt)
    if not options.name:
        with contextlib.suppress(OSError):
            runs[0].folder.rmdir()  # its name was claimed, but it was not started
            runs[0].folder.parent.rmdir()
    trained = [run.folder for run in runs if codes.get(run.name) == 0]
    if options.quiet:
        for folder in trained:
            print(printable(folder))
    elif trained:
        _report([Run.open(folder) for folder in trained], named)
    if interrupt.signal and not options.quiet:
        remedy = f"the same command with --name {shlex.quote(named.name)} --resume"
        print(f"interrupted, and saved; to resume: {printable(remedy)}")
    return interrupt.exit_code or max(codes.values(), default=0)


def _seeded(options: TrainOptions, number: int) -> TrainOptions:
    seed = options.learner.trainer.seed + number
    loop = replace(options.learner.trainer, seed=seed)
    learner = replace(options.learner, trainer=loop)
    return replace(options, seeds=1, name=f"{options.name}-seed{seed}", learner=learner)


def _run(
    runs: Sequence[TrainOptions], train: Train, workers: int, interrupt: Interrupt
) -> dict[str, int]:
    """Train each; start no more after an interrupt or invalid input.

    Args:
        runs: one per seed.
        train: trains one run.
        workers: number of parallel runs.
        interrupt: ends all of them.

    Returns:
        The exit codes of those that were started, by name.
    """
    waiting, running = list(runs), dict[str, BaseProcess]()
    codes: dict[str, int] = {}
    while running or waiting:
        if interrupt.signal or 2 in codes.values():
            waiting = []
        while waiting and len(running) < workers:
            run = waiting.pop(0)
            running[run.name] = start_process(_train_one, run, train)
        wait([process.sentinel for process in running.values()], timeout=0.5)
        if interrupt.signal:
            for process in running.values():
                process.terminate()  # it saves, and ends
            for process in running.values():
                process.join()
        for name in [name for name, process in running.items() if not process.is_alive()]:
            code = running.pop(name).exitcode or 0
            codes[name] = code if code >= 0 else 128 - code
            said = "finished" if code == 0 else f"ended with exit code {codes[name]}"
            if not runs[0].quiet:
                print(f"{printable(name)}: {said}", flush=True)
    return codes


def _train_one(options: TrainOptions, train: Train) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it, too, but its parent decides
    with contextlib.redirect_stdout(io.StringIO()):
        sys.exit(run_command(lambda _: train(options)[1], []))


def _report(runs: Sequence[Run], options: TrainOptions) -> None:
    tables = [run.records() for run in runs]
    lasts = [
        {name: value for record in table for name, value in record.metrics.items()}
        for table in tables
    ]
    # a run shorter than --eval-every has no evaluation
    metric = next((name for name in RETURNS if any(name in last for last in lasts)), None)
    finals = [last[metric] for last in lasts if metric in last]
    print_rows([
        {
            "seed": str(run.config.learner.trainer.seed),
            "steps": f"{table[-1].steps:,}",
            "return": readable(last[metric])[0] if metric in last else "no episode has ended yet",
            "largest KL": nats(max(record.metrics["update/mean_kl"] for record in table)),
            "run": printable(run.folder),
        }
        for run, table, last in zip(runs, tables, lasts, strict=True)
    ])
    if metric is None:
        return
    figure = options.folder.with_name(f"{options.name}.png")
    save_figure(comparison_figure(read_curves(runs, metric, "steps", 1), metric), figure)
    mean, least, most = readable(sum(finals) / len(finals), min(finals), max(finals))
    seeds = counted(len(finals), "seed")
    print_facts({
        f"return, {RETURNS[metric]}": f"{mean}, from {least} to {most}, {seeds}",
        "figure": str(figure),
    })
