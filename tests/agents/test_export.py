"""An exported policy acts as the agent does, in onnxruntime and as TorchScript."""

import io

import gymnasium as gym
import numpy as np
import pytest
import torch

from trpo.agents.agent import Agent, AgentConfig
from trpo.agents.export import input_names, output_names, to_onnx, to_torchscript
from trpo.agents.networks.images import ImageConfig
from trpo.agents.networks.recurrence import RecurrenceConfig
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.observations import leaves, map_leaves
from trpo.agents.policies import PolicyConfig
from trpo.agents.randomness import Randomness
from trpo.agents.value_function import ValueConfig
from trpo.scripts import __main__

BOX = gym.spaces.Box(-np.inf, np.inf, (5,), np.float64)
SPACES = {
    "torques": (BOX, gym.spaces.Box(np.float32([-1, 0]), np.float32([3, 0.5]))),
    "unbounded, float64": (BOX, gym.spaces.Box(-np.inf, np.inf, (2, 2), np.float64)),
    "integers": (BOX, gym.spaces.Box(-3, 7, (2,), np.int32)),
    "bools": (BOX, gym.spaces.Box(0, 1, (2,), np.bool_)),
    "choice from 3": (gym.spaces.Discrete(6, start=2), gym.spaces.Discrete(4, start=3)),
    "choices": (gym.spaces.MultiDiscrete([3, 2]), gym.spaces.MultiDiscrete([3, 2, 4])),
    "switches": (gym.spaces.MultiBinary(4), gym.spaces.MultiBinary(3)),
    "nested": (
        gym.spaces.Dict(
            position=BOX,
            goal=gym.spaces.Tuple((gym.spaces.Discrete(3), gym.spaces.Box(-1, 1, (2, 2)))),
        ),
        gym.spaces.Dict(turn=gym.spaces.Box(-2, 2, (2,)), gear=gym.spaces.Discrete(3)),
    ),
    "masked": (
        gym.spaces.Dict(position=BOX, action_mask=gym.spaces.MultiBinary(4)),
        gym.spaces.Discrete(4, start=3),
    ),
    "image": (gym.spaces.Box(0, 255, (4, 40, 40), np.uint8), gym.spaces.Discrete(3)),
}
SIZES = (1, 2, 33)
WITHOUT = RecurrenceConfig()


def make_agent(
    name: str, recurrence: RecurrenceConfig = WITHOUT, distribution: str = "gaussian"
) -> tuple[Agent, gym.Space]:
    """An agent with large weights, so that actions are clipped, and statistics of its own."""
    observation_space, action_space = SPACES[name]
    config = AgentConfig(
        observation_space,
        action_space,
        PolicyConfig(hidden=(16, 8), distribution=distribution),
        ValueConfig(hidden=(8,)),
        NormalizationConfig(observation_clip=2.0),
        ImageConfig(),
        gamma=0.99,
        recurrence=recurrence,
    )
    agent = Agent(config, Randomness(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        agent.policy.network.head[-1].weight.normal_(0, 1.5, generator=generator)
    agent.preprocessor.update(map_leaves(torch.as_tensor, batch(observation_space, 200, seed=2)))
    return agent, observation_space


def batch(space: gym.Space, size: int, seed: int):
    """Observations of which some are far out, so that they are clipped."""
    space.seed(seed)
    samples = [space.sample() for _ in range(size)]

    def together(leaf: gym.Space, *parts):
        array = np.stack([np.asarray(part) for part in parts])
        return (array * 3).astype(np.float32) if array.dtype.kind == "f" else array

    return map_leaves(together, space, *samples)


def by_onnx(agent: Agent):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(to_onnx(agent), providers=["CPUExecutionProvider"])
    remembers = agent.config.recurrence.recurrent != "none"
    names = input_names(agent.observation_space) + ["state"] * remembers
    returned = output_names(agent.action_space) + ["next_state"] * remembers
    assert [given.name for given in session.get_inputs()] == names
    assert [given.name for given in session.get_outputs()] == returned
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def by_torchscript(agent: Agent):
    policy = torch.jit.load(io.BytesIO(to_torchscript(agent)))
    return lambda arrays: [leaf.numpy() for leaf in policy(*map(torch.as_tensor, arrays))]


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("load", "name"),
    [
        *((by_torchscript, name) for name in SPACES),
        # seconds each
        *((by_onnx, name) for name in ("torques", "bools", "nested", "image")),
    ],
)
def test_an_exported_policy_acts_as_the_agent_does(load, name):
    agent, space = make_agent(name)
    policy = load(agent)
    for size in SIZES:
        observations = batch(space, size, seed=size)
        expected, _ = agent.act(observations)
        triples = zip(
            policy(leaves(observations)), leaves(expected), leaves(agent.action_space), strict=True
        )
        for actions, leaf, part in triples:
            assert (actions.shape, actions.dtype) == (leaf.shape, part.dtype)
            np.testing.assert_allclose(actions, leaf, rtol=1e-5, atol=1e-5)
            assert all(map(part.contains, actions))
    if name == "torques":
        assert (actions == agent.action_space.low).any(), "no action was clipped"


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("load", [by_torchscript, by_onnx])
def test_an_exported_beta_acts_as_the_agent_does(load):
    agent, space = make_agent("torques", distribution="beta")
    observations = batch(space, 33, seed=0)
    (actions,) = load(agent)([observations])
    np.testing.assert_allclose(actions, agent.act(observations)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("load", [by_torchscript, by_onnx])
@pytest.mark.parametrize("recurrent", ["gru", "lstm"])
def test_an_exported_memory_remembers_as_the_agent_does_over_episodes(load, recurrent):
    agent, space = make_agent("torques", RecurrenceConfig(recurrent, 12))
    policy = load(agent)
    size = agent.policy.network.features.memory_size
    state, exported = None, np.zeros((3, size), np.float32)
    for step in range(60):
        observations = batch(space, 3, seed=step)
        actions, state = agent.act(observations, state)
        exported_actions, exported = policy([observations, exported])
        np.testing.assert_allclose(exported_actions, actions, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(exported, state, rtol=1e-5, atol=1e-5)
    assert np.abs(actions - agent.act(observations)[0]).max() > 0.01, "its memory decides nothing"


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("recurrent", ["none", "gru", "lstm"])
def test_an_exported_policy_chooses_what_its_mask_allows(recurrent):
    agent, space = make_agent("masked", RecurrenceConfig(recurrent, 12))
    policy = by_torchscript(agent)
    observations = batch(space, 200, seed=0)
    observations["action_mask"] = np.eye(4, dtype=np.int8)[np.arange(200) % 4]
    sizes = {"none": [], "gru": [12], "lstm": [24]}[recurrent]
    memory = [np.zeros((200, size), np.float32) for size in sizes]
    actions, *_ = policy([*leaves(observations), *memory])
    np.testing.assert_array_equal(actions, 3 + np.arange(200) % 4)
    np.testing.assert_array_equal(actions, agent.act(observations)[0])


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*is deprecated:DeprecationWarning")
def test_the_agent_is_left_as_it_is():
    agent, space = make_agent("torques")
    before, observations = {n: t.clone() for n, t in agent.tensors().items()}, batch(space, 3, 0)
    actions, _ = agent.act(observations)
    by_torchscript(agent)
    assert all(torch.equal(tensor, before[name]) for name, tensor in agent.tensors().items())
    assert np.array_equal(agent.act(observations)[0], actions)


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*is deprecated:DeprecationWarning")
def test_a_run_is_exported_by_the_command(tmp_path, capsys):
    words = ["--total-steps", "256", "--batch-size", "256", "--num-envs", "8", "--threads", "1"]
    train = ["train", "Pendulum-v1", *words, "--runs", str(tmp_path), "--name", "x"]
    assert __main__.main(train) == 0
    folder = tmp_path / "Pendulum-v1" / "x"
    assert __main__.main(["export", str(folder), "--to", "torchscript"]) == 0
    out = capsys.readouterr().out
    assert "float32 (N, 3)" in out
    assert "float32 (N, 1)" in out
    policy = torch.jit.load(folder / "policy.pt")
    observations = np.float32([[0.5, 0.1, 3.0], [1.0, 0.0, -8.0]])
    expected, _ = Agent.load(folder).act(observations)
    (actions,) = policy(torch.as_tensor(observations))
    np.testing.assert_allclose(actions, expected, atol=1e-5)


def test_a_missing_package_is_told_with_what_installs_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert __main__.main(["export", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == (
        "trpo: --to onnx needs packages that are not installed: run pip install -e '.[export]'\n"
    )


def test_no_run_to_export(tmp_path, capsys):
    assert __main__.main(["export", str(tmp_path), "--to", "torchscript"]) == 2
    assert "is not a run: expected a folder with config.json" in capsys.readouterr().err
