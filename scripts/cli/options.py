"""Everything that defines a run: the environment, the engine that steps it, and the learner."""

import argparse
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro
from gymnasium import Space

from trpo.agents.config import Algorithm, LearnerConfig, TrainerConfig, check_batch_size
from trpo.agents.networks.images import ImageConfig
from trpo.agents.networks.recurrence import RecurrenceConfig
from trpo.agents.policies import PolicyConfig
from trpo.agents.runs import Run, RunConfig, RunError
from trpo.agents.runs.config import CONFIG
from trpo.agents.runs.trackers import Tracker
from trpo.agents.storage.typed_json import from_json
from trpo.agents.updates.trpo import TrpoConfig
from trpo.envs.errors import INSTALL
from trpo.envs.factory import LONGEST_TIMEOUT, EnvironmentConfig, Part, make_vector_env
from trpo.envs.grouped import GroupedVectorEnv
from trpo.envs.step_timeout import end_process
from trpo.scripts.cli import torchrun
from trpo.scripts.cli.command import EnvId, UsageError, option_of, parse
from trpo.scripts.cli.config_file import read_options
from trpo.scripts.cli.presets import PRESETS
from trpo.scripts.cli.sizes import MOST_THREADS, check_environments, check_integers, check_memory
from trpo.validation import require


def cpu_count() -> int:
    """Return the number of cores available to this process, or else the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class LearnerOptions(LearnerConfig):
    """The learner, on the command line: --max-kl rather than --trpo.max-kl."""

    trainer: tyro.conf.OmitArgPrefixes[TrainerConfig] = field(default_factory=TrainerConfig)
    trpo: tyro.conf.OmitArgPrefixes[TrpoConfig] = field(default_factory=TrpoConfig)
    policy: tyro.conf.OmitArgPrefixes[PolicyConfig] = field(default_factory=PolicyConfig)
    images: tyro.conf.OmitArgPrefixes[ImageConfig] = field(default_factory=ImageConfig)
    recurrence: tyro.conf.OmitArgPrefixes[RecurrenceConfig] = field(
        default_factory=RecurrenceConfig
    )


def _json_values(words: list[str]) -> dict[str, Any]:
    """Return the values of words of the form key=JSON."""
    values = {}
    for word in words:
        key, _, value = word.partition("=")
        try:
            values[key] = json.loads(value)
        except ValueError as error:
            expected = """expected key=JSON, such as size=6, lives=true or 'map_name="8x8"'"""
            raise UsageError(f"env_kwargs = {word!r}: {expected}") from error
    return values


JsonValues = Annotated[
    dict[str, Any],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="[KEY=JSON [KEY=JSON ...]]",
        instance_from_str=_json_values,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda values: [f"{k}={json.dumps(v)}" for k, v in values.items()],
    ),
]


@dataclass(frozen=True)
class EnvironmentOptions(EnvironmentConfig):
    """The vector environment."""

    env_kwargs: JsonValues = field(default_factory=dict)


@dataclass(frozen=True)
class TrainOptions:
    """Train a policy with trust-region policy optimisation or another --algorithm.

    Defaults come from the environment's preset, if it has one, or from another run (--like), then
    from a file (--config). The command line takes precedence.
    """

    env: EnvId
    """Environment id: EnvPool's or Gymnasium's, or module:Env-v0."""
    name: str = ""
    """Name of the run, whose folder is RUNS/ENV/NAME. Default: seed and time of day, with -2
    appended if that is taken."""
    resume: bool = False
    """Resume the run of this --name if there is one, else start it: for schedulers that restart
    failed jobs."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """YAML file of options, named as here, such as max_kl: 0.01."""
    like: Path | None = None
    """Folder of a run whose environment and options replace the preset's."""
    from_run: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Run folder or checkpoint from which to initialise policy, value function and statistics."""
    seeds: int = 1
    """Number of runs to train in parallel, with seeds --seed, --seed + 1, …; they share one
    report."""
    video_every: int = 0
    """Environment steps between videos; 0: none. The deterministic policy plays one episode, up to
    1000 steps, in a separate environment, for RUN/videos and TensorBoard. Training itself is
    unaffected."""
    quiet: bool = False
    """Print only the run's folder, at the end; with --seeds, one line per run."""
    track: tuple[Tracker, ...] = ()
    """Trackers to log every update to (extras wandb and mlflow), configured by their environment
    variables, such as WANDB_MODE=offline or MLFLOW_TRACKING_URI=sqlite:///mlflow.db."""
    exercise: Path | None = None
    """Folder with an exercise.py whose functions are used for training (see trpo exercise new)."""
    threads: int = 0
    """CPU threads for environments and for tensors; 0: one per core. Under torchrun, per process
    (0: processes share the cores); with --seeds, per run (0: one)."""
    group_timeout: float = 1800.0
    """Under torchrun: seconds that a process waits for the others before all exit."""
    environment: tyro.conf.OmitArgPrefixes[EnvironmentOptions] = field(
        default_factory=EnvironmentOptions
    )
    learner: Annotated[LearnerOptions, tyro.conf.arg(name="")] = field(
        default_factory=LearnerOptions
    )

    def __post_init__(self) -> None:
        check_integers(self.learner)
        check_integers(self.environment)
        require(
            self, "threads", 0 <= self.threads <= MOST_THREADS, f"an integer in [0, {MOST_THREADS}]"
        )
        require(self, "video_every", self.video_every >= 0, "an integer ≥ 0")
        require(self, "seeds", self.seeds >= 1, "an integer ≥ 1")
        fits = (
            not {"/", "\0"} & set(self.name)
            and not self.name.startswith(".")
            and len(self.name.encode()) <= 255
        )
        require(self, "name", fits, "a file name")
        within = 0 < self.group_timeout <= LONGEST_TIMEOUT
        require(self, "group_timeout", within, f"seconds in (0, {LONGEST_TIMEOUT:,}]")

    def check(self) -> None:
        """Validate before any environment is made: creating a million cannot be interrupted.

        Raises:
            ConfigError: if options contradict each other, or exceed what this machine has.
            EnvError: if the environments cannot be divided among the processes.
            UsageError: if an exercise is asked for under torchrun, or a tracker is not installed.
        """
        check_environments("num_envs", self.environment)
        check_batch_size(self.learner.trainer.batch_size, self.environment.num_envs)
        Part(torchrun.rank(), torchrun.size()).of(self.environment.num_envs)
        if self.exercise and torchrun.size() > 1:
            raise UsageError("an --exercise is trained with by one process: not under torchrun")
        check_memory(self.learner)
        check_trackers(self.track)

    @property
    def cpu_threads(self) -> int:
        """Threads to use, at least 1."""
        return self.threads or max(cpu_count() // torchrun.local_size(), 1)

    def make_env(self, seed: int, on_hang: Callable[[str], None] = end_process) -> GroupedVectorEnv:
        """Make the run's vector environment; under torchrun, this process's part of it.

        Args:
            seed: of its first environment.
            on_hang: called with a sentence when environments in this process hang; has to end the
                process.

        Returns:
            N environments.
        """
        part = Part(torchrun.rank(), torchrun.size())
        return make_vector_env(self.env, self.environment, seed, self.cpu_threads, on_hang, part)

    def config(self, observation_space: Space | None, action_space: Space | None) -> RunConfig:
        """Return the options as a run's config.json stores them.

        Args:
            observation_space: of one environment, if it is known.
            action_space: of one environment, if it is known.

        Returns:
            Everything that defines the run.
        """
        return RunConfig(
            env=self.env,
            learner=self.learner,
            observation_space=observation_space,
            action_space=action_space,
            environment=asdict(self.environment),
            video_every=self.video_every,
            threads=self.cpu_threads,
            started_from=str(self.from_run) if self.from_run else None,
        )

    @property
    def folder(self) -> Path:
        """The run's folder; `name` is given."""
        return run_folder(self.runs, self.env, self.name)


def run_folder(runs: Path, env_id: str, name: str) -> Path:
    """Return where a run's folder is, or will be.

    Args:
        runs: the folder of all runs.
        env_id: the environment.
        name: the run's name.

    Returns:
        The path.
    """
    return runs / env_id.replace("/", "-").replace(":", "-") / name


def check_trackers(names: Sequence[Tracker]) -> None:
    """Refuse trackers that are not installed.

    Args:
        names: of the trackers, which are their packages'.

    Raises:
        UsageError: with how to install the first of them.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"tracker {name} is not installed: run {INSTALL.format(extra=name)}")


KNOWN_ENGINES = {"ale_py", "envpool", "gymnasium"}


def options_of(run: Run, trust: bool, remedy: str = "add --trust") -> TrainOptions:
    """Return the options that a run was started with.

    Args:
        run: any.
        trust: whether modules that it names, its environment's and its wrappers', may be imported.
        remedy: how the user can allow that, for the message.

    Returns:
        The options, except those that determine the run's folder.

    Raises:
        UsageError: if that requires importing a module that is not trusted.
        RunError: if its environments cannot be made from the command line.
    """
    module = run.config.env.rpartition(":")[0]
    known = module.partition(".")[0] in KNOWN_ENGINES or module in sys.modules
    if module and not known and not trust:
        raise UsageError(
            f"run {run.folder} is on {run.config.env}, for which module {module!r} would be "
            f"imported, and run: if you trust it, {remedy}"
        )
    config = run.config
    try:
        environment = EnvironmentOptions(**vars(from_json(EnvironmentConfig, config.environment)))
        learner = LearnerOptions(**vars(config.learner))
        options = TrainOptions(
            env=config.env,
            video_every=config.video_every,
            threads=config.threads,
            environment=environment,
            learner=learner,
        )
        options.check()
    except ValueError as error:
        raise RunError(f"{run.folder / CONFIG} cannot be read: {error}") from error
    if environment.wrapper and not trust:
        raise UsageError(
            f"run {run.folder} wraps its environments in {', '.join(environment.wrapper)}, which "
            f"would be imported, and run: if you trust it, {remedy}"
        )
    return options


def parse_train_options(
    arguments: Sequence[str], *, for_one_algorithm: bool = False
) -> TrainOptions:
    """Read the options of `trpo train`, on top of a file's, and a run's or the preset's.

    Args:
        arguments: the words after the command.
        for_one_algorithm: whether to refuse options of the other algorithms.

    Returns:
        The options.
    """
    env_id = _environment_among(arguments)
    sources = _sources_among(arguments)
    words: list[str] = []
    if sources.config:
        of_file, words = read_options(sources.config)
        env_id = env_id or of_file
    default = None
    if sources.like:
        default = _options_like(sources.like, env_id)
        env_id = default.env
    elif env_id in PRESETS:
        default = _preset(env_id)
    if env_id and sources.config:
        try:
            default = parse(TrainOptions, [env_id, *words], "train", default)
        except UsageError as error:
            raise UsageError(f"{sources.config}: {error}") from error
    options = parse(TrainOptions, arguments, "train", default)
    options.check()
    if for_one_algorithm:  # a file, or a run, may be for several
        _refuse_options_of_others(options.learner, default.learner if default else LearnerConfig())
    return options


def _refuse_options_of_others(learner: LearnerConfig, before: LearnerConfig) -> None:
    """Refuse options of update rules that are not trained with, on the command line."""
    for name in get_args(Algorithm):
        rule, default = getattr(learner, name), getattr(before, name)
        for option in fields(rule) if name != learner.algorithm else ():
            if getattr(rule, option.name) != getattr(default, option.name):
                written = option_of(TrainOptions, type(rule), option.name)
                raise UsageError(f"{written} is an option of {name}, not of {learner.algorithm}")


@cache
def _preset(env_id: str) -> TrainOptions:
    """Return the options of an environment's preset; cached, as parsing is slow."""
    return parse(TrainOptions, [env_id, *shlex.split(PRESETS[env_id])], "train")


def _environment_among(arguments: Sequence[str]) -> str:
    """Return the word that names the environment; "" where they cannot be parsed."""
    words = [word for word in arguments if word not in {"-h", "--help"}]
    try:
        return parse(TrainOptions, words, "train").env
    except UsageError:  # reported when they are parsed with the preset
        return ""


def _sources_among(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the values of --config and --like, which determine the other options' defaults."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--like", type=Path)
    try:
        return parser.parse_known_args(arguments)[0]
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error


def _options_like(folder: Path, env_id: str) -> TrainOptions:
    """Return a run's options, for its own environment or another, with this machine's threads."""
    run = Run.open(folder)
    remedy = f"name it: trpo train {run.config.env} --like {folder}"
    options = options_of(run, bool(env_id), remedy)
    return replace(options, env=env_id or options.env, threads=0)
