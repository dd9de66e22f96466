"""C10: one update of any rule, and the recovery: is the damage determined by its KL?

TRPO trains for U updates from scratch, to θ. From there every fork collects the same batch, makes
one update with its rule, and is evaluated; then TRPO makes U updates, as many as from scratch, and
is evaluated again. The criteria were written down before the runs:
runs/reference/collapse/CRITERIA.md, section 1.

A fork is `trpo resume` with another rule: the same trainer, from the same snapshot. Rows are added
to the tables as forks end; repeating the command resumes it.
"""

import csv
import gzip
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from trpo.agents.agent import Agent
from trpo.agents.metrics import UpdateRecord
from trpo.agents.randomness import Component, Randomness
from trpo.agents.rollouts.evaluation import evaluate
from trpo.agents.runs.provenance import git_commit
from trpo.agents.trainer import Trainer, TrainingError
from trpo.scripts.cli.options import TrainOptions, parse_train_options
from trpo.scripts.cli.options_record import add_options
from trpo.scripts.cli.tables import read_rows
from trpo.scripts.studies.findings import Findings
from trpo.scripts.studies.one_update_findings import CONTROL, findings

EPISODES = 64
PINNED = (  # pinned
    "--num-envs 32 --batch-size 2048 --gamma 0.99 --gae-lambda 0.95 --threads 1 "
    "--total-steps 1000000000 --algorithm trpo --max-kl 0.02 --damping 0.1 --cg-iterations 10 "
    "--backtrack-ratio 0.8 --max-backtracks 10 --hidden 64 64 --activation tanh "
    "--value.hidden 64 64 --value.activation tanh --value.fit gauss-newton "
    "--value.newton-steps 2 --value.damping 1e-3 --value.cg-iterations 6 "
    # what came after the first forks, left out
    "--distribution gaussian --initial-log-std -0.5 "
    "--step-size inf --anneal-to 1 --memory 0 --value.max-change inf"
)
UPDATES = {  # U, from scratch to θ and for the recovery
    "Hopper-v5": 100,
    "CartPole-v1": 25,
    "FrozenLake-v1": 25,
    "MountainCar-v0": 50,
    "Walker2d-v5": 100,
}
KAPPAS = (0.02, 0.2, 2.0, 20.0, 200.0)  # nats, as predicted by the quadratic model of KL


class Rule(NamedTuple):
    """An update rule whose step size is varied.

    Args:
        options: of `trpo train`, that choose it.
        step_option: the option that takes its step size.
        step_sizes: to try; with `probe`, as the KL predicted from a probing step.
        probe: a step size small enough for KL to be quadratic.
    """

    options: str
    step_option: str
    step_sizes: tuple[float, ...]
    probe: float | None = None


RULES = {
    "trpo": Rule("--algorithm trpo", "--max-kl", (0.02, 0.2, 2.0, 20.0)),
    "npg": Rule("--algorithm npg --npg.damping 0.1", "--npg.target-kl", KAPPAS),
    "vpg-sgd": Rule(
        "--algorithm vpg --vpg.optimizer sgd", "--vpg.learning-rate", KAPPAS, probe=0.1
    ),
    "vpg-adam": Rule(
        "--algorithm vpg --vpg.optimizer adam", "--vpg.learning-rate", KAPPAS, probe=1e-3
    ),
    "ppo": Rule("--algorithm ppo", "--ppo.learning-rate", (3e-4, 3e-3, 3e-2, 0.3)),
}
Snapshot = tuple[dict[str, Tensor], dict[str, Any]]


@dataclass(frozen=True)
class Fork:
    """One fork of a run.

    Args:
        rule: of `RULES`, or `CONTROL`.
        asked: one of its rule's `step_sizes`.
    """

    rule: str
    asked: float = 0.0


FORKS = [
    Fork(CONTROL),
    *(Fork(name, size) for name, rule in RULES.items() for size in rule.step_sizes),
]


def pinned_words(task: str) -> list[str]:
    """Return the words after `trpo train` shared by a task's learners.

    Args:
        task: of `UPDATES`.

    Returns:
        Words; environments are re-created at θ, so that all forks start with the same ones.
    """
    return [task, *PINNED.split(), "--checkpoint-interval", str(UPDATES[task])]


class Run:
    """A task and a seed, lazily trained to θ.

    Args:
        task: of `UPDATES`.
        seed: of everything.
    """

    def __init__(self, task: str, seed: int) -> None:
        self.task, self.seed, self.updates = task, seed, UPDATES[task]
        self.words = [*pinned_words(task), "--seed", str(seed)]
        trainer = self.trainer("")
        self.untrained = self.play(trainer.agent)
        self.from_scratch = list(_advance(trainer, self.updates))
        self.theta = trainer.snapshot()
        self.trained = self.play(trainer.agent)

    def options(self, more: str) -> TrainOptions:
        """Return the options of a learner of this run.

        Args:
            more: options of `trpo train`, after the pinned ones.

        Returns:
            All options, resolved.
        """
        return parse_train_options([*self.words, *more.split()])

    def trainer(self, more: str, snapshot: Snapshot | None = None) -> Trainer:
        """Return a learner, at its start or at a snapshot.

        Args:
            more: options of `trpo train`, after the pinned ones.
            snapshot: of another learner, without its optimizer's state.

        Returns:
            The trainer.
        """
        options = self.options(more)
        trainer = Trainer(options.make_env, options.learner, options.cpu_threads)
        if snapshot:
            tensors, state = snapshot
            kept = {name: x for name, x in tensors.items() if not name.startswith("update_rule.")}
            trainer.restore(kept, state)
        return trainer

    def play(self, agent: Agent) -> float:
        """Return the mean return of an agent's sampled actions.

        Args:
            agent: left as it is.

        Returns:
            Over the first episodes of `EPISODES` environments, the same for all forks of the run.
        """
        options, randomness = self.options(""), Randomness(self.seed)
        seed = randomness.integer(Component.EVALUATION)
        many = replace(options, environment=replace(options.environment, num_envs=EPISODES))
        with closing(many.make_env(seed)) as env:
            played = evaluate(env, agent, seed, randomness.generator(Component.EVALUATION, 1))
        return float(np.mean([episode.undiscounted_return for episode in played]))

    def learn(self, fork: Fork) -> tuple[dict[str, Any], list[UpdateRecord]]:
        """Make a fork's one update, evaluate, let it recover, and evaluate again.

        Args:
            fork: one of `FORKS`.

        Returns:
            The measurements, and the updates of the recovery.
        """
        words, step_size = self._step(fork)
        row: dict[str, Any] = {"rule": fork.rule, "asked": fork.asked, "step_size": step_size}
        snapshot, left, kl, status = self.theta, self.trained, 0.0, "ACCEPTED"
        if fork.rule != CONTROL:
            trainer = self.trainer(words, self.theta)
            (record,) = _advance(trainer, 1)
            kl, status = record.metrics["update/mean_kl"], record.status.name
            snapshot, left = trainer.snapshot(), self.play(trainer.agent)
        trainer = self.trainer("", snapshot)
        records: list[UpdateRecord] = []
        try:
            records.extend(_advance(trainer, self.updates))
        except TrainingError as error:
            status = f"{status}; then: {error}"
        row |= {"kl": kl, "status": status, "left": left, "recovered": self.play(trainer.agent)}
        return row, records

    def _step(self, fork: Fork) -> tuple[str, float]:
        # the options of a fork's rule with its step size, and that
        if fork.rule == CONTROL:
            return "", 0.0
        rule, size = RULES[fork.rule], fork.asked
        if rule.probe is not None:
            (record,) = _advance(
                self.trainer(f"{rule.options} {rule.step_option} {rule.probe!r}", self.theta), 1
            )
            size = rule.probe * math.sqrt(fork.asked / record.metrics["update/mean_kl"])
        return f"{rule.options} {rule.step_option} {size!r}", size


def _advance(trainer: Trainer, updates: int) -> Iterator[UpdateRecord]:
    # take some updates, and close the environments
    records = trainer.updates()
    try:
        for _ in range(updates):
            yield next(records)
    finally:
        trainer.close()


def study(folder: Path, tasks: Sequence[str], seeds: int) -> Findings:
    """Make the missing forks, and evaluate all of them.

    Args:
        folder: of the tables.
        tasks: of `UPDATES`.
        seeds: of each task.

    Returns:
        What was found.
    """
    measure(folder, tasks, seeds)
    return findings(folder)


def measure(folder: Path, tasks: Sequence[str], seeds: int) -> None:
    """Make every fork that the tables lack, seed by seed, and add it to them.

    Args:
        folder: of results.csv, one row per fork; updates.csv.gz, one row per update; options.json.
        tasks: of `UPDATES`.
        seeds: of each, from 0.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learners = {
        f"{task} {name}": [*pinned_words(task), *rule.options.split()]
        for task in UPDATES
        for name, rule in RULES.items()
    }
    add_options(folder, learners)
    done = {
        (row["task"], int(row["seed"]), row["rule"], float(row["asked"]))
        for row in read_rows(folder / "results.csv")
    }
    for seed, task in ((seed, task) for seed in range(seeds) for task in tasks):
        left = [fork for fork in FORKS if (task, seed, fork.rule, fork.asked) not in done]
        if not left:
            continue
        run = Run(task, seed)
        if len(left) == len(FORKS):
            _add_updates(folder, run, Fork("scratch"), run.from_scratch)
        for number, fork in enumerate(left, 1):
            row, records = run.learn(fork)
            _add_updates(folder, run, fork, records)
            whole = {"task": task, "seed": seed, **row}
            whole |= {"untrained": run.untrained, "trained": run.trained, "commit": git_commit()}
            _add_row(folder / "results.csv", whole)
            said = f"KL {row['kl']:.3g}, left {row['left']:,.1f}, recovered {row['recovered']:,.1f}"
            print(
                f"{task} seed {seed} [{number}/{len(left)}] {fork.rule} {fork.asked:g}: {said} "
                f"of {run.trained:,.1f}",
                flush=True,
            )


def _add_row(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def _add_updates(folder: Path, run: Run, fork: Fork, records: Sequence[UpdateRecord]) -> None:
    # gzip files can be appended to: their members are read as one
    path = folder / "updates.csv.gz"
    new = not path.exists()
    with gzip.open(path, "at", encoding="utf-8") as file:
        if new:
            file.write("task,seed,rule,asked,update,episode_return,mean_kl\n")
        for number, record in enumerate(records, 1):
            metrics = record.metrics
            ended = f"{metrics['episode/return']:.5g}" if "episode/return" in metrics else ""
            kl = f"{metrics.get('update/mean_kl', math.nan):.4g}"
            file.write(f"{run.task},{run.seed},{fork.rule},{fork.asked:g},{number},{ended},{kl}\n")
