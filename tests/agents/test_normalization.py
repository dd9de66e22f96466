"""Running statistics against the statistics of everything at once."""

import pytest
import torch

from trpo.agents.normalization import (
    AdvantageScale,
    ObservationNormalizer,
    RewardScaler,
    RunningMoments,
)


def test_moments_merged_batch_by_batch_are_those_of_the_whole():
    samples = torch.randn(1000, 3, dtype=torch.float64) * torch.tensor([
        1e-3,
        1.0,
        1e4,
    ]) + torch.tensor([5.0, 0.0, -1e6])
    moments = RunningMoments(3)
    for batch in samples.split([1, 2, 500, 97, 400]):
        moments.update(batch)
    assert torch.allclose(moments.mean, samples.mean(0), rtol=1e-12)
    assert torch.allclose(moments.variance, samples.var(0, correction=0), rtol=1e-9)
    assert moments.count == 1000


def test_observations_are_normalised_and_clipped():
    normalizer = ObservationNormalizer(2, clip=3.0)
    raw = torch.randn(500, 2) * 7 + 100
    # the identity until the first update
    assert torch.equal(ObservationNormalizer(2, clip=1e9)(raw), raw)
    normalizer.update(raw)
    normal = normalizer(raw)
    assert torch.allclose(normal.mean(0), torch.zeros(2), atol=1e-2)
    assert torch.allclose(normal.std(0), torch.ones(2), atol=2e-2)
    assert normalizer(torch.tensor([[1e9, -1e9]])).tolist() == [[3.0, -3.0]]


def test_a_constant_observation_is_zero_not_nan():
    normalizer = ObservationNormalizer(1, clip=10.0)
    normalizer.update(torch.full((100, 1), 42.0))
    assert normalizer(torch.full((1, 1), 42.0)).item() == 0.0


def test_state_dict_carries_everything():
    one, other = ObservationNormalizer(2, 10.0), ObservationNormalizer(2, 10.0)
    one.update(torch.randn(50, 2) * 3 + 1)
    other.load_state_dict(one.state_dict())
    more, probe = torch.randn(20, 2), torch.randn(5, 2)
    one.update(more)
    other.update(more)
    assert torch.equal(one(probe), other(probe))


def test_reward_scaler_equals_a_loop_over_environments_and_episodes():
    gamma, steps, envs = 0.9, 50, 3
    rewards = torch.randn(2, steps, envs, dtype=torch.float64)
    done = torch.rand(2, steps, envs) < 0.1
    valid = torch.ones_like(done)
    valid[0, 1:] = ~done[0, :-1]
    valid[1, 1:] = ~done[1, :-1]
    valid[1, 0] = ~done[0, -1]
    rewards = rewards * valid  # a reset step's reward is 0

    scaler, carried = RewardScaler(gamma), torch.zeros(envs, dtype=torch.float64)
    for k in range(2):
        carried = scaler.update(rewards[k], done[k], valid[k], carried)

    returns = []
    for n in range(envs):
        discounted = 0.0
        for k in range(2):
            for t in range(steps):
                if valid[k, t, n]:
                    discounted = rewards[k, t, n].item() + gamma * discounted
                    returns.append(discounted)
                if done[k, t, n]:
                    discounted = 0.0
    expected = torch.tensor(returns, dtype=torch.float64).var(correction=0)
    assert scaler.moments.variance.item() == pytest.approx(expected.item(), rel=1e-9)
    assert torch.allclose(scaler(rewards), rewards / expected.sqrt(), rtol=1e-6)


def test_the_scale_of_advantages_is_that_of_all_batches_so_far():
    batches = [
        scale * torch.randn(50, generator=torch.Generator().manual_seed(i))
        for i, scale in enumerate([2.0, 1.0, 0.01])
    ]
    scale = AdvantageScale()
    measured = [scale.update(batch) for batch in batches]
    seen = [torch.cat(batches[: i + 1]).std(correction=0) for i in range(len(batches))]
    assert measured == pytest.approx([
        (batch.std(correction=0) / all_so_far).item()
        for batch, all_so_far in zip(batches, seen, strict=True)
    ])
    assert AdvantageScale().update(torch.zeros(5)) == 0
