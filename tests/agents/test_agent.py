"""An agent acts on one observation or many, in the action space, as the policy in training."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import tests.environments
from tests.helpers import make_trainer
from trpo.agents.agent import TENSORS, Agent, AgentConfig
from trpo.agents.networks.encoders import Encoder, FlatEncoder
from trpo.agents.networks.images import ImageConfig
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.policies import PolicyConfig
from trpo.agents.randomness import Randomness
from trpo.agents.runs import CheckpointError, Run, RunConfig
from trpo.agents.storage.checkpoint import save_checkpoint
from trpo.agents.storage.tensor_names import with_prefix
from trpo.agents.value_function import ValueConfig
from trpo.validation import ConfigError

NETWORKS = (
    PolicyConfig(hidden=(8,)),
    ValueConfig(hidden=(8,)),
    NormalizationConfig(),
    ImageConfig(),
    0.99,
)


def make_agent(observations: gym.Space, actions: gym.Space, seed: int = 0) -> Agent:
    return Agent(AgentConfig(observations, actions, *NETWORKS), Randomness(seed))


@pytest.mark.parametrize("name", tests.environments.SPACES)
@pytest.mark.parametrize("deterministic", [True, False])
def test_actions_are_in_the_space_for_one_observation_and_for_many(name, deterministic):
    observations, actions = tests.environments.SPACES[name]
    agent = make_agent(observations, actions)
    observations.seed(0)
    samples = [observations.sample() for _ in range(5)]
    single = [agent.act(sample, deterministic=deterministic)[0] for sample in samples]
    assert all(actions.contains(action) for action in single)
    batch = gym.vector.utils.concatenate(
        observations, samples, gym.vector.utils.create_empty_array(observations, 5)
    )
    many, state = agent.act(batch, deterministic=deterministic)
    assert state is None
    assert many.shape == (5, *actions.shape)
    if deterministic:
        np.testing.assert_allclose(many, np.stack(single), rtol=1e-5, atol=1e-7)


def test_samples_follow_from_the_generator():
    agent = make_agent(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-2, 2, (2,)))
    drawn = [
        agent.act(np.zeros((4, 3)), deterministic=False, generator=torch.Generator().manual_seed(s))
        for s in (0, 0, 1)
    ]
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
    assert (drawn[0][0] != drawn[2][0]).any()


@pytest.mark.parametrize("shape", [(2,), (4,), (5, 2), (1, 5, 3)])
def test_an_observation_of_another_shape_is_refused(shape):
    agent = make_agent(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2))
    with pytest.raises(ConfigError, match=r"^observation of shape \(.*\): expected \(3,\), or N"):
        agent.act(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])  # which float32 has not
def test_an_observation_that_is_not_finite_is_refused_by_its_leafs_name(value):
    box = gym.spaces.Box(-1, 1, (2,))
    agent = make_agent(gym.spaces.Dict({"a": gym.spaces.Discrete(3), "b": box}), box)
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"^observation\.b is not fin"):
        agent.act({"a": 1, "b": [0.0, value]})
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"^observation is not finite"):
        make_agent(box, box).act(np.array([[0.0, 0.0], [value, 0.0]]))


def test_a_dicts_keys_may_come_in_any_order():
    space = gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (2,)), "b": gym.spaces.Discrete(3)})
    agent = make_agent(space, gym.spaces.Box(-1, 1, (1,)))
    sample = space.sample()
    one, _ = agent.act(sample)
    other, _ = agent.act(dict(reversed(sample.items())))
    np.testing.assert_array_equal(one, other)


def test_tensors_are_the_agents_whole_state_and_each_stands_once():
    spaces = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-1, 1, (2,))
    one, other = make_agent(*spaces), make_agent(*spaces, seed=1)
    one.preprocessor.update(torch.randn(50, 3) * 3 + 2)
    tensors = one.tensors()
    pointers = [tensor.data_ptr() for tensor in tensors.values()]
    assert len(pointers) == len(set(pointers))
    other.load_tensors({name: tensor.clone() for name, tensor in tensors.items()})
    observation = np.ones(3, np.float32)
    np.testing.assert_array_equal(one.act(observation)[0], other.act(observation)[0])
    assert torch.equal(one.value_function(torch.ones(1, 3)), other.value_function(torch.ones(1, 3)))


def test_tensors_of_another_configuration_are_refused():
    box = gym.spaces.Box(-1, 1, (3,))
    with pytest.raises(ConfigError, match="networks are not those of the configuration"):
        make_agent(box, box).load_tensors(make_agent(box, gym.spaces.Discrete(2)).tensors())


def test_tensors_that_do_not_fit_are_told_with_dtype_and_shape():
    box = gym.spaces.Box(-1, 1, (3,))
    agent, name = make_agent(box, box), "policy.network.head.0.bias"
    tensors = agent.tensors()
    with pytest.raises(ConfigError, match=rf"{name} is float64 \[8\]: expected float32 \[8\]"):
        agent.load_tensors(tensors | {name: tensors[name].double()})
    with pytest.raises(ConfigError, match=r"other is float32 .* expected no such tensor"):
        agent.load_tensors(tensors | {"other": tensors[name]})
    del tensors[name]
    with pytest.raises(ConfigError, match=rf"{name} is absent: expected float32 \[8\]"):
        agent.load_tensors(tensors)


def test_values_do_not_depend_on_how_many_are_looked_at_together():
    agent = make_agent(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2))
    observations = torch.randn(50, 3)
    with torch.no_grad():
        whole, cut = agent.values(observations, 100), agent.values(observations, 7)
    torch.testing.assert_close(whole, cut)


@pytest.mark.parametrize("name", [*tests.environments.SPACES, "camera"])
def test_a_saved_agent_acts_without_an_environment(name, tmp_path):
    camera = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    spaces = tests.environments.SPACES.get(name, (camera, gym.spaces.Discrete(3)))
    make_encoder = Brightness if name == "camera" else FlatEncoder
    agent = Agent(AgentConfig(*spaces, *NETWORKS), Randomness(0), make_encoder)
    agent.save(tmp_path / "agent.safetensors")
    loaded = Agent.load(tmp_path / "agent.safetensors", make_encoder)
    assert (loaded.observation_space, loaded.action_space) == spaces
    assert loaded.config == agent.config
    spaces[0].seed(0)
    for _ in range(3):
        observation = spaces[0].sample()
        np.testing.assert_array_equal(loaded.act(observation)[0], agent.act(observation)[0])


class Brightness(Encoder):
    """One learned number of an image."""

    def __init__(self, space, generator):
        super().__init__(1)
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, observation):
        return self.gain * observation.flatten(1).mean(1, keepdim=True)


def test_an_agent_of_another_encoder_is_refused(tmp_path):
    spaces = gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(3)
    make_agent(*spaces).save(tmp_path / "agent.safetensors")
    with pytest.raises(ConfigError, match="networks are not those"):
        Agent.load(tmp_path / "agent.safetensors", Brightness)


def test_a_runs_folder_is_loaded_by_its_newest_checkpoint(tmp_path):
    trainer = make_trainer("Pendulum-v1")
    agent = trainer.agent
    config = RunConfig("Pendulum-v1", trainer.config, agent.observation_space, agent.action_space)
    run = Run.create(tmp_path / "mine", config)
    with run.recording(trainer) as updates:
        for record in updates:
            if record.update == 3:
                break
    loaded = Agent.load(tmp_path / "mine")
    assert all(map(torch.equal, loaded.tensors().values(), agent.tensors().values()))


def test_an_agent_from_before_images_and_beta_is_loaded(tmp_path):
    policy = PolicyConfig(distribution="gaussian", initial_log_std=-0.5)
    spaces = gym.spaces.Box(-1, 1, (4,)), gym.spaces.Box(-1, 1, (2,))
    agent = Agent(AgentConfig(*spaces, policy, *NETWORKS[1:]), Randomness(0))
    description = agent.description()
    del description["agent"]["images"]
    del description["agent"]["policy"]["distribution"]
    del description["agent"]["policy"]["initial_concentration"]
    save_checkpoint(
        tmp_path / "old.safetensors", with_prefix(TENSORS, agent.tensors()), description
    )
    assert Agent.load(tmp_path / "old.safetensors").config == agent.config


def test_what_is_no_agent_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        Agent.load(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        Agent.load(tmp_path)
    save_checkpoint(tmp_path / "other.safetensors", {"x": torch.ones(2)}, {})
    with pytest.raises(CheckpointError, match="a checkpoint's agent cannot be read"):
        Agent.load(tmp_path / "other.safetensors")
