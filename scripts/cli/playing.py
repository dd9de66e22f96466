"""Shared by the commands that play a trained policy: loading it, and reporting failures."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gymnasium.spaces import flatdim

from trpo.agents.agent import Agent
from trpo.agents.rollouts.environments import close
from trpo.agents.rollouts.rollout import BrokenEnvironmentError
from trpo.agents.runs import CheckpointError, Run, RunError
from trpo.agents.storage.checkpoint import Checkpoint
from trpo.agents.storage.checkpoint_folder import CHECKPOINTS
from trpo.agents.trainer import TrainingError
from trpo.envs.grouped import GroupedVectorEnv
from trpo.scripts.cli.command import UsageError, warn


def folder_of(path: Path) -> Path:
    """Return the folder of a run that is to be played.

    Args:
        path: the folder, or one of the run's checkpoints.

    Returns:
        The folder; `path` itself unless it is a file in checkpoints/.
    """
    return Path(os.path.abspath(path)).parents[1] if _is_checkpoint(path) else path


def _is_checkpoint(path: Path) -> bool:
    # not Path.is_file, which raises where a name is too long
    return os.path.isfile(path) and Path(os.path.abspath(path)).parent.name == CHECKPOINTS


def trained(run: Run, path: Path, best: bool) -> Checkpoint:
    """Read the checkpoint to be played.

    Args:
        run: any.
        path: its folder, or one of its checkpoints.
        best: whether to read the folder's best checkpoint instead of the newest.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: if there is none.
        UsageError: if `path` is a checkpoint and the best is asked for.
    """
    if _is_checkpoint(path):
        if best:
            raise UsageError(f"{path} is a checkpoint already: leave out --best")
        return run.checkpoints.named(path.name)
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
