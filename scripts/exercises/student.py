"""Training with a student's functions; the results are measured by the project."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

import torch
from gymnasium.spaces import Dict, Tuple
from torch import Tensor, nn
from torch.autograd import grad
from torch.distributions import Distribution

from trpo.agents.observations import Observation
from trpo.agents.policies import Policy
from trpo.agents.trainer import Trainer, TrainingError
from trpo.agents.updates.batch import Batch
from trpo.agents.updates.trpo import Trpo, TrpoConfig
from trpo.envs.step_timeout import CallTimeout
from trpo.parameters import flatten
from trpo.report import Status, StepReport
from trpo.scripts.cli.interrupt import exit_at_once
from trpo.scripts.cli.output import say_error
from trpo.scripts.exercises.play import FILE, load
from trpo.scripts.exercises.probes import one_line
from trpo.validation import ConfigError, require

TIME_LIMIT = 60.0
"""Seconds for the import, for an update's advantages, and for its step: right ones take less."""

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def use_exercise(trainer: Trainer, folder: Path) -> None:
    """Make a trainer use the functions of a folder's exercise.py.

    Args:
        trainer: of the algorithm "trpo".
        folder: of the student.

    Raises:
        ConfigError: if exercise.py cannot be imported, or the algorithm is not trpo.
    """
    is_trpo = trainer.config.algorithm == "trpo"
    require(trainer.config, "algorithm", is_trpo, "trpo, which is what the exercise is of")
    recurrence, actions = trainer.config.recurrence, trainer.agent.action_space
    require(recurrence, "recurrent", recurrence.recurrent == "none", "none in an exercise")
    if isinstance(actions, Dict | Tuple):
        raise ConfigError(
            f"action space {actions} is not supported in an exercise: expected one leaf"
        )
    folder = folder.resolve()
    if not (folder / FILE).is_file():
        raise ConfigError(f"{folder} has no {FILE}: trpo exercise new hands one out")
    path = folder / FILE

    def end() -> None:
        say_error(f"{path} gave no answer within {TIME_LIMIT:g} s, in update {trainer.update + 1}")
        exit_at_once(1)

    limit = CallTimeout(TIME_LIMIT, end)
    try:
        with limit:
            exercise = load(folder)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"importing {path}: {one_line(error, str(path))}") from error

    gae = blaming(path, limit, exercise.gae)
    trainer.estimate_advantages = lambda rewards, *rest: torch.as_tensor(
        gae(rewards, *rest), dtype=rewards.dtype
    )
    trainer.update_policy = StudentStep(
        trainer.agent.policy,
        trainer.config.trpo,
        trainer.config.trainer.microbatch_size,
        exercise,
        path,
        limit,
    )


def exercise_of(folder: Path | None) -> bytes | None:
    """Return the content of a folder's exercise.py.

    Args:
        folder: of a student, or of a run; `None` for none.

    Returns:
        Its bytes; `None` if there is none.
    """
    path = folder / FILE if folder else None
    return path.read_bytes() if path and path.is_file() else None


def blaming(
    path: Path, limit: AbstractContextManager, function: Callable[Arguments, Returned]
) -> Callable[Arguments, Returned]:
    """Return the function, with one-line errors and a time limit.

    Args:
        path: of the student's file.
        limit: context manager around each call.
        function: that calls the student's.

    Returns:
        A function that raises `TrainingError` where it raises anything.
    """

    def called(*arguments: Arguments.args, **named: Arguments.kwargs) -> Returned:
        try:
            with limit:
                return function(*arguments, **named)
        except (Exception, SystemExit) as error:
            raise TrainingError(f"{path} {one_line(error, str(path))}") from error

    return called


class ByDimension(nn.Module):
    """A policy with the exercise's interface: its distributions have batch shape (B, A).

    Args:
        policy: whose parameters these are.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, observations: Observation) -> Distribution:
        """Return π(·|s), independent in each action dimension.

        Args:
            observations: (B, …).

        Returns:
            Of batch shape (B, A).
        """
        joint = self.policy.distribution(self.policy.network(observations))
        return joint.base_dist  # type: ignore[attr-defined]  # of an Independent


class StudentStep(Trpo):
    """The trust-region step, built from a student's functions.

    Args:
        policy: updated in place.
        config: limits and effort.
        microbatch_size: for measuring the step.
        exercise: the module.
        path: of its file.
        limit: context manager around each step.
    """

    def __init__(
        self,
        policy: Policy,
        config: TrpoConfig,
        microbatch_size: int,
        exercise: ModuleType,
        path: Path,
        limit: AbstractContextManager,
    ) -> None:
        super().__init__(policy, config, microbatch_size)
        self.exercise = exercise
        self.path = path
        self.limit = limit

    def __call__(self, batch: Batch, generator: torch.Generator) -> StepReport:  # noqa: ARG002, D102 nothing here is random
        return blaming(self.path, self.limit, self._step)(batch)

    def _step(self, batch: Batch) -> StepReport:
        exercise, config = self.exercise, self.limits
        policy = ByDimension(self.policy)
        policy_old = copy.deepcopy(policy)
        g = flatten(grad(exercise.surrogate(policy, policy, batch), list(policy.parameters())))

        def product(v: Tensor, damping: float) -> Tensor:
            Fv = exercise.fisher_vector_product(policy, batch, v, damping)
            return torch.as_tensor(Fv, dtype=g.dtype)

        taken = False

        def update() -> None:
            nonlocal taken
            x = exercise.conjugate_gradient(
                lambda v: product(v, config.damping), g, config.cg_iterations, config.cg_tolerance
            )
            step = exercise.full_step(product, g, x, config.damping, config.max_kl)
            taken = bool(
                exercise.line_search(
                    policy,
                    batch,
                    lambda: exercise.surrogate(policy, policy_old, batch).detach(),
                    step,
                    config.max_kl,
                    config.backtrack_ratio,
                    config.max_backtracks,
                )
            )

        report = self.measured_update(self.microbatches(batch), g, update)
        if report.status is Status.ACCEPTED and not taken:
            return replace(report, status=Status.LINE_SEARCH_FAILED)
        return report
