"""The loop: reproducible, resumable at its resume points, honest in its metrics, and learning."""

import copy
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch.distributions import Normal, kl_divergence

import tests.environments  # noqa: F401 registers environments
from tests.helpers import Convolutional, make_trainer, parameters, run, untimed
from trpo.agents.config import LearnerConfig, TrainerConfig
from trpo.agents.metrics import METRICS
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.policies import PolicyConfig
from trpo.agents.trainer import Trainer, TrainingError
from trpo.agents.updates.ppo import PpoConfig
from trpo.agents.updates.trpo import Trpo, TrpoConfig
from trpo.agents.updates.vpg import OptimizerName, VpgConfig
from trpo.agents.value_function import ValueConfig
from trpo.envs.factory import EnvironmentConfig, make_vector_env
from trpo.report import Status
from trpo.validation import ConfigError


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("engine", ["envpool", "gymnasium"])
def test_same_seed_same_run_bit_for_bit(env_id, engine):
    one, other, third = (make_trainer(env_id, engine, trainer={"seed": seed}) for seed in (3, 3, 4))
    records = [list(map(untimed, run(trainer, 3))) for trainer in (one, other, third)]
    assert torch.equal(parameters(one), parameters(other))
    assert records[0] == records[1]
    assert not torch.equal(parameters(one), parameters(third))


def test_same_seed_same_run_with_environments_in_two_groups():
    one, other = (make_trainer("Hopper-v5", threads=2) for _ in range(2))
    # the third update begins with fresh environments
    assert list(map(untimed, run(one, 3))) == list(map(untimed, run(other, 3)))
    assert torch.equal(parameters(one), parameters(other))
    assert len(one.environments.env.groups) == 2


LEARNERS = {
    "gauss-newton": {},
    "adam": {"value": {"fit": "adam"}},
    "annealed": {"trpo": TrpoConfig(anneal_to=0.1), "trainer": {"total_steps": 1280}},
    "ppo": {"algorithm": "ppo", "ppo": PpoConfig(epochs=2)},
} | {
    f"vpg {optimizer}": {"algorithm": "vpg", "vpg": VpgConfig(optimizer)}
    for optimizer in get_args(OptimizerName)
}


def test_the_limit_falls_in_a_straight_line_to_its_share():
    total, before = 1200, 0
    trainer = make_trainer(
        "Pendulum-v1", trpo=TrpoConfig(max_kl=0.05, anneal_to=0.2), trainer={"total_steps": total}
    )
    for record in run(trainer, 4):
        limit = record.metrics["trust_region/max_kl"]
        assert limit == pytest.approx(0.05 * (1 - 0.8 * before / total))
        assert record.metrics["update/mean_kl"] <= limit
        before = record.steps
    assert limit < 0.5 * 0.05


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_a_run_continued_at_a_resume_point_equals_one_never_stopped(env_id, learner):
    whole = make_trainer(env_id, **copy.deepcopy(LEARNERS[learner]))
    expected = run(whole, 5)
    first = make_trainer(env_id, **copy.deepcopy(LEARNERS[learner]))
    run(first, 2)
    assert first.at_resume_point
    tensors, state = first.snapshot()
    second = make_trainer(env_id, **copy.deepcopy(LEARNERS[learner]))
    second.restore({name: tensor.clone() for name, tensor in tensors.items()}, state)
    continued = run(second, 3)
    assert torch.equal(parameters(whole), parameters(second))
    assert list(map(untimed, continued)) == list(map(untimed, expected[2:]))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_finished_trainer_that_is_extended_at_a_resume_point_equals_one_never_stopped(threads):
    whole = make_trainer("Pendulum-v1", threads=threads)
    expected = run(whole, 6)
    total = expected[3].steps
    trainer = make_trainer("Pendulum-v1", threads=threads, trainer={"total_steps": total})
    records = list(trainer.updates())
    assert list(trainer.updates()) == []
    with pytest.raises(ConfigError, match=f"total_steps = {total}: .*{total} steps were taken$"):
        trainer.extend(total)
    trainer.extend(10**9)
    records += run(trainer, 2)
    assert list(map(untimed, records)) == list(map(untimed, expected))
    assert torch.equal(parameters(whole), parameters(trainer))


def test_a_finished_trainer_is_extended_between_resume_points_and_its_limit_is_annealed_anew():
    loop = {"total_steps": 600, "checkpoint_interval": 50}
    trainer = make_trainer("Pendulum-v1", trpo=TrpoConfig(anneal_to=0.5), trainer=loop)
    *_, last = trainer.updates()
    trainer.extend(1600)
    first, *_, end = trainer.updates()
    assert (last.steps, first.steps) == (768, 1024)
    assert end.steps >= 1600
    limits = [record.metrics["trust_region/max_kl"] for record in (last, first, end)]
    limit = trainer.config.max_kl
    before = 512 / 600, 768 / 1600, (end.steps - 256) / 1600
    assert limits == pytest.approx([limit * (1 - 0.5 * share) for share in before])


def test_a_trainer_that_reached_its_stop_return_is_not_extended():
    loop = {"eval_every": 1, "stop_return": -1e9}
    trainer = make_trainer("Pendulum-v1", trainer=loop)
    assert len(list(trainer.updates())) == 1
    with pytest.raises(ConfigError, match="stop_return is reached"):
        trainer.extend(2 * 10**9)


def test_every_update_stays_within_the_limit_and_cartpole_is_learned():
    trainer = make_trainer(
        trainer={"batch_size": 1024, "total_steps": 30_000, "checkpoint_interval": 50}
    )
    records = list(trainer.updates())
    assert all(record.metrics["update/mean_kl"] <= 0.02 for record in records)
    assert sum(record.status is Status.ACCEPTED for record in records) > 0.9 * len(records)
    assert records[0].metrics["episode/return"] < 40
    assert records[-1].metrics["episode/return_100"] > 150
    assert records[-1].steps >= 30_000 > records[-2].steps


def test_metrics_are_registered_and_absent_without_a_value():
    endless = run(make_trainer("TestEndless-v0", "gymnasium"), 2)[-1].metrics
    assert set(endless) <= set(METRICS)
    assert not {"episode/return", "episode/length", "episode/return_100", "policy/std"} & set(
        endless
    )
    loop = {"batch_size": 2048, "eval_every": 1}
    ended = run(make_trainer("Pendulum-v1", trainer=loop), 1)[-1].metrics
    assert set(ended) == set(METRICS)
    assert all(value == value for metrics in (endless, ended) for value in metrics.values())


def test_reset_steps_are_no_environment_steps():
    trainer = make_trainer("CartPole-v1")
    (record,) = run(trainer, 1)
    resets = int((~trainer.rollout.valid).sum())
    assert resets > 0
    assert record.steps == 256 - resets


def test_reported_returns_are_raw():
    trainer = make_trainer("Pendulum-v1", trainer={"batch_size": 2048})
    record = run(trainer, 2)[-1]
    # Pendulum's own scale; scaled rewards would be near -10
    assert record.metrics["episode/return"] < -500


def test_rewards_are_learned_from_by_the_deviation_of_their_returns_so_far():
    """Those of episodes that go on from one rollout to the next."""
    trainer = make_trainer("Pendulum-v1")
    estimate, learned_from, raw = trainer.estimate_advantages, [], []

    def watched(rewards, *others):
        learned_from.append(rewards)
        raw.append(trainer.rollout.rewards.clone())
        return estimate(rewards, *others)

    trainer.estimate_advantages = watched
    run(trainer, 2)
    returns = [torch.zeros(8)]
    for reward in torch.cat(raw):
        returns.append(reward + 0.99 * returns[-1])
    for rollout in range(2):
        so_far = torch.stack(returns[1 : 1 + 32 * (rollout + 1)])
        scaled = raw[rollout] / so_far.std(correction=0)
        torch.testing.assert_close(learned_from[rollout], scaled, rtol=1e-4, atol=1e-6)


def test_statistics_are_frozen_while_a_batch_is_collected_and_used():
    trainer = make_trainer("Pendulum-v1")
    run(trainer, 1)
    normalizer = trainer.agent.preprocessor.leaves[0].normalizer
    shift = normalizer.shift.clone()
    seen = []

    class Watching(Trpo):
        def __call__(self, batch, generator):
            seen.append(normalizer.shift.clone())
            return super().__call__(batch, generator)

    loop = trainer.config.trainer
    trainer.update_policy = Watching(
        trainer.agent.policy, trainer.config.trpo, loop.microbatch_size
    )
    run(trainer, 1)
    assert torch.equal(seen[0], shift)  # as it was when the batch was collected
    assert not torch.equal(normalizer.shift, shift)  # and updated after


def test_how_far_new_statistics_move_the_policy_is_measured():
    trainer = make_trainer("Pendulum-v1", policy=PolicyConfig(distribution="gaussian"))
    preprocessor, policy, kl = trainer.agent.preprocessor, trainer.agent.policy, []
    update = preprocessor.update

    def watched(observations, reducer):
        old = Normal(policy.network(observations), policy.family.log_std.exp())
        update(observations, reducer)
        new = Normal(policy.network(observations), policy.family.log_std.exp())
        kl.append(kl_divergence(old, new).sum(-1).mean().item())

    preprocessor.update = watched
    records = run(trainer, 3)
    assert [r.metrics["update/statistics_kl"] for r in records] == pytest.approx(kl, rel=1e-3)
    assert min(kl) > 1e-7


def test_without_statistics_nothing_else_moves_the_policy():
    trainer = make_trainer("Pendulum-v1", normalize=NormalizationConfig(observations=False))
    assert "update/statistics_kl" not in run(trainer, 1)[0].metrics


def test_a_batch_of_another_policy_is_noticed():
    trainer = make_trainer("Pendulum-v1")
    run(trainer, 1)
    collect = trainer.environments.collector.collect

    def collect_then_tamper(*arguments):
        episodes = collect(*arguments)
        trainer.rollout.observations += (
            1.0  # as if the statistics had moved between acting and learning
        )
        return episodes

    trainer.environments.collector.collect = collect_then_tamper
    with pytest.raises(TrainingError, match="policy that acted is not the one"):
        run(trainer, 1)


def test_advantages_of_zero_variance_move_nothing():
    trainer = make_trainer("TestWorthless-v0", "gymnasium")
    with torch.no_grad():
        for parameter in trainer.agent.value_function.parameters():
            parameter.zero_()
    before = [parameter.clone() for parameter in trainer.agent.policy.parameters()]
    (record,) = run(trainer, 1)
    assert record.status is Status.ZERO_GRADIENT
    assert all(map(torch.equal, before, trainer.agent.policy.parameters()))


def test_without_normalisation_the_observations_are_raw():
    trainer = make_trainer(
        "Pendulum-v1", normalize=NormalizationConfig(observations=False, rewards=False)
    )
    run(trainer, 2)
    observations = trainer.rollout.observations
    assert torch.equal(trainer.agent.preprocessor(observations), observations)


def test_fisher_stride_and_microbatches_run_through_the_loop():
    whole = make_trainer("Pendulum-v1")
    cut = make_trainer("Pendulum-v1", trainer={"microbatch_size": 50})
    strided = make_trainer("Pendulum-v1", trpo=TrpoConfig(fisher_stride=4))
    kl = [run(trainer, 1)[0].metrics["update/mean_kl"] for trainer in (whole, cut, strided)]
    assert kl[0] == pytest.approx(kl[1], rel=1e-3)
    assert kl[0] != pytest.approx(kl[2], rel=1e-3)


def test_batch_must_be_a_multiple_of_the_environments():
    with pytest.raises(ConfigError, match="batch_size = 250 is not a multiple of num_envs = 8"):
        make_trainer(trainer={"batch_size": 250})


CONFIGS = [config for name, config in vars(LearnerConfig()).items() if name != "algorithm"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_field_for_a_number_takes_no_word_and_one_for_an_integer_no_fraction(config):
    for name, value in vars(config).items():
        if type(value) in {int, float}:
            with pytest.raises(ConfigError, match=f"^{name} = '1' .*: expected an? [in]"):
                replace(config, **{name: "1"})
        if type(value) is int:
            with pytest.raises(ConfigError, match=f"^{name} = 1.5 is .*: expected an integer"):
                replace(config, **{name: 1.5})


def test_any_encoder_is_trained_within_the_limit():
    config = EnvironmentConfig("gymnasium", num_envs=4)
    learner = LearnerConfig(
        trainer=TrainerConfig(total_steps=10**9, batch_size=128, checkpoint_interval=2),
        policy=PolicyConfig(hidden=(8,)),
        value=ValueConfig(hidden=(8,)),
    )

    def make():
        return Trainer(
            lambda seed: make_vector_env("TestCamera-v0", config, seed), learner, 1, Convolutional
        )

    trainer = make()
    before = trainer.agent.policy.network.features.encoder.filters.weight.clone()
    records = run(trainer, 2)
    after = trainer.agent.policy.network.features.encoder.filters.weight
    assert all(record.metrics["update/mean_kl"] <= 0.02 for record in records)
    assert any(record.status is Status.ACCEPTED for record in records)
    assert not torch.equal(before, after)
    tensors, state = trainer.snapshot()
    other = make()
    other.restore({name: tensor.clone() for name, tensor in tensors.items()}, state)
    assert list(map(untimed, run(other, 1))) == list(map(untimed, run(trainer, 1)))


def test_a_device_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(
        ConfigError, match=r"^device = 'cuda' is out of range: expected cpu or auto"
    ):
        make_trainer(trainer={"device": "cuda"})
    assert TrainerConfig(device="auto").torch_device == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_a_run_on_cuda_stays_within_the_limit_and_is_resumed(env_id):
    whole = make_trainer(env_id, trainer={"device": "cuda"})
    records = run(whole, 4)
    assert all(record.metrics["update/mean_kl"] <= 0.02 for record in records)
    assert whole.agent.device.type == "cuda"
    other = make_trainer(env_id, trainer={"device": "cuda"})
    run(other, 2)
    again = make_trainer(env_id, trainer={"device": "cuda"})
    again.restore(*other.snapshot())
    assert [r.steps for r in run(again, 2)] == [r.steps for r in records[2:]]
