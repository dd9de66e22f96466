"""Shared by the commands that play a trained policy: loading it, and reporting failures."""

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
    """Read the checkpoint to be played.

    Args:
        run: any.
        best: whether to read the best checkpoint instead of the newest.

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
def playing(env_id: str, env: GroupedVectorEnv, agent: Agent) -> Iterator[None]:
    """Report failures while an agent plays, and close the environments at the end.

    Args:
        env_id: for messages.
        env: the agent's environments.
        agent: its spaces must equal the environments'.

    Raises:
        RunError: if they are not.
        TrainingError: if an environment fails.
    """
    pairs = (
        (agent.observation_space, env.single_observation_space),
        (agent.action_space, env.single_action_space),
    )
    try:
        for own, theirs in pairs:  # bounds and dtypes may differ between engines
            if type(own) is not type(theirs) or flatdim(own) != flatdim(theirs):
                raise RunError(f"{env_id} has space {theirs}, the run's agent {own}")
        yield
    except BrokenEnvironmentError as error:
        raise TrainingError(f"{env_id} {error}") from error
    finally:
        close(env)
