"""`trpo watch RUN`: plays a trained policy on screen."""

from collections.abc import Sequence
from dataclasses import dataclass

from trpo.agents.agent import Agent
from trpo.agents.randomness import Component, Randomness
from trpo.agents.rollouts.evaluation import MAX_STEPS, evaluate
from trpo.agents.runs import Run
from trpo.envs.factory import make_watched_env
from trpo.scripts.cli.command import RunFolder, parse
from trpo.scripts.cli.numbers import readable
from trpo.scripts.cli.options import options_of
from trpo.scripts.cli.playing import folder_of, playing, trained
from trpo.validation import require


@dataclass(frozen=True)
class WatchOptions:
    """Play a trained policy on screen, by default deterministic; Ctrl-C ends it."""

    run: RunFolder
    """Folder of the run, as trpo train leaves it, or one of its checkpoints."""
    episodes: int = 5
    """Episodes to play, one after another."""
    best: bool = False
    """Play the best checkpoint instead of the newest."""
    stochastic: bool = False
    """Sample actions, as in training, instead of taking the deterministic ones."""
    seed: int = 0
    """Seed of the first episode; later episodes use consecutive seeds."""
    trust: bool = False
    """Allow importing the modules that the run names, its environment's and its wrappers'. This
    executes their code."""

    def __post_init__(self) -> None:
        require(self, "episodes", self.episodes >= 1, "an integer ≥ 1")
        require(self, "seed", self.seed >= 0, "an integer ≥ 0")


def main(arguments: Sequence[str]) -> int:
    """Play, as the options say.

    Args:
        arguments: the words after `trpo watch`.

    Returns:
        0.
    """
    options = parse(WatchOptions, arguments, "watch")
    folder = Run.open(folder_of(options.run))
    run = options_of(folder, options.trust)
    agent = Agent.of_checkpoint(trained(folder, options.run, options.best))
    randomness = Randomness(options.seed)
    noise = randomness.generator(Component.ACTIONS) if options.stochastic else None
    env = make_watched_env(run.env, run.environment)
    with playing(run.env, env, agent):
        for number in range(options.episodes):
            seed = randomness.integer(Component.EVALUATION, number)
            (episode,) = evaluate(env, agent, seed, noise, MAX_STEPS)
            (shown,) = readable(episode.undiscounted_return)
            print(f"episode {number + 1}: return {shown}, {episode.length:,} steps", flush=True)
    return 0
