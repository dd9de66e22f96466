"""Trials: training runs, each in its own run folder, scored by their evaluations."""

import shlex
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from trpo.agents.runs import Run
from trpo.agents.storage.errors import RunError
from trpo.agents.storage.typed_json import to_json
from trpo.agents.trainer import Trainer, TrainingError
from trpo.scripts.cli.command import UsageError, parse, run_command
from trpo.scripts.cli.interrupt import Interrupt
from trpo.scripts.cli.options import TrainOptions, parse_train_options
from trpo.scripts.tuning.space import search_space

EVALUATIONS = 10  # evaluations per trial, evenly spaced over its steps
STARTUP = 5  # trials, and then evaluations of one, before a trial may be stopped
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
ERROR = "error"  # a trial's error; an interrupted trial has none


@dataclass(frozen=True)
class Job:
    """The settings shared by all workers of a study.

    Args:
        words: of `trpo train`, which the search starts from.
        storage: URL of the database.
        study: its name there.
        trials: number of trials to finish, completed or pruned.
        deadline: time after which no trial is started.
        grace: seconds without a heartbeat after which a worker's trial is taken over.
        out: folder of the trials' runs.
        earlier: number of earlier trials.
    """

    words: tuple[str, ...]
    storage: str
    study: str
    trials: int
    deadline: float
    grace: int
    out: Path
    earlier: int = 0

    def open(self, seed: int = 0) -> Study:
        """Return the study, new or as it was left.

        Args:
            seed: of the sampler; different for each worker.

        Returns:
            The study.

        Raises:
            UsageError: if its database cannot be reached.
        """
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sqlite = self.storage.startswith("sqlite")  # writers wait for one another
        try:
            storage = RDBStorage(
                self.storage,
                engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else None,
                heartbeat_interval=max(self.grace // 4, 1),
                grace_period=self.grace,
                heartbeat_stale_trial_callback=take_over,
            )
        except Exception as error:  # of SQLAlchemy, of its driver, or of Python's import
            told = " ".join(str(error).split())[:200]
            raise UsageError(f"storage {self.storage}: {told}") from error
        return optuna.create_study(
            study_name=self.study,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            sampler=TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP),
            pruner=MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=EVALUATIONS // 3),
        )

    def ended(self, study: Study) -> int:
        """Return the number of trials that have ended.

        Args:
            study: this one.
        """
        return len(study.get_trials(deepcopy=False, states=ENDED))

    def hopeless(self, study: Study) -> bool:
        """Return whether the first trials have all failed, so that further ones would, too.

        Args:
            study: this one.
        """
        trials = study.get_trials(deepcopy=False)[self.earlier :]
        first = [t for t in trials if t.state is not TrialState.FAIL or ERROR in t.user_attrs]
        return len(first) >= STARTUP and all(ERROR in t.user_attrs for t in first[:STARTUP])

    def over(self, study: Study) -> bool:
        """Return whether there are enough trials, regardless of time.

        Args:
            study: this one.
        """
        return self.ended(study) >= self.trials or self.hopeless(study)

    def options(self, words: Sequence[str], origin: int) -> TrainOptions:
        """Return the options of a trial's training.

        Args:
            words: options chosen by the trial.
            origin: number of the trial, or of the original one if it was taken over.

        Returns:
            The options.
        """
        base = parse_train_options(self.words)
        steps = base.learner.trainer.total_steps
        place = f"--name=trial-{origin:04d} --threads=1 --resume".split()
        place += [f"--eval-every={max(steps // EVALUATIONS, 1)}", f"--runs={self.out / 'runs'}"]
        place += [f"--seed={base.learner.trainer.seed + origin}"]
        return parse(TrainOptions, [base.env, *words, *place], "tune", base)


def is_over(trial: FrozenTrial) -> bool:
    """Return whether a trial has ended or its training failed, rather than being interrupted.

    Args:
        trial: any.
    """
    return trial.state in ENDED or ERROR in trial.user_attrs


class BrokenOffError(Exception):
    """A trial was interrupted."""


def take_over(study: Study, trial: FrozenTrial) -> None:
    """Queue an interrupted trial again, to resume from its run's last resume point.

    Args:
        study: its study.
        trial: the interrupted one.
    """
    RetryHeartbeatStaleTrialCallback()(study, trial)


def work(job: Job, number: int) -> None:
    """Run trials until there are enough; runs in a separate process.

    Args:
        job: what all workers share.
        number: of this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it, too, but its parent decides
    sys.exit(run_command(lambda _: _work(job, number), []))


def _work(job: Job, number: int) -> int:
    study = job.open(seed=number + 1000 * len(job.open().trials))

    def stop_when_over(study: Study, _: FrozenTrial) -> None:
        if job.over(study):
            study.stop()

    with Interrupt() as interrupt:
        while not job.over(study) and time.time() < job.deadline:
            try:
                study.optimize(
                    lambda trial: _scored(job, study, trial, interrupt),
                    timeout=job.deadline - time.time(),
                    callbacks=[stop_when_over],
                    catch=(TrainingError,),
                )
            except BrokenOffError:
                return interrupt.exit_code
            except ValueError as error:
                # it was so slow that another worker took over its trial, and now waits for its run
                if "Cannot tell" not in str(error):
                    raise
    return 0


def _scored(job: Job, study: Study, trial: Trial, interrupt: Interrupt) -> float:
    try:
        return score(job, study, trial, interrupt)
    except TrainingError as error:
        trial.set_user_attr(ERROR, " ".join(str(error).split()))
        raise


def score(job: Job, study: Study, trial: Trial, interrupt: Interrupt) -> float:
    """Train with a trial's settings, and return the mean of the last half of its evaluations.

    Args:
        job: what all workers share.
        study: the trial's.
        trial: chooses the settings.
        interrupt: interrupts the trial after the current update.

    Returns:
        A mean return.

    Raises:
        TrialPruned: if the learning curve lies below most others'.
        BrokenOffError: after an interrupt; the trial is then to be resumed.
    """
    space, _ = search_space(parse_train_options(job.words))
    words: list[str] = []
    for option, values in space.items():
        words += [option, *shlex.split(values.suggest(trial, option.removeprefix("--")))]
    frozen = study._storage.get_trial(trial._trial_id)
    origin = RetryHeartbeatStaleTrialCallback.retried_trial_number(frozen)
    run, trainer = _begin(job.options(words, trial.number if origin is None else origin))
    curve: list[float] = []

    def judge(metrics: dict[str, float]) -> None:
        if "evaluation/return" in metrics:
            curve.append(metrics["evaluation/return"])
            trial.report(curve[-1], len(curve))
            if trial.should_prune():
                raise optuna.TrialPruned

    with closing(trainer), run.recording(trainer) as updates:
        for record in run.records()[: trainer.update]:
            judge(record.metrics)
        for record in updates:
            judge(record.metrics)
            if interrupt.signal:
                break
    if not trainer.finished:
        take_over(study, frozen)
        raise BrokenOffError
    half = curve[len(curve) // 2 :]
    return sum(half) / len(half)


def _begin(options: TrainOptions) -> tuple[Run, Trainer]:
    """Return a run, new or left by a worker, and its trainer."""
    trainer = Trainer(options.make_env, options.learner, options.cpu_threads)
    if not Run.exists(options.folder):
        agent = trainer.agent
        config = options.config(agent.observation_space, agent.action_space)
        return Run.create(options.folder, config, exist_ok=True), trainer
    run = Run.open(options.folder)
    while run.lock.is_held():  # its worker was only slow: its results are used
        time.sleep(1.0)
    if to_json(run.config.learner) != to_json(options.learner):
        raise RunError(f"run {run.folder} is of another study: choose another --out")
    if checkpoint := run.checkpoints.newest(lambda _: None, resumable=True):
        trainer.restore(checkpoint.tensors, checkpoint.state)
    return run, trainer
