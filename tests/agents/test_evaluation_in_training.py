"""Evaluation as a run trains: it changes nothing, chooses the best checkpoint, and may end it."""

import math
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import gymnasium as gym
import pytest
import torch

import tests.environments  # noqa: F401 registers environments
from tests.helpers import make_trainer, parameters, run, untimed
from tests.processes import differences
from trpo.agents.agent import Agent
from trpo.agents.config import LearnerConfig, TrainerConfig
from trpo.agents.randomness import Component, Randomness
from trpo.agents.rollouts.evaluation import evaluate
from trpo.agents.runs import Run, RunConfig
from trpo.agents.trainer import Trainer, TrainingError
from trpo.envs.factory import EnvironmentConfig, make_vector_env
from trpo.validation import ConfigError

EVALUATED = {"eval_every": 500}  # after updates 2, 4, 6, … of 256 steps


def training_metrics(record):
    update, steps, status, metrics = untimed(record)
    return update, steps, status, {k: v for k, v in metrics.items() if "evaluation/" not in k}


@pytest.mark.parametrize(
    ("env_id", "engine"),
    [("CartPole-v1", "auto"), ("Pendulum-v1", "gymnasium"), ("TestSharedGenerators-v0", "auto")],
)
def test_training_is_the_same_with_evaluation_bit_for_bit(env_id, engine):
    plain = make_trainer(env_id, engine)
    expected = run(plain, 5)
    evaluated = make_trainer(env_id, engine, trainer=EVALUATED)
    records = run(evaluated, 5)
    assert torch.equal(parameters(plain), parameters(evaluated))
    assert list(map(training_metrics, records)) == list(map(training_metrics, expected))
    periods = [0, *(record.steps // 500 for record in records)]
    due = [after > before for before, after in pairwise(periods)]
    assert ["evaluation/return" in record.metrics for record in records] == due


def test_it_is_the_mean_of_the_deterministic_policys_episodes():
    trainer = make_trainer("Pendulum-v1", "gymnasium", trainer={"eval_every": 200})
    (record,) = run(trainer, 1)
    seed = trainer.randomness.integer(Component.EVALUATION, 1)
    env = make_vector_env("Pendulum-v1", EnvironmentConfig("gymnasium", 8), seed)
    episodes = evaluate(env, trainer.agent, seed, generator=None)
    expected = sum(episode.undiscounted_return for episode in episodes) / 8
    assert record.metrics["evaluation/return"] == expected == trainer.evaluation_return
    assert record.metrics["evaluation/length"] == 200


def test_the_one_environment_that_is_trained_on_is_not_evaluated_in():
    def make(seed):
        return make_vector_env(env, EnvironmentConfig(num_envs=1), seed)

    loop = TrainerConfig(total_steps=64, batch_size=32, **EVALUATED)
    with gym.make("CartPole-v1") as env:
        with pytest.raises(ConfigError, match="eval_every = 500 needs environments of its own"):
            Trainer(make, LearnerConfig(trainer=loop))
        run(Trainer(make, LearnerConfig(trainer=replace(loop, eval_every=0))), 1)


def recorded(folder, trainer: Trainer, until: int = 10**9) -> Run:
    agent = trainer.agent
    spaces = agent.observation_space, agent.action_space
    run = Run.create(folder, RunConfig("CartPole-v1", trainer.config, *spaces))
    train(run, trainer, until)
    return run


def train(run: Run, trainer: Trainer, until: int = 10**9) -> None:
    with closing(trainer), run.recording(trainer) as updates:
        for record in updates:
            if record.update == until:
                break


def test_the_best_checkpoint_is_the_best_by_evaluation(tmp_path):
    run = recorded(tmp_path / "run", make_trainer(trainer=EVALUATED), until=9)
    evaluations = {
        record.update: record.metrics["evaluation/return"]
        for record in run.records()
        if "evaluation/return" in record.metrics
    }
    best = run.checkpoints.best()
    assert len(evaluations) >= 4
    assert best.state["mean_return"] == max(evaluations.values())
    assert evaluations[best.state["update"]] == max(evaluations.values())
    seed = Randomness(0).integer(Component.EVALUATION, best.state["update"])
    env = make_vector_env("CartPole-v1", EnvironmentConfig(num_envs=8), seed, threads=1)
    again = evaluate(env, Agent.of_checkpoint(best), seed, generator=None)
    assert sum(e.undiscounted_return for e in again) / 8 == best.state["mean_return"]


def test_a_run_that_is_evaluated_goes_on_as_if_never_stopped(tmp_path):
    loop = EVALUATED | {"checkpoint_interval": 3}
    whole = recorded(tmp_path / "whole", make_trainer(trainer=loop), until=8)
    stopped = recorded(tmp_path / "stopped", make_trainer(trainer=loop), until=5)
    trainer = make_trainer(trainer=loop)
    checkpoint = stopped.checkpoints.newest(pytest.fail, resumable=True)
    trainer.restore(checkpoint.tensors, checkpoint.state)
    train(stopped, trainer, until=8)
    assert not differences(whole.folder, stopped.folder)


def test_training_ends_at_the_return_that_it_is_to_reach(tmp_path):
    reached = recorded(tmp_path / "run", make_trainer(trainer=EVALUATED | {"stop_return": 9.0}))
    assert reached.records()[-1].metrics["evaluation/return"] >= 9
    state = reached.checkpoints.newest(pytest.fail).state
    loop = reached.config.learner.trainer
    assert loop.finished(state["steps"], state["evaluation_return"])
    assert not replace(loop, stop_return=501.0).finished(state["steps"], state["evaluation_return"])


def test_a_return_to_stop_at_needs_evaluations():
    with pytest.raises(ConfigError, match=r"stop_return = 9 needs evaluations: eval_every ≥ 1$"):
        TrainerConfig(stop_return=9)
    with pytest.raises(ConfigError, match=r"stop_return = nan"):
        TrainerConfig(stop_return=math.nan, eval_every=1)


def test_an_environment_that_fails_in_evaluation_is_told():
    trainer = make_trainer("TestNeverCloses-v0", trainer={"eval_every": 1})
    run(trainer, 1)  # whose environments for evaluation raise when they are closed
    one = EnvironmentConfig(num_envs=1)
    trainer.environments.make = lambda seed: make_vector_env("TestBrokenReset-v0", one, seed)
    with pytest.raises(
        TrainingError, match=r"RuntimeError: no licence, in the evaluation after up"
    ):
        run(trainer, 1)
