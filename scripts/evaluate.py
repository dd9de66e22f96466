"""`trpo evaluate RUN`: plays a trained policy and reports its returns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from trpo.agents.agent import Agent
from trpo.agents.randomness import Component, Randomness
from trpo.agents.rollouts.evaluation import MAX_STEPS, evaluate_from
from trpo.agents.rollouts.rollout import Episode
from trpo.agents.runs import Run
from trpo.agents.storage.checkpoint import Checkpoint
from trpo.envs.factory import make_recording_env
from trpo.envs.grouped import GroupedVectorEnv
from trpo.scripts.cli.command import RunFolder, parse
from trpo.scripts.cli.display import print_facts
from trpo.scripts.cli.numbers import counted, readable
from trpo.scripts.cli.options import options_of
from trpo.scripts.cli.playing import folder_of, playing, trained
from trpo.scripts.cli.sizes import MOST_THREADS, check_environments
from trpo.validation import require


@dataclass(frozen=True)
class EvaluateOptions:
    """Play a trained policy: whole episodes, raw rewards, by default deterministic."""

    run: RunFolder
    """Folder of the run, as trpo train leaves it, or one of its checkpoints."""
    episodes: int = 100
    """Episodes to play, each in a separate environment; with engine gymnasium-async, at most
    num_envs at a time."""
    best: bool = False
    """Play the best checkpoint instead of the newest: the best by evaluations during training, or
    else by the mean of 100 training episodes."""
    stochastic: bool = False
    """Sample actions, as in training, instead of taking the deterministic ones."""
    seed: int = 0
    """Seed of the evaluation; its environments differ from training's."""
    max_steps: int = MAX_STEPS
    """Steps after which an episode is cut off; its return up to there counts."""
    threads: int = 0
    """CPU threads for environments; 0: one per core. As in training, the policy acts on one."""
    video: Path | None = None
    """Folder for videos."""
    video_episodes: int = 1
    """Episodes to film, one file each."""
    trust: bool = False
    """Allow importing the modules that the run names, its environment's and its wrappers'. This
    executes their code."""

    def __post_init__(self) -> None:
        require(self, "episodes", self.episodes >= 1, "an integer ≥ 1")
        require(self, "seed", self.seed >= 0, "an integer ≥ 0")
        require(self, "max_steps", self.max_steps >= 1, "an integer ≥ 1")
        require(
            self, "threads", 0 <= self.threads <= MOST_THREADS, f"an integer in [0, {MOST_THREADS}]"
        )
        require(self, "video_episodes", 1 <= self.video_episodes <= 100, "an integer in [1, 100]")
        kept = self.video is not None or self.video_episodes == 1
        require(self, "video_episodes", kept, "a folder for more than one, by --video")

    @property
    def video_files(self) -> list[Path]:
        """The files of the episodes to film."""
        if self.video is None:
            return []
        name = "-".join(folder_of(self.run).resolve().parts[-2:])
        return [self.video / f"{name}-episode-{n + 1}.mp4" for n in range(self.video_episodes)]


def main(arguments: Sequence[str]) -> int:
    """Evaluate, as the options say, and write RUN/evaluation.json.

    Args:
        arguments: the words after `trpo evaluate`.

    Returns:
        0.
    """
    options = parse(EvaluateOptions, arguments, "evaluate")
    checkpoint, episodes = evaluate_run(options)
    returns = np.array([episode.undiscounted_return for episode in episodes])
    lengths = np.array([episode.length for episode in episodes])
    cut = sum(not episode.ended for episode in episodes)
    policy = "stochastic" if options.stochastic else "deterministic"
    newest = "newest" if options.run.is_dir() else options.run.stem
    which = "best" if options.best else newest
    update, steps = checkpoint.state["update"], checkpoint.state["steps"]
    result = {
        "checkpoint": which,
        "update": update,
        "environment_steps": steps,
        "policy": policy,
        "seed": options.seed,
        "episodes": len(episodes),
        "mean_return": returns.mean(),
        "std_return": returns.std(),
        "min_return": returns.min(),
        "max_return": returns.max(),
        "mean_length": lengths.mean(),
        "cut_off": cut,
    }
    mean, std, least, most = readable(returns.mean(), returns.std(), returns.min(), returns.max())
    played_out, cut_off = counted(len(episodes), "episode"), counted(cut, "episode")
    facts = (
        {
            "policy": f"{policy}, of the {which} checkpoint: update {update:,}, step {steps:,}",
            "return": f"{mean} ± {std}, from {least} to {most}, {played_out}",
            "length": f"{lengths.mean():,.1f} steps",
        }
        | ({"cut off": f"{cut_off}, after {counted(options.max_steps, 'step')}"} if cut else {})
        | ({"videos": ", ".join(map(str, options.video_files))} if options.video else {})
    )
    try:
        Run.open(folder_of(options.run)).write_evaluation(result | {"returns": returns.tolist()})
    finally:  # before printing: a closed pipe must not cost the result
        print_facts(facts)
    return 0


def evaluate_run(options: EvaluateOptions) -> tuple[Checkpoint, list[Episode]]:
    """Play a run's policy.

    Args:
        options: which run, and how.

    Returns:
        The policy's checkpoint, and the episodes.
    """
    folder = Run.open(folder_of(options.run))
    run = replace(options_of(folder, options.trust), threads=options.threads)
    torch.set_num_threads(1)  # small batches: several threads would mostly wait for one another
    at_once = options.episodes
    if run.environment.engine == "gymnasium-async":  # one process each
        at_once = min(at_once, run.environment.num_envs)
    check_environments("episodes", replace(run.environment, num_envs=at_once))
    checkpoint = trained(folder, options.run, options.best)
    agent = Agent.of_checkpoint(checkpoint)
    randomness = Randomness(options.seed)
    seed = randomness.integer(Component.EVALUATION)

    def play(env: GroupedVectorEnv, first: int = 0) -> list[Episode]:
        deterministic = not options.stochastic
        with playing(run.env, env, agent):
            return evaluate_from(first, env, agent, randomness, deterministic, options.max_steps)

    if options.video:
        play(make_recording_env(run.env, run.environment, options.video_files, seed))
    episodes: list[Episode] = []
    for first in range(0, options.episodes, at_once):
        count = min(at_once, options.episodes - first)
        environment = replace(run.environment, num_envs=count)
        episodes += play(replace(run, environment=environment).make_env(seed + first), first)
    return checkpoint, episodes
