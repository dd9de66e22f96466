"""The training loop: collect → advantages → policy update → value fit → report."""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trpo.agents.agent import TENSORS, Agent, AgentConfig
from trpo.agents.algorithms import make_update_rule
from trpo.agents.config import (
    LearnerConfig,
    check_batch_size,
    with_bounded_memory,
    with_image_defaults,
    with_recurrence,
)
from trpo.agents.metrics import UpdateRecord
from trpo.agents.networks.encoders import MakeEncoder
from trpo.agents.observations import plain
from trpo.agents.policies import Policy
from trpo.agents.randomness import Component, Randomness
from trpo.agents.rollouts.advantages import AdvantageEstimator, generalized_advantages
from trpo.agents.rollouts.batching import make_batch
from trpo.agents.rollouts.environments import Environments, MakeEnvironments
from trpo.agents.rollouts.episodes import EpisodeStatistics, means, of_all_processes
from trpo.agents.rollouts.rollout import BrokenEnvironmentError, Rollout
from trpo.agents.stopwatch import Stopwatch
from trpo.agents.storage.tensor_names import with_prefix, without_prefix
from trpo.agents.updates.batch import Batch
from trpo.agents.updates.value_fit import make_fit
from trpo.parameters import checksum
from trpo.process_group import LostProcessError, make_reducer
from trpo.reducer import SERIAL
from trpo.report import Status, StepReport
from trpo.validation import ConfigError

CHECK_EVERY = 10  # updates between comparisons of the processes' parameters


class TrainingError(RuntimeError):
    """Training cannot continue; the message is one line that can be shown to the user."""


class Trainer:
    """Trains an agent on vector environments.

    If torch.distributed is initialised, every process creates a trainer with its part of the
    environments and the same configuration: together they train one agent, of which each has a
    copy.

    Args:
        make_env: seed ↦ N environments, as `trpo.envs.make_vector_env` makes them; with several
            processes, this process's part.
        config: the learner.
        threads: of the CPU, for the updates.
        make_encoder: from the observation space to an encoder; by default chosen by the space.

    Raises:
        ConfigError: if the device is missing, `make_env` is not such a function, the batch size is
            not a multiple of the number of environments, a space is not supported, or evaluations
            would need a second copy of a single given environment.
        TrainingError: if the environments cannot be started.
    """

    def __init__(
        self,
        make_env: MakeEnvironments,
        config: LearnerConfig,
        threads: int = 1,
        make_encoder: MakeEncoder | None = None,
    ) -> None:
        device = config.trainer.torch_device  # first: if it is missing, nothing is started
        self.reducer = make_reducer(threads)
        self.update = 0
        self.steps = 0
        self.closed = False
        self.non_finite = 0  # consecutive ones up to the last update
        self.evaluation_return: float | None = None  # mean, of the last evaluation
        self.episodes = EpisodeStatistics()
        self.randomness = Randomness(config.trainer.seed)
        self.environments = Environments(
            make_env, self.randomness, config.trainer.max_restarts, self.reducer
        )
        with ExitStack() as unless_made:  # the caller cannot close them
            unless_made.callback(self.reducer.close)
            self._start_environments()
            unless_made.callback(self.environments.close)
            self._make_learner(config, make_encoder, device)
            unless_made.pop_all()

    def _make_learner(
        self, config: LearnerConfig, make_encoder: MakeEncoder | None, device: torch.device
    ) -> None:
        """Make everything that learns, for the given environments."""
        env, batch_size = self.environments.env, config.trainer.batch_size
        num_envs = env.num_envs * self.reducer.size  # of all processes
        check_batch_size(batch_size, num_envs)
        if config.trainer.eval_every and getattr(env, "handed_over", False):
            needs = "environments of its own: give make_env a function that makes one, not one"
            raise ConfigError(f"eval_every = {config.trainer.eval_every} needs {needs}")
        rows = config.trainer.microbatch_size  # of features, which are small
        config = with_recurrence(config)
        if make_encoder is None:
            config = with_image_defaults(config, env.single_observation_space)
        self.config = config = with_bounded_memory(config, env.single_observation_space)
        agent_config = AgentConfig(
            env.single_observation_space,
            env.single_action_space,
            config.policy,
            config.value,
            config.normalize,
            config.images,
            config.trainer.gamma,
            config.recurrence,
        )
        self.agent = Agent(agent_config, self.randomness, make_encoder)
        self.agent.move_networks(device)
        # with the policy's features, V is fitted after the policy's step, which changes them
        self.in_turn = config.value.trunk == "policy"
        whole = self.reducer, self.reducer
        policy_reducer, self.value_reducer = whole if self.in_turn else self.reducer.halves()
        self.update_policy = make_update_rule(self.agent.policy, config, policy_reducer)
        self.fit_value = make_fit(
            self.agent.value_function,
            config.value,
            rows if self.in_turn else config.trainer.microbatch_size,
            self.value_reducer,
        )
        self.estimate_advantages: AdvantageEstimator = generalized_advantages
        self.rollout = Rollout(batch_size // num_envs, env, self.agent.policy)

    def updates(self) -> Iterator[UpdateRecord]:
        """Train until finished; between records nothing is running, and everything can be saved.

        Yields:
            One record per update.

        Raises:
            TrainingError: if an environment fails or is lost too often, too many updates in a row
                are not finite, or another process of the group is lost.
        """
        while not self.finished:
            if self.closed or (self.at_resume_point and self.update):
                self.environments.close()
                self._start_environments()
                self.closed = False
            with self._as_training_errors(f"in update {self.update + 1}"):
                record = self._next_update()
            yield record
            if self.non_finite >= self.config.trainer.max_non_finite:
                in_a_row = f"in {self.non_finite} updates in a row up to {self.update}"
                raise TrainingError(
                    f"{self.environments.env_id}: {Status.NON_FINITE.value}, {in_a_row}"
                )
        self.close()

    def close(self) -> None:
        """Close the environments and end the threads; `updates` starts them again."""
        self.environments.close()
        self.reducer.close()
        self.closed = True

    def extend(self, total_steps: int) -> None:
        """Let `updates` go on, in fresh environments, as `trpo resume --total-steps` does.

            trainer.extend(trainer.steps + 50_000)
            for update in trainer.updates():
                print(update.steps, trainer.mean_return)

        What is annealed is where it would be in a run of so many steps: δ may rise again. Of a run
        on disk, call `run.extend(trainer.config.trainer)`, too.

        Args:
            total_steps: environment steps to train for, counted from the beginning.

        Raises:
            ConfigError: if there would be nothing left to do.
        """
        loop = replace(self.config.trainer, total_steps=total_steps)
        if loop.finished(self.steps, self.evaluation_return):
            reached = "" if total_steps <= self.steps else ", and stop_return is reached"
            taken = f"{self.steps} steps were taken{reached}"
            raise ConfigError(f"total_steps = {total_steps}: expected more to do, {taken}")
        self.config = replace(self.config, trainer=loop)

    @property
    def mean_return(self) -> float | None:
        """Mean raw return of the last 100 episodes; `None` before the first has ended."""
        return self.episodes.mean_return

    @property
    def finished(self) -> bool:
        """Whether the run has taken its `total_steps`, or reached its `stop_return`."""
        return self.config.trainer.finished(self.steps, self.evaluation_return)

    @property
    def at_resume_point(self) -> bool:
        """Whether the next update begins with fresh environments.

        A run resumed from a checkpoint taken there equals an uninterrupted one.
        """
        return self.update % self.config.trainer.checkpoint_interval == 0

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything training carries between updates, except the environments.

        Returns:
            Tensors, and the rest as JSON content.
        """
        tensors = with_prefix(TENSORS, self.agent.tensors())
        tensors |= with_prefix("update_rule.", self.update_policy.state_tensors())
        tensors |= with_prefix("value_fit.", self.fit_value.state_tensors())
        counters = {
            "update": self.update,
            "steps": self.steps,
            "non_finite": self.non_finite,
            "restarts": self.environments.restarts,
            "at_resume_point": self.at_resume_point,
            "evaluation_return": self.evaluation_return,
        }
        return tensors, counters | self.episodes.state() | self.agent.description()

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Continue from a snapshot; exactly, if it was taken where `at_resume_point` holds.

        Args:
            tensors: of the snapshot.
            state: of the snapshot.

        Raises:
            ConfigError: if the snapshot is of another configuration.
        """
        self.agent.load_tensors(without_prefix(TENSORS, tensors))
        self.update_policy.load_state_tensors(without_prefix("update_rule.", tensors))
        self.fit_value.load_state_tensors(without_prefix("value_fit.", tensors))
        self.update, self.steps = state["update"], state["steps"]
        self.non_finite, self.environments.restarts = state["non_finite"], state["restarts"]
        self.evaluation_return = state.get("evaluation_return")  # earlier versions had none
        self.episodes.restore(state["episodes"], state["recent"])

    def _start_environments(self) -> None:
        with self._as_training_errors(f"in update {self.update + 1}"):
            self.environments.start(self.update)

    @contextmanager
    def _as_training_errors(self, where: str) -> Iterator[None]:
        try:
            yield
        except BrokenEnvironmentError as failure:
            raise TrainingError(f"{self.environments.env_id} {failure}, {where}") from failure
        except LostProcessError as lost:
            raise TrainingError(f"{lost}, {where}") from lost

    def _next_update(self) -> UpdateRecord:
        agent, rollout, watch = self.agent, self.rollout, Stopwatch()

        acting = on_cpu(agent.policy)
        # if it fails, nothing has changed
        episodes = self.environments.collect(acting, rollout, self.update)
        watch.lap("rollout")
        episodes = of_all_processes(episodes, rollout.done, self.reducer)
        scaled = self.config.normalize.rewards
        if scaled:
            self._update_reward_scale()
        batch, values = make_batch(
            rollout,
            agent.reward_scaler(rollout.rewards) if scaled else rollout.rewards,
            agent,
            acting,
            self.config.trainer,
            self.estimate_advantages,
            self.reducer,
        )
        self._check_on_policy(batch)
        watch.lap("advantages")
        side_by_side = SERIAL.side_by_side if self.in_turn else self.reducer.side_by_side
        (report, policy_metrics, outputs), value_metrics = side_by_side(
            partial(self._update_policy, batch, watch), partial(self._fit_value, batch, values)
        )
        watch.lap("value")
        statistics_metrics = self._update_statistics(batch, outputs)

        self.update += 1
        self.non_finite = self.non_finite + 1 if report.status is Status.NON_FINITE else 0
        due = self._evaluation_due(batch.total)
        self.steps += batch.total
        metrics = policy_metrics | value_metrics | statistics_metrics | self.episodes.add(episodes)
        watch.lap("statistics")
        metrics |= watch.metrics(self.environments.collector.environment_seconds, batch.total)
        if self.at_resume_point or self.update % CHECK_EVERY == 0:
            self._check_alike()
        if due:
            metrics |= self._evaluate()
        metrics["environment/restarts"] = float(self.environments.restarts)
        return UpdateRecord(self.update, self.steps, report.status, metrics)

    def _check_alike(self) -> None:
        """Raise unless all processes have the same parameters, bit for bit."""
        if self.reducer.size == 1:
            return
        own = checksum(self.agent.tensors().values())
        digests = self.reducer.gather(torch.tensor(own))  # (R,)
        if others := (digests != digests[0]).nonzero().flatten().tolist():
            who = f"those of rank {', '.join(map(str, others))} are not those of rank 0"
            raise TrainingError(f"parameters have come apart: {who}, after update {self.update}")

    def _evaluation_due(self, steps: int) -> bool:
        """Return whether an update of this many steps passes a multiple of `eval_every`."""
        every = self.config.trainer.eval_every
        return every > 0 and (self.steps + steps) // every > self.steps // every

    def _evaluate(self) -> dict[str, float]:
        watch = Stopwatch()
        with self._as_training_errors(f"in the evaluation after update {self.update}"):
            own = self.environments.evaluate(self.agent, self.update)
            ended = torch.ones(1, len(own), dtype=torch.bool)
            episodes = of_all_processes(own, ended, self.reducer)
        metrics = means("evaluation", episodes)
        self.evaluation_return = metrics["evaluation/return"]
        watch.lap("evaluation")
        return metrics | {"time/evaluation": watch.total}

    def _update_reward_scale(self) -> None:
        """Merge the rollout's discounted returns into the statistics that rewards are scaled by."""
        rollout, collector = self.rollout, self.environments.collector
        collector.discounted_returns = self.agent.reward_scaler.update(
            rollout.rewards,
            rollout.done,
            rollout.valid,
            collector.discounted_returns,
            self.reducer,
        )

    def _check_on_policy(self, batch: Batch) -> None:
        """Raise unless the ratio is 1 before the step, as it must be for the policy that acted."""
        first = batch.rows(slice(0, 64))
        acted = self.rollout.outputs[first.times.cpu(), first.environments.cpu()]  # (64, E)
        with torch.no_grad():
            outputs = self.agent.policy.network(first.observations).cpu()
        if not torch.allclose(outputs, acted, rtol=1e-3, atol=1e-3):
            wrong = "the policy that acted is not the one to be updated"
            raise TrainingError(f"{wrong}, in update {self.update + 1}")

    def _update_policy(
        self, batch: Batch, watch: Stopwatch
    ) -> tuple[StepReport, dict[str, float], Tensor]:
        generator = self.randomness.generator(Component.POLICY, self.update + 1)
        self.update_policy.progress = self.steps / self.config.trainer.total_steps
        report = self.update_policy(batch, generator)
        outputs = self._outputs(batch)
        metrics = self.update_policy.metrics(report)
        metrics |= self.agent.policy.metrics(outputs, self.update_policy.reducer)
        metrics["policy/advantage_deviation"] = batch.deviation
        watch.lap("policy")
        return report, metrics, outputs

    def _outputs(self, batch: Batch) -> Tensor:
        size = self.config.trainer.microbatch_size
        return self.agent.policy.outputs(batch.observations, size)  # (B, E)

    def _update_statistics(self, batch: Batch, outputs: Tensor) -> dict[str, float]:
        # merge the batch into them; this moves the policy, too, without a limit: report how far
        if not self.agent.preprocessor.has_statistics:
            return {}
        self.agent.preprocessor.update(plain(batch.observations), self.reducer)
        kl = self.agent.policy.kl(outputs, self._outputs(batch))  # (B,)
        (mean,) = self.reducer.pool_means([kl.mean()], len(kl))
        return {"update/statistics_kl": mean.item()}

    def _fit_value(self, batch: Batch, values: Tensor) -> dict[str, float]:
        generator = self.randomness.generator(Component.VALUE, self.update + 1)
        value_function, size = self.agent.value_function, self.config.trainer.microbatch_size
        inputs = value_function.network.inputs(batch.observations, size)
        if self.in_turn:  # the policy's step has moved V
            values = value_function.predict(inputs, size)
        report = self.fit_value(replace(batch, observations=inputs), generator)
        metrics = value_function.metrics(inputs, batch.returns, values, size, self.value_reducer)
        return report.metrics() | metrics


def on_cpu(policy: Policy) -> Policy:
    """Return a copy of a policy that can act on the CPU, or itself.

    Args:
        policy: on any device.

    Returns:
        The policy itself if it is on the CPU, else a copy.
    """
    if next(policy.parameters()).device.type == "cpu":
        return policy
    return copy.deepcopy(policy).cpu()
