"""Recurrent policies: unrolled over whole episodes, as they acted."""

import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

import tests.environments  # noqa: F401  registers the gates, and the cue
from tests.helpers import flat_parameters, make_trainer, parameters, run, untimed
from trpo.agents.agent import Agent, AgentConfig
from trpo.agents.networks.images import ImageConfig
from trpo.agents.networks.recurrence import POLICY_MEMORY, RecurrenceConfig, sequences
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.policies import PolicyConfig
from trpo.agents.randomness import Randomness
from trpo.agents.rollouts.batching import make_batch, values_of
from trpo.agents.updates.trpo import States, TrpoConfig
from trpo.agents.updates.update_rule import importance_weighted_advantage
from trpo.agents.value_function import ValueConfig
from trpo.fisher import fisher_vector_product
from trpo.measurement import measure_against_present
from trpo.model import surrogate_gradient
from trpo.reducer import SERIAL
from trpo.reference import dense_fisher, double_backward_product
from trpo.validation import ConfigError

SIZE = 5


@pytest.fixture(params=["gru", "lstm"])
def recurrent(request) -> str:
    return request.param


def trainer_of(recurrent="gru", **changes):
    return make_trainer(recurrence=RecurrenceConfig(recurrent, SIZE), **changes)


def collected(recurrent, **changes):
    """A trainer after an update, and the batch of its next rollout."""
    trainer = trainer_of(recurrent, **changes)
    run(trainer, 1)
    agent, rollout = trainer.agent, trainer.rollout
    trainer.environments.collect(agent.policy, rollout, trainer.update)
    batch, values = make_batch(
        rollout, rollout.rewards, agent, agent.policy, trainer.config.trainer
    )
    return trainer, batch, values


def graph_size(outputs):
    """Count the nodes of the graph behind a tensor."""
    seen, open_nodes = set(), [outputs.grad_fn]
    while open_nodes:
        node = open_nodes.pop()
        if node and node not in seen:
            seen.add(node)
            open_nodes += [follower for follower, _ in node.next_functions]
    return len(seen)


def test_a_graph_does_not_grow_with_sequences_only_with_their_length(recurrent):
    """Or a gradient of many short episodes takes as many passes over the batch."""
    trainer = trainer_of(recurrent)
    network = trainer.agent.policy.network
    sizes = []
    for count in (3, 300):
        observations = torch.randn(2, count, *trainer.rollout.observations.shape[2:])
        memory = torch.zeros(count, trainer.rollout.memories[POLICY_MEMORY].shape[1])
        begins = torch.zeros(2, count, dtype=torch.bool)
        two_steps = sequences(observations, begins, {POLICY_MEMORY: memory})
        sizes.append(graph_size(network(two_steps)))
    assert sizes[0] == sizes[1]
    trainer.close()


@pytest.mark.parametrize("steps", [1, 3])
def test_products_over_large_images_equal_double_backwards(recurrent, steps):
    """Dual numbers, which a policy without memory takes there, torch has none of for every unit."""
    space = gym.spaces.Box(0, 255, (36, 36, 1), np.uint8)
    parts = PolicyConfig(hidden=()), ValueConfig(hidden=()), NormalizationConfig(), ImageConfig()
    memory = RecurrenceConfig(recurrent, SIZE)
    config = AgentConfig(space, gym.spaces.Discrete(2), *parts, 0.99, memory)
    policy = Agent(config, Randomness(0)).policy
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (steps, 2, *space.shape), generator=generator)
    size = policy.network.features.memory_size
    begins = torch.zeros(steps, 2, dtype=torch.bool)
    before = torch.zeros(2, size)
    states = [States(sequences(images, begins, {POLICY_MEMORY: before}))]
    model = policy.model()
    v = torch.randn(len(flat_parameters(policy)), generator=generator)
    twin = double_backward_product(model, states)(v)
    assert torch.allclose(fisher_vector_product(model, states)(v), twin, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("trunk", ["own", "policy"])
def test_batches_are_unrolled_as_step_by_step(recurrent, trunk):
    """Policy and V of the batch, against a plain loop over times that knows where episodes end."""
    trainer, batch, values = collected(recurrent, value={"trunk": trunk})
    agent, rollout = trainer.agent, trainer.rollout
    name = "policy_memory" if trunk == "policy" else "value_memory"
    assert not rollout.valid.all()
    assert rollout.memories[POLICY_MEMORY].abs().max() > 0  # carried from the rollout before
    with torch.no_grad():
        outputs = agent.policy.network(batch.observations)
    at = batch.times, batch.environments
    assert torch.allclose(outputs, rollout.outputs[at], atol=1e-5)
    steps = len(rollout.rewards)
    expected = torch.zeros(steps + 1, 8)
    for n in range(8):
        memory = rollout.memories[name][n : n + 1]
        for t in range(steps + 1):
            if t == steps:
                assert torch.allclose(memory, rollout.remembered[name][n : n + 1], atol=1e-5)
            observation = rollout.observations[t, n : n + 1]
            step = {"observation": observation, "begins a sequence": torch.ones(1).bool()}
            with torch.no_grad():
                V, memory = agent.value_function.network.step(step | {name: memory})
            expected[t, n] = V
            if t < steps and not rollout.valid[t, n]:  # the next observation is another episode's
                memory = torch.zeros_like(memory)
    assert torch.allclose(values, expected[at], atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(values_of(rollout, agent, 10_000), expected, atol=1e-5)
    trainer.close()


def test_before_the_step_the_ratio_is_1_and_kl_0(recurrent):
    # tanh has two implementations, of which autograd takes one: they differ in the last bit
    trainer, batch, _ = collected(recurrent, policy=PolicyConfig(hidden=(16,), activation="relu"))
    model = trainer.agent.policy.model()
    with torch.no_grad():
        ratio = model.distribution(batch).log_prob(batch.actions) - batch.log_probs
    assert (ratio == 0).all()
    measured = measure_against_present(model, importance_weighted_advantage, [batch])()
    assert measured.max_state_kl == 0
    trainer.close()


def small_problem(recurrent):
    """A batch of nine sequences in float64, and the policy that is to be updated by it."""
    trainer, batch, _ = collected(recurrent, trainer={"batch_size": 64})
    policy = trainer.agent.policy.double()
    doubles = {
        name: leaf.double() if leaf.is_floating_point() else leaf
        for name, leaf in batch.observations.items()
    }
    batch = replace(
        batch,
        observations=doubles,
        advantages=batch.advantages.double(),
        log_probs=batch.log_probs.double(),
    )
    trainer.close()
    return policy, batch


def test_product_equals_the_dense_fisher_and_microbatches_one_batch(recurrent):
    policy, batch = small_problem(recurrent)
    model = policy.model()
    cut = batch.microbatches(20, SERIAL)
    assert len(cut) > 1
    assert all(part.observations["begins a sequence"][0] for part in cut)
    F = dense_fisher(model, [batch])
    v = torch.randn(len(F), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for microbatches in ([batch], cut):
        assert torch.allclose(fisher_vector_product(model, microbatches)(v), F @ v, rtol=1e-9)
    whole, pieces = (
        surrogate_gradient(model, importance_weighted_advantage, microbatches)[1]
        for microbatches in ([batch], cut)
    )
    assert torch.allclose(whole, pieces, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("trunk", ["own", "policy"])
def test_a_resumed_run_equals_one_that_was_never_stopped(recurrent, trunk):
    whole, first, second = (trainer_of(recurrent, value={"trunk": trunk}) for _ in range(3))
    records = run(whole, 4)
    run(first, 2)
    second.restore(*first.snapshot())
    assert list(map(untimed, run(second, 2))) == list(map(untimed, records[2:]))
    assert torch.equal(parameters(whole), parameters(second))
    assert all(record.metrics["update/mean_kl"] <= 0.02 for record in records)


def test_an_agent_acts_as_in_its_rollout_and_is_loaded(tmp_path, recurrent):
    trainer = trainer_of(recurrent)
    run(trainer, 1)
    trainer.agent.save(tmp_path / "agent.safetensors")
    agent, state = Agent.load(tmp_path / "agent.safetensors"), None
    observations = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(np.float32)
    begins = torch.zeros(6, 3, dtype=torch.bool)
    memory = {POLICY_MEMORY: torch.zeros(3, agent.policy.network.features.memory_size)}
    in_a_row = sequences(torch.from_numpy(observations), begins, memory)
    with torch.no_grad():
        expected = agent.policy.network(in_a_row).argmax(-1).view(3, 6).T
    for t in range(6):
        actions, state = agent.act(observations[t], state)
        assert actions.tolist() == expected[t].tolist()
    trainer.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "ppo"}, "algorithm ppo: expected trpo, npg or vpg"),
        ({"value": {"fit": "adam"}}, "value.fit adam: expected gauss-newton"),
        ({"value": {"fisher_stride": 2}}, "fisher_stride 2: expected 1"),
        ({"trpo": TrpoConfig(fisher_stride=8)}, "fisher_stride 8: expected 1"),
        ({"trpo": TrpoConfig(memory=32)}, "memory 32: expected 0"),
    ],
)
def test_what_does_not_go_with_a_memory_is_refused(changes, message):
    with pytest.raises(ConfigError, match=f"recurrent = 'gru' with {message}"):
        trainer_of(**changes)


def test_with_a_memory_f_is_the_batchs_alone():
    trainer = trainer_of(trpo=TrpoConfig(memory=16))
    run(trainer, 1)
    assert not trainer.update_policy.remembered
    trainer.close()


def test_options_of_trpos_alone_do_not_hold_for_npg():
    trainer_of(algorithm="npg", trpo=TrpoConfig(fisher_stride=8, memory=32)).close()


@pytest.mark.parametrize("value", [{"fit": "adam"}, {"fisher_stride": 2}])
def test_any_fit_goes_with_the_policys_memory(value):
    trainer = trainer_of(value={"trunk": "policy"} | value)
    assert all(record.metrics["value/accepted"] > 0 for record in run(trainer, 2))
    trainer.close()


def test_nothing_is_shared_where_nothing_is_learned_or_remembered():
    with pytest.raises(ConfigError, match="trunk = 'policy': expected own: without images"):
        make_trainer(value={"trunk": "policy"})


def test_masks_and_memory_go_together():
    trainer = trainer_of(env_id="TestGatesMethod-v0", engine="gymnasium")
    records = run(trainer, 2)
    assert all(record.metrics["update/mean_kl"] <= 0.02 for record in records)
    assert isinstance(trainer.agent.observation_space, gym.spaces.Dict)
    trainer.close()


def recalled(recurrent: str) -> float:
    """The share of signs recalled three steps later, in the last of ten updates."""
    trainer = make_trainer(
        "TestCue-v0",
        "gymnasium",
        trainer={"batch_size": 1024, "gamma": 0.9},
        trpo=TrpoConfig(memory=0, max_kl=0.05, step_size=math.inf),
        recurrence=RecurrenceConfig(recurrent, 8),
    )
    records = run(trainer, 10)
    trainer.close()
    assert all(record.metrics["update/mean_kl"] <= 0.05 for record in records)
    return records[-1].metrics["episode/return"]


def test_what_was_seen_is_recalled_with_a_memory_and_not_without():
    assert recalled("gru") > 0.9
    assert recalled("lstm") > 0.9
    assert 0.35 < recalled("none") < 0.65
