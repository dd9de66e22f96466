"""Action masks: from wherever they are said, into all that is made of a policy."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import tests.environments  # noqa: F401  registers the gates
from tests.helpers import make_trainer, run
from trpo.agents.networks.encoders import Features, FlatEncoder, Preprocessor
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.policies import PolicyConfig, make_policy
from trpo.agents.rollouts.evaluation import evaluate
from trpo.agents.rollouts.rollout import BrokenEnvironmentError, check_masks
from trpo.agents.trainer import TrainingError
from trpo.agents.updates.trpo import States, TrpoConfig
from trpo.envs.errors import EnvError
from trpo.envs.factory import EnvironmentConfig, make_vector_env
from trpo.fisher import fisher_vector_product
from trpo.reference import dense_fisher
from trpo.validation import ConfigError

ACTIONS = gym.spaces.Tuple((gym.spaces.Box(-1, 1, (1,)), gym.spaces.MultiDiscrete([3, 2])))


def masked_policy(actions: gym.Space, mask: gym.Space):
    space = gym.spaces.Dict({"action_mask": mask, "state": gym.spaces.Box(-1, 1, (3,))})
    generator = torch.Generator().manual_seed(0)
    preprocessor = Preprocessor(space, NormalizationConfig(observations=False))
    features = Features(preprocessor, FlatEncoder(space, generator))
    return make_policy(features, actions, PolicyConfig(hidden=(6,)), generator, mask).double()


def test_f_and_samples_are_of_what_is_allowed():
    """F·v by hand against F in full from autograd; of forbidden choices neither has anything."""
    policy, generator = (
        masked_policy(ACTIONS, gym.spaces.MultiBinary(5)),
        torch.Generator().manual_seed(1),
    )
    mask = torch.tensor([[1, 0, 1, 1, 1], [0, 1, 0, 1, 0], [1, 1, 1, 0, 1]]).repeat(20, 1)
    states = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    observations = {"action_mask": mask, "state": states}
    model, microbatches = policy.model(), [States(observations)]
    F = dense_fisher(model, microbatches)
    v = torch.randn(len(F), generator=generator, dtype=torch.float64)
    assert torch.allclose(fisher_vector_product(model, microbatches)(v), F @ v, rtol=1e-10)

    output = policy.network(observations)
    distribution = policy.distribution(output)
    noise = policy.family.draw_noise(1, 60, generator)[0].double()
    first, second = policy.family.act(output, noise)[:, 1:].long().T
    rows = torch.arange(60)
    assert mask[rows, first].all()
    assert mask[rows, 3 + second].all()
    probabilities = distribution.parts[1].base_dist.probs  # (60, 2, 3)
    assert torch.equal(probabilities[:, 0] > 0, mask[:, :3] > 0)
    assert torch.isfinite(distribution.entropy()).all()
    assert (distribution.parts[1].entropy()[1::3] == 0).all()  # one choice each


@pytest.mark.parametrize(("actions", "expected"), [(ACTIONS, "5"), (ACTIONS[0], "no choices")])
def test_a_mask_that_does_not_fit_is_refused(actions, expected):
    with pytest.raises(ConfigError, match=f"action_mask has 4 numbers: .*{expected}"):
        masked_policy(actions, gym.spaces.MultiBinary(4))


def test_a_mask_of_several_values_is_counted_by_its_entries():
    mask = gym.spaces.MultiDiscrete([2] * 5)
    with pytest.raises(ConfigError, match="action_mask has 5 numbers: expected 6"):
        masked_policy(gym.spaces.Discrete(6), mask)
    with pytest.raises(ConfigError, match="action_mask has no shape: expected 5"):
        masked_policy(ACTIONS, gym.spaces.Tuple([gym.spaces.MultiBinary(5)]))


def gates(said: str, action_mask: str = "auto", updates: int = 10):
    trainer = make_trainer(
        f"TestGates{said}-v0",
        "gymnasium",
        trainer={"batch_size": 512, "gamma": 0.0},
        environment={"action_mask": action_mask},
        trpo=TrpoConfig(max_kl=0.05, memory=0),
    )
    records = run(trainer, updates)
    trainer.close()
    assert all(record.metrics["update/mean_kl"] <= trainer.config.trpo.max_kl for record in records)
    return trainer


def test_with_masks_trpo_learns_what_it_cannot_without():
    assert gates("Method").mean_return > 16  # of 20; of two open gates, at random, 10
    assert gates("Method", "none").mean_return < 2


def test_masks_are_the_same_wherever_they_are_said():
    sources = {"Info": "info", "Method": "method", "Observation": "auto"}
    one, *others = (gates(*said, 2).agent for said in sources.items())
    assert set(one.observation_space.spaces) == {"observation", "action_mask"}
    for other in others:
        same = zip(one.tensors().values(), other.tensors().values(), strict=True)
        assert all(torch.equal(*two) for two in same)


@pytest.mark.parametrize(
    ("env_id", "engine", "rest"),
    [
        ("TestGatesObservation-v0", "gymnasium", {"bit"}),
        ("Knapsack-v1", "envpool", {"weights", "values", "packed_items"}),
    ],
)
def test_without_its_mask_an_observation_has_the_rest(env_id, engine, rest):
    env = make_vector_env(env_id, EnvironmentConfig(engine, 2, action_mask="none"), 0)
    observation, _ = env.reset(seed=0)
    later, *_ = env.step(np.zeros(2, np.int64))
    for parts in (env.single_observation_space.spaces, observation, later):
        assert set(parts) == rest
    env.close()


def test_a_mask_that_allows_nothing_is_told_with_environment_and_step():
    trainer = make_trainer("TestShut-v0", "gymnasium")
    message = r"TestShut-v0 gave an action mask that allows nothing in environment \d at step [1-9]"
    with pytest.raises(TrainingError, match=message):
        run(trainer, 1)
    message = message.removeprefix("TestShut-v0 ")
    with pytest.raises(BrokenEnvironmentError, match=message):
        evaluate(trainer.environments.env, trainer.agent, 0, None)


def test_each_part_of_an_action_needs_a_choice_but_at_a_reset():
    masks = np.array([[0, 1, 0, 0, 1], [0, 0, 0, 1, 1], [1, 1, 1, 0, 0]])  # of 3 choices, and 2
    check_masks(masks, [3, 2], np.array([True, False, False]), first=4, t=7)
    for wrong in (1, 2):
        with pytest.raises(BrokenEnvironmentError, match=f"in environment {4 + wrong} at step 7"):
            check_masks(masks, [3, 2], np.arange(3) == wrong, first=4, t=7)


@pytest.mark.parametrize(
    ("env_id", "engine", "source", "message"),
    [
        ("CartPole-v1", "gymnasium", "method", r"no method action_masks\(\)"),
        ("Pendulum-v1", "gymnasium", "info", "no choices to mask"),
        ("CartPole-v1", "envpool", "info", "in observations alone: expected auto or none"),
    ],
)
def test_masks_that_there_are_not_are_refused(env_id, engine, source, message):
    with pytest.raises(EnvError, match=message):
        make_vector_env(env_id, EnvironmentConfig(engine, 2, action_mask=source), 0)


def test_gymnasiums_own_masks_are_read():
    env = make_vector_env("Taxi-v4", EnvironmentConfig("gymnasium", 1, action_mask="info"), 0)
    observation, _ = env.reset(seed=0)
    assert observation["action_mask"].shape == (1, 6)
    assert np.isin(observation["action_mask"], (0, 1)).all()
    env.close()
