"""The training loop: collect → advantages → policy update → value fit → report."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from gymnasium import Space
from torch import Tensor

from trpo.agents.advantages import generalized_advantages
from trpo.agents.agent import Agent
from trpo.agents.algorithms import make_update_rule
from trpo.agents.batch import Batch
from trpo.agents.config import LearnerConfig
from trpo.agents.policies import GaussianPolicy
from trpo.agents.randomness import Component, Randomness
from trpo.agents.rollout import Collector, Episode, Rollout, World, WorldError
from trpo.agents.stopwatch import Stopwatch
from trpo.agents.value_fit import make_fit
from trpo.reducer import ThreadReducer
from trpo.report import Status, StepReport
from trpo.validation import ConfigError


class TrainingError(RuntimeError):
    """Training cannot go on; the message is one line, fit to print to a user."""


@dataclass(frozen=True)
class UpdateRecord:
    """One update, as it is logged.

    Args:
        update: its number, from 1.
        steps: environment steps since the run began.
        status: how the policy's step ended.
        metrics: names of `trpo.agents.metrics.METRICS` to values; those without a value yet are
            absent.
    """

    update: int
    steps: int
    status: Status
    metrics: dict[str, float]


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, by the rest of their names.

    Args:
        tensors: by name.
        prefix: of the names to keep.

    Returns:
        The same tensors.
    """
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


class Trainer:
    """Trains an agent on vector environments.

    Args:
        make_env: seed ↦ N environments with flat Box observations and actions (N, A).
        config: the learner.
        threads: of the CPU, for the updates.

    Raises:
        ConfigError: if the batch size is no multiple of the number of environments, or the action
            space is unsupported.
    """

    def __init__(
        self, make_env: Callable[[int], World], config: LearnerConfig, threads: int = 1
    ) -> None:
        self.make_env = make_env
        self.reducer = ThreadReducer(threads)
        self.config = config
        self.randomness = Randomness(config.trainer.seed)
        self.update = 0
        self.steps = 0
        self.episodes = 0
        self.non_finite = 0  # updates in a row, the last ones
        self.restarts = 0
        self.recent = deque[Episode](maxlen=100)
        self.spaces: tuple[Space, Space] | None = (
            None  # of the first environments, and of all that follow
        )

        self._start_environments(self.randomness.integer(Component.ENVIRONMENT))
        env = self.collector.env
        if config.trainer.batch_size % env.num_envs:
            raise ConfigError(
                f"batch_size = {config.trainer.batch_size} is not a multiple of num_envs = {env.num_envs}"
            )
        self.agent = Agent(
            env.single_observation_space, env.single_action_space, config, self.randomness
        )
        policy_reducer, value_reducer = self.reducer.halves()
        self.update_policy = make_update_rule(self.agent.policy, config, policy_reducer)
        self.fit_value = make_fit(
            self.agent.value_function, config.value, config.trainer.microbatch_size, value_reducer
        )
        self.rollout = Rollout(config.trainer.batch_size // env.num_envs, env, self.agent.policy)

    def updates(self) -> Iterator[UpdateRecord]:
        """Train until `total_steps`; between records everything is at rest and may be read or saved.

        Yields:
            One record an update.

        Raises:
            TrainingError: if an environment fails, or is lost once too often, or too many updates
                in a row are not finite.
        """
        while not self.finished:
            if self.at_boundary and self.update:
                self.close()
                self._start_environments(
                    self.randomness.integer(Component.ENVIRONMENT, self.update)
                )
            yield self._next_update()
            if self.non_finite >= self.config.trainer.max_non_finite:
                raise TrainingError(
                    f"{self.env_id}: {Status.NON_FINITE.value}, in {self.non_finite} updates in a row up to {self.update}"
                )
        self.close()
        self.reducer.close()

    def close(self) -> None:
        """Close the environments."""
        self.collector.env.close()

    @property
    def mean_return(self) -> float | None:
        """Mean raw return of the last 100 episodes; `None` before the first has ended."""
        return (
            sum(episode.undiscounted_return for episode in self.recent) / len(self.recent)
            if self.recent
            else None
        )

    @property
    def finished(self) -> bool:
        """Whether the run has taken its `total_steps`."""
        return self.steps >= self.config.trainer.total_steps

    @property
    def at_boundary(self) -> bool:
        """Whether the environments start afresh before the next update: where a checkpoint can be continued exactly."""
        return self.update % self.config.trainer.checkpoint_interval == 0

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that training carries from one update to the next, but for the environments: tensors, and the rest."""
        tensors = {f"agent.{name}": tensor for name, tensor in self.agent.state_dict().items()}
        tensors |= {
            f"update_rule.{name}": tensor
            for name, tensor in self.update_policy.state_tensors().items()
        }
        tensors |= {
            f"value_fit.{name}": tensor for name, tensor in self.fit_value.state_tensors().items()
        }
        recent = [[episode.undiscounted_return, episode.length] for episode in self.recent]
        counters = {
            "update": self.update,
            "steps": self.steps,
            "episodes": self.episodes,
            "non_finite": self.non_finite,
        }
        return tensors, counters | {
            "restarts": self.restarts,
            "recent": recent,
            "at_boundary": self.at_boundary,
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from a snapshot; exactly, if it was taken where `at_boundary` holds.

        Args:
            tensors: of the snapshot.
            state: of the snapshot.

        Raises:
            ConfigError: if the snapshot is of another configuration.
        """
        try:
            self.agent.load_state_dict(with_prefix(tensors, "agent."))
        except RuntimeError as error:
            raise ConfigError(
                "the checkpoint's networks are not those of the configuration"
            ) from error
        self.update_policy.load_state_tensors(with_prefix(tensors, "update_rule."))
        self.fit_value.load_state_tensors(with_prefix(tensors, "value_fit."))
        self.update, self.steps, self.episodes = state["update"], state["steps"], state["episodes"]
        self.non_finite, self.restarts = state["non_finite"], state["restarts"]
        self.recent.clear()
        self.recent.extend(
            Episode(undiscounted_return, length) for undiscounted_return, length in state["recent"]
        )

    def _start_environments(self, seed: int) -> None:
        """Make environments, and the collector that steps them."""
        env = self.make_env(seed)
        self.env_id = env.spec.id if env.spec else "the environment"
        spaces = env.single_observation_space, env.single_action_space
        if spaces != (self.spaces or spaces):
            changed = f"came with other spaces than before: {spaces}, not {self.spaces}"
            raise TrainingError(f"{self.env_id} {changed}, in update {self.update + 1}")
        self.spaces = spaces
        try:
            self.collector = Collector(env, seed)
        except WorldError as error:
            self._recover(error)

    def _recover(self, error: WorldError) -> None:
        """Start environments afresh, from another seed, if a process of theirs was lost and that is allowed; else stop."""
        allowed = self.restarts < self.config.trainer.max_restarts
        if not (allowed and isinstance(error.__cause__, ChildProcessError)):
            raise TrainingError(f"{self.env_id} {error}, in update {self.update + 1}") from error
        self.restarts += 1
        self._start_environments(self.randomness.integer(Component.RESTART, self.restarts))

    def _next_update(self) -> UpdateRecord:
        """Return the next update's record; it begins again if environments are lost: before that, nothing has changed."""
        while True:
            try:
                return self._one_update()
            except WorldError as error:
                self._recover(error)

    def _one_update(self) -> UpdateRecord:
        agent, rollout, watch = self.agent, self.rollout, Stopwatch()

        noise = self.randomness.generator(Component.ACTIONS, self.update)
        episodes = self.collector.collect(
            agent.policy, agent.observation_normalizer, rollout, noise
        )
        watch.lap("rollout")
        values, batch = self._make_batch()  # (B,), B samples
        watch.lap("advantages")
        (report, policy_metrics), value_metrics = self.reducer.side_by_side(
            partial(self._update_policy, batch, watch), partial(self._fit_value, batch, values)
        )
        watch.lap("value")
        if self.config.normalize.observations:
            agent.observation_normalizer.update(rollout.raw_observations[:-1][rollout.valid])

        self.update += 1
        self.non_finite = self.non_finite + 1 if report.status is Status.NON_FINITE else 0
        self.steps += len(batch)
        self.episodes += len(episodes)
        self.recent.extend(episodes)
        metrics = policy_metrics | value_metrics | self._episode_metrics(episodes)
        watch.lap("statistics")
        return UpdateRecord(
            self.update, self.steps, report.status, metrics | self._time_metrics(watch, len(batch))
        )

    def _update_policy(self, batch: Batch, watch: Stopwatch) -> tuple[StepReport, dict[str, float]]:
        report = self.update_policy(
            batch, self.randomness.generator(Component.POLICY, self.update + 1)
        )
        metrics = self._step_metrics(report) | self._policy_metrics(batch)
        watch.lap("policy")
        return report, metrics

    def _fit_value(self, batch: Batch, values: Tensor) -> dict[str, float]:
        report = self.fit_value(batch, self.randomness.generator(Component.VALUE, self.update + 1))
        return report.metrics() | self._value_metrics(batch, values)

    @torch.no_grad()
    def _make_batch(self) -> tuple[Tensor, Batch]:
        """Return V at the batch's states, (B,), and the batch: the rollout's valid steps with advantages and returns."""
        agent, rollout, config = self.agent, self.rollout, self.config.trainer
        self._check_rollout()
        rewards, valid = rollout.rewards, rollout.valid
        if self.config.normalize.rewards:
            self.collector.discounted_returns = agent.reward_scaler.update(
                rewards, rollout.done, valid, self.collector.discounted_returns
            )
            rewards = agent.reward_scaler(rewards)
        values = agent.value_function(rollout.observations)  # (T + 1, N)
        advantages = generalized_advantages(  # (T, N)
            rewards, values, rollout.terminated, rollout.truncated, config.gamma, config.gae_lambda
        )
        returns = advantages + values[:-1]
        advantages = advantages[valid]  # (B,)
        pi_old = agent.policy.distribution(rollout.outputs[valid])
        batch = Batch(
            observations=rollout.observations[:-1][valid],
            actions=rollout.actions[valid],
            log_probs=pi_old.log_prob(rollout.actions[valid]),
            advantages=(advantages - advantages.mean()) / (advantages.std() + 1e-8),
            returns=returns[valid],
        )
        self._check_on_policy(batch.rows(slice(0, 64)))
        return values[:-1][valid], batch

    def _check_rollout(self) -> None:
        for name, numbers in (
            ("an observation", self.rollout.raw_observations),
            ("a reward", self.rollout.rewards),
        ):
            if not numbers.isfinite().all():
                raise WorldError(f"returned {name} that is not finite")
        steps = int(self.rollout.valid.sum())
        if steps < 2:  # advantages have no deviation
            raise WorldError(
                f"gave a batch of {steps} steps, all others were resets: batch_size is too small"
            )

    def _check_on_policy(self, batch: Batch) -> None:
        """Before the step the ratio is 1: else another policy acted than the one that is about to be updated."""
        model = self.agent.policy.model()
        log_probs = model.family(*model.outputs(batch)).log_prob(batch.actions)
        if not torch.allclose(log_probs, batch.log_probs, rtol=1e-3, atol=1e-3):
            raise TrainingError(
                f"the policy that acted is not the one to be updated, in update {self.update + 1}"
            )

    def _step_metrics(self, report: StepReport) -> dict[str, float]:
        metrics = {
            f"trust_region/{name}": value
            for name, value in asdict(report).items()
            if value is not None
        }
        del metrics["trust_region/status"]
        metrics["trust_region/accepted"] = float(report.status is Status.ACCEPTED)
        if self.config.max_kl is not None:
            metrics["trust_region/max_kl"] = self.config.max_kl
        return metrics

    @torch.no_grad()
    def _policy_metrics(self, batch: Batch) -> dict[str, float]:
        policy = self.agent.policy
        metrics = {
            "policy/entropy": policy
            .distribution(policy.network(batch.observations))
            .entropy()
            .mean()
            .item()
        }
        if isinstance(policy, GaussianPolicy):
            metrics["policy/std"] = policy.log_std.exp().mean().item()
        return metrics

    @torch.no_grad()
    def _value_metrics(self, batch: Batch, values: Tensor) -> dict[str, float]:
        returns, fitted = batch.returns, self.agent.value_function(batch.observations)
        metrics, variance = {"value/mean_return": returns.mean().item()}, returns.var()
        metrics["value/mean_squared_change"] = (fitted - values).square().mean().item()
        if variance > 0:
            metrics["value/explained_variance"] = (1 - (returns - values).var() / variance).item()
            metrics["value/explained_variance_after"] = (
                1 - (returns - fitted).var() / variance
            ).item()
        return metrics

    def _episode_metrics(self, episodes: list[Episode]) -> dict[str, float]:
        metrics = {
            "episode/count": float(self.episodes),
            "environment/restarts": float(self.restarts),
        }
        if episodes:
            metrics["episode/return"] = sum(
                episode.undiscounted_return for episode in episodes
            ) / len(episodes)
            metrics["episode/length"] = sum(episode.length for episode in episodes) / len(episodes)
        if self.mean_return is not None:
            metrics["episode/return_100"] = self.mean_return
        return metrics

    def _time_metrics(self, watch: Stopwatch, steps: int) -> dict[str, float]:
        environment = self.collector.environment_seconds
        seconds = {
            **watch.seconds,
            "environment": environment,
            "inference": watch.seconds["rollout"] - environment,
        }
        del seconds["rollout"]
        shares = {f"time/{name}": spent / watch.total for name, spent in seconds.items()}
        return shares | {"time/seconds": watch.total, "time/steps_per_second": steps / watch.total}
