"""What commands that play a trained policy share: where it is, and how failures are told."""

from collections.abc import Iterator
from contextlib import contextmanager

from gymnasium.spaces import flatdim

from trpo.agents.agent import Agent
from trpo.agents.rollouts.environments import close
from trpo.agents.rollouts.rollout import BrokenEnvironmentError
from trpo.agents.runs import CheckpointError, Run, RunError
from trpo.agents.storage.checkpoint import Checkpoint
from trpo.agents.trainer import TrainingError
from trpo.envs.grouped import GroupedVectorEnv
from trpo.scripts.cli.command import warn


def trained(run: Run, best: bool) -> Checkpoint:
    """Read the checkpoint of a run that is to be played.

    Args:
        run: any.
        best: whether the best, or the newest.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: if there is none.
    """
    checkpoint = run.checkpoints.best() if best else run.checkpoints.newest(warn)
    if checkpoint is None:
        raise CheckpointError(f"{run.checkpoints.path} holds no checkpoint")
    return checkpoint


@contextmanager
def played(env_id: str, env: GroupedVectorEnv, agent: Agent) -> Iterator[None]:
    """Tell what goes wrong as an agent plays, and close the environments in the end.

    Args:
        env_id: for messages.
        env: which the agent plays in.
        agent: whose spaces have to be the environments'.

    Raises:
        RunError: if they are not.
        TrainingError: if an environment fails.
    """
    pairs = (
        (agent.observation_space, env.single_observation_space),
        (agent.action_space, env.single_action_space),
    )
    try:
        for own, theirs in pairs:  # whose bounds and types may differ from one engine to another
            if type(own) is not type(theirs) or flatdim(own) != flatdim(theirs):
                raise RunError(f"{env_id} has space {theirs}, the run's agent {own}")
        yield
    except BrokenEnvironmentError as error:
        raise TrainingError(f"{env_id} {error}") from error
    finally:
        close(env)
