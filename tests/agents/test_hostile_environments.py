"""Environments that exit, cannot speak or close, die young, spike, or draw from what is shared."""

import random

import numpy as np
import pytest
import torch
from gymnasium.vector import VectorEnv

import tests.environments
from tests.helpers import make_trainer, parameters, run, untimed
from trpo.agents.normalization import RunningMoments
from trpo.agents.rollouts.rollout import BrokenEnvironmentError, Collector, Episode, Rollout
from trpo.agents.trainer import TrainingError
from trpo.envs.errors import EnvError
from trpo.envs.factory import EnvironmentConfig, make_vector_env
from trpo.envs.grouped import GroupedVectorEnv


@pytest.mark.parametrize(
    ("env_id", "said"),
    [
        ("TestExits-v0", r"TestExits-v0 raised SystemExit: 0, in update 1"),
        ("TestRowReward-v0", r"TestRowReward-v0 raised ValueError: a reward has shape \(1,\): .*"),
        ("TestUnspeakable-v0", r"TestUnspeakable-v0 raised .*MuteError: .*, in update 1"),
    ],
)
def test_an_exception_of_any_kind_is_an_environment_error(env_id, said):
    trainer = make_trainer(env_id, "gymnasium")
    with pytest.raises(TrainingError, match=said) as caught:
        run(trainer, 1)
    assert len(str(caught.value).splitlines()) == 1


def test_an_environment_that_exits_when_it_is_made_cannot_be_made():
    with pytest.raises(EnvError, match="'TestExitsMade-v0' cannot be made: SystemExit: 0"):
        make_trainer("TestExitsMade-v0", "gymnasium")


def test_ctrl_c_in_an_environment_stays_ctrl_c(monkeypatch):
    def interrupted(self, action):
        raise KeyboardInterrupt

    trainer = make_trainer("TestWorthless-v0", "gymnasium")
    monkeypatch.setattr(tests.environments.RandomEnvironment, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(trainer, 1)


def test_an_environment_that_cannot_close_is_left_behind():
    trainer = make_trainer("TestNeverCloses-v0", "gymnasium")
    run(trainer, 5)  # over two resume points, at which environments are closed
    trainer.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("max_restarts", [0, 2])
def test_a_process_that_dies_as_it_is_made_may_live_another_time(max_restarts):
    with pytest.raises(TrainingError, match="the process of an environment died as it was made"):
        make_trainer("TestDiesYoung-v0", "gymnasium-async", trainer={"max_restarts": max_restarts})


@pytest.mark.parametrize("engine", ["gymnasium", "gymnasium-async"])
def test_what_a_process_shares_is_seeded_too(engine):
    def trained():
        random.seed()
        np.random.seed()  # noqa: NPY002
        trainer = make_trainer("TestSharedGenerators-v0", engine)
        records = [untimed(record) for record in run(trainer, 3)]
        trainer.close()
        return records, parameters(trainer)

    (one, theta), (other, theta_again) = trained(), trained()
    assert one == other
    assert torch.equal(theta, theta_again)


def test_environments_in_processes_of_their_own_differ():
    config = EnvironmentConfig("gymnasium-async", num_envs=2)
    env = make_vector_env("TestSharedGenerators-v0", config, seed=3)
    observations, _ = env.reset(seed=3)
    env.close()
    assert (observations[0] != observations[1]).all()


@pytest.mark.parametrize("fit", ["gauss-newton", "adam"])
@pytest.mark.parametrize("env_id", ["TestSpike-v0", "TestLowerSpike-v0"])
def test_a_spike_poisons_nothing(fit, env_id):
    """A reward that float32 can hold, and whose sums and squares it cannot."""
    trainer = make_trainer(env_id, "gymnasium", value={"fit": fit})
    run(trainer, 6)
    tensors, _ = trainer.snapshot()
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_statistics_that_would_not_be_finite_change_nothing():
    moments = RunningMoments(1)
    moments.update(torch.tensor([[1.0], [2.0]]))
    before = {name: tensor.clone() for name, tensor in moments.state_dict().items()}
    moments.update(torch.tensor([[torch.inf], [0.0]]))
    assert all(torch.equal(before[name], value) for name, value in moments.state_dict().items())


class TooMany(VectorEnv):
    """Answers a reset with one observation more than there are environments."""

    def __init__(self, env) -> None:
        self.env, self.num_envs = env, env.num_envs
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space

    def reset(self, *, seed=None, options=None):
        observations, info = self.env.reset(seed=seed)
        return np.concatenate([observations, observations[:1]]), info


def test_a_reset_of_too_many_environments_is_named():
    env = make_vector_env("CartPole-v1", EnvironmentConfig(num_envs=3), seed=0)
    with pytest.raises(
        BrokenEnvironmentError, match="raised ValueError: 4 observations: expected 3"
    ):
        Collector(TooMany(env), seed=0)


class Rewarding(GroupedVectorEnv):
    """Gives what a test says as rewards, at resets, too."""

    def __init__(self, rewards: np.ndarray) -> None:
        super().__init__(make_vector_env("CartPole-v1", EnvironmentConfig(num_envs=3), seed=0))
        self.rewards = rewards

    def receive(self, number):
        observations, _, *rest = super().receive(number)
        return observations, self.rewards, *rest


def collected(rewards: np.ndarray) -> tuple[Rollout, list[Episode]]:
    env, policy = Rewarding(rewards), make_trainer("CartPole-v1").agent.policy
    rollout = Rollout(100, env, policy)
    return rollout, Collector(env, seed=0).collect(policy, rollout, torch.Generator())


def test_what_an_environment_gives_for_a_reset_is_no_reward():
    rollout, episodes = collected(np.full(3, 5.0))
    assert torch.equal(rollout.rewards, 5.0 * rollout.valid)
    assert all(episode.undiscounted_return == 5 * episode.length for episode in episodes)
    assert episodes


def test_rewards_of_fewer_environments_are_named():
    with pytest.raises(BrokenEnvironmentError, match=r"rewards of shape \(1,\): expected \(3,\)"):
        collected(np.ones(1))
