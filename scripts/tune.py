"""`trpo tune ENV`: searches for better hyperparameters with Optuna, in parallel and resumably."""

import importlib.util
import json
import math
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from trpo.agents.trainer import Trainer, TrainingError
from trpo.envs.errors import INSTALL
from trpo.scripts.cli.command import EnvId, UsageError, parse, warn
from trpo.scripts.cli.display import print_facts
from trpo.scripts.cli.interrupt import Interrupt
from trpo.scripts.cli.numbers import readable
from trpo.scripts.cli.options import cpu_count, parse_train_options, run_folder
from trpo.scripts.cli.presets import PRESETS
from trpo.scripts.cli.processes import start_process
from trpo.scripts.cli.tables import print_rows, write_provenance, write_rows
from trpo.scripts.cli.train_words import with_options_joined, words_of
from trpo.validation import require

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from trpo.scripts.tuning.trials import Job


@dataclass(frozen=True)
class TuneOptions:
    """Search for better hyperparameters than the environment's preset.

    A trial trains once and is scored by its evaluations; trials whose learning curve lies below
    most others' are pruned. Repeating the command resumes the search, on one machine or several.
    """

    env: EnvId
    """Environment id, as trpo train takes it."""
    trials: int = 100
    """Number of trials, including pruned ones."""
    minutes: float = math.inf
    """Minutes after which no new trial is started."""
    workers: int = 0
    """Parallel trials, each with one thread; 0: one per core."""
    storage: str = ""
    """URL of the database that workers share, such as postgresql://HOST/NAME. Default: a SQLite
    file in OUT."""
    study: str = ""
    """Name of the search in the database. Default: the environment and the algorithm."""
    grace: int = 300
    """Seconds without a heartbeat after which another worker takes over a worker's trial."""
    out: Path | None = None
    """Folder for the runs, the table and the figure. Default: runs/tune/ENV."""
    options: str = ""
    """Options of trpo train for all trials, as one string: --options "--seed 7"."""

    def __post_init__(self) -> None:
        words_of(self.options)
        require(self, "trials", self.trials >= 1, "an integer ≥ 1")
        require(self, "minutes", self.minutes > 0, "a number > 0")
        require(self, "workers", self.workers >= 0, "an integer ≥ 0")
        require(self, "grace", self.grace >= 1, "an integer ≥ 1")


def main(arguments: Sequence[str]) -> int:
    """Tune, as the options say.

    Args:
        arguments: the words after `trpo tune`.

    Returns:
        0; 1 if no trial completed; 130 or 143 when interrupted.

    Raises:
        UsageError: if Optuna is not installed.
        TrainingError: if the first trials all failed.
    """
    options = parse(TuneOptions, with_options_joined(arguments), "tune")
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(f"trpo tune needs Optuna: run {INSTALL.format(extra='tune')}")
    from trpo.scripts.tuning.space import search_space
    from trpo.scripts.tuning.trials import Job

    words = (options.env, *words_of(options.options))
    base = parse_train_options(words)
    # first, so that invalid input leaves nothing behind
    Trainer(base.make_env, base.learner).close()
    out = options.out or run_folder(Path("runs/tune"), options.env, base.learner.algorithm)
    out.mkdir(parents=True, exist_ok=True)
    job = Job(
        words,
        options.storage or f"sqlite:///{out / 'study.db'}",
        options.study or f"{options.env} {base.learner.algorithm}",
        options.trials,
        time.time() + 60 * options.minutes,
        options.grace,
        out,
    )
    study = job.open()
    job = replace(job, earlier=len(study.trials))
    if not study.trials:
        space, start = search_space(base)
        first = {name: space[name].parameter(word) for name, word in start.items()}
        study.enqueue_trial({name.removeprefix("--"): value for name, value in first.items()})
    print(f"study {job.study!r} in {job.storage}: {job.ended(study)} of {job.trials} trials ended")
    write_provenance(out / "provenance.json")
    with Interrupt() as interrupt:
        watch(job, study, options.workers or cpu_count(), interrupt)
    if interrupt.signal:
        print("interrupted; repeat the command to resume")
        return interrupt.exit_code
    if job.hopeless(study):
        raise TrainingError("the first trials have all failed; repeat the command to resume")
    return conclude(study, words, out)


def watch(job: "Job", study: "Study", workers: int, interrupt: Interrupt) -> None:
    """Run trials in workers, and report each as it ends or fails.

    Args:
        job: shared by the workers.
        study: of the job.
        workers: number of workers.
        interrupt: ends all of them.
    """
    from trpo.scripts.tuning.trials import ENDED, is_over, work

    told = {trial.number for trial in study.get_trials(deepcopy=False) if is_over(trial)}
    running = [start_process(work, job, number) for number in range(workers)]
    while running:
        wait([process.sentinel for process in running], timeout=1.0)
        if interrupt.signal:
            for process in running:
                process.terminate()  # it saves its trial, and ends
            for process in running:
                process.join()
        for process in [each for each in running if not each.is_alive()]:
            running.remove(process)
            if process.exitcode and not interrupt.signal:
                warn(f"a worker ended with exit code {process.exitcode}: its trial is not lost")
        trials = study.get_trials(deepcopy=False)
        for trial in trials:
            if is_over(trial) and trial.number not in told:
                told.add(trial.number)
                ended = sum(each.state in ENDED for each in trials if each.number in told)
                tell(trial, f"[{ended}/{job.trials}]")


def tell(trial: "FrozenTrial", progress: str) -> None:
    """Report how a trial ended, or why it failed.

    Args:
        trial: ended, or failed.
        progress: number of trials that have ended.
    """
    from trpo.scripts.tuning.trials import ERROR

    if error := trial.user_attrs.get(ERROR):
        warn(f"trial {trial.number} failed: {error}")
        return
    curve = list(trial.intermediate_values.values())
    early = "" if trial.state.name == "COMPLETE" else ", stopped early"
    said = f"trial {trial.number}: evaluation {readable(curve[-1])[0]}{early}"
    print(f"{progress} {said}", flush=True)


def conclude(study: "Study", words: tuple[str, ...], out: Path) -> int:
    """Save and print the results.

    Args:
        study: after its trials.
        words: of `trpo train`, shared by all trials; the environment first.
        out: folder for the table and the figure.

    Returns:
        0, or 1 if no trial completed.
    """
    from trpo.scripts.tuning.findings import draw_importances, preset_of, ranked, rows_of

    trials = ranked(study)
    if not trials or trials[0].state.name != "COMPLETE":
        warn("no trial has completed; repeat the command to resume")
        return 1
    best, rows = trials[0], rows_of(trials)
    write_rows(out / "trials.csv", rows)
    print_rows([{name: _shown(value) for name, value in row.items()} for row in rows[:10]])
    env_id, *more = words
    preset = preset_of(best, [*shlex.split(PRESETS.get(env_id, "")), *more])
    drawn = draw_importances(study, out / "importance.png")
    start = study.get_trials(deepcopy=False)[0].value
    print_facts(
        {"best score": f"{_shown(best.value)}, of trial {best.number}"}
        | ({} if start is None else {"score at the start": _shown(start)})
        | {"table": str(out / "trials.csv")}
        | ({"importances": str(out / "importance.png")} if drawn else {})
        | {
            "try it": f"trpo train {env_id} {preset} --seeds 5",
            "preset": f'"{env_id}": {json.dumps(preset)},',
        }
    )
    return 0


def _shown(value: object) -> str:
    return readable(value)[0] if isinstance(value, float) else str(value)
