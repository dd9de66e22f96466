"""GAE against a plain loop over episodes, identities, and numbers worked out by hand."""

import pytest
import torch

from trpo.agents.rollouts.advantages import generalized_advantages

GAMMA = 0.9


def rollout(steps=60, envs=4, seed=0):
    """Random episodes under NEXT_STEP: after each end a reset step, whose numbers mean nothing."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(steps, envs, generator=generator)
    done_before = torch.zeros(envs, dtype=torch.bool)
    terminated, truncated, valid = (torch.zeros(steps, envs, dtype=torch.bool) for _ in range(3))
    for t in range(steps):
        valid[t] = ~done_before
        terminated[t] = valid[t] & (draw[t] < 0.1)
        truncated[t] = valid[t] & (draw[t] > 0.9)
        done_before = terminated[t] | truncated[t]
    rewards = torch.randn(steps, envs, generator=generator, dtype=torch.float64)
    values = torch.randn(steps + 1, envs, generator=generator, dtype=torch.float64)
    return rewards, values, terminated, truncated, valid


def episode_by_episode(rewards, values, terminated, truncated, valid, gamma, gae_lambda):
    """The definition, read aloud: cut the columns into episodes, then sum Σ (γλ)ˡ δ within each."""
    advantages = torch.zeros_like(rewards)
    for n in range(rewards.shape[1]):
        t = 0
        while t < len(rewards):
            if not valid[t, n]:
                t += 1
                continue
            episode = [t]
            while not (terminated[episode[-1], n] or truncated[episode[-1], n]) and episode[
                -1
            ] + 1 < len(rewards):
                episode.append(episode[-1] + 1)
            deltas = []
            for s in episode:
                next_value = 0.0 if terminated[s, n] else values[s + 1, n]
                deltas.append(rewards[s, n] + gamma * next_value - values[s, n])
            for i, s in enumerate(episode):
                advantages[s, n] = sum(
                    (gamma * gae_lambda) ** k * delta for k, delta in enumerate(deltas[i:])
                )
            t = episode[-1] + 1
    return advantages


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_plain_loop_over_episodes(gae_lambda, seed):
    rewards, values, terminated, truncated, valid = rollout(seed=seed)
    advantages = generalized_advantages(rewards, values, terminated, truncated, GAMMA, gae_lambda)
    expected = episode_by_episode(rewards, values, terminated, truncated, valid, GAMMA, gae_lambda)
    assert torch.allclose(advantages[valid], expected[valid], rtol=1e-12, atol=1e-12)


def test_lambda_0_is_one_step_temporal_difference():
    rewards, values, terminated, truncated, _ = rollout()
    expected = rewards + GAMMA * values[1:] * ~terminated - values[:-1]
    assert torch.equal(
        generalized_advantages(rewards, values, terminated, truncated, GAMMA, 0.0), expected
    )


def test_lambda_1_is_the_discounted_return_minus_the_value():
    rewards, values, *_ = rollout(steps=20)
    never = torch.zeros(20, 4, dtype=torch.bool)
    advantages = generalized_advantages(rewards, values, never, never, GAMMA, 1.0)
    powers = GAMMA ** torch.arange(21, dtype=torch.float64)
    for t in range(20):
        monte_carlo = powers[: 20 - t] @ rewards[t:] + powers[20 - t] * values[20]
        assert torch.allclose(advantages[t], monte_carlo - values[t])


def test_by_hand():
    """Two steps, γ = λ = 0.5, V = 1, 2, 4: terminated, truncated, cut off by the rollout's end."""
    rewards, values = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [2.0], [4.0]])
    no, end = torch.tensor([[False], [False]]), torch.tensor([[False], [True]])
    # δ₀ = 1 + 0.5·2 − 1 = 1; δ₁ = 3 − 2 = 1 if terminated, else 3 + 0.5·4 − 2 = 3
    assert generalized_advantages(rewards, values, end, no, 0.5, 0.5).flatten().tolist() == [
        1.25,
        1.0,
    ]
    assert generalized_advantages(rewards, values, no, end, 0.5, 0.5).flatten().tolist() == [
        1.75,
        3.0,
    ]
    assert generalized_advantages(rewards, values, no, no, 0.5, 0.5).flatten().tolist() == [
        1.75,
        3.0,
    ]


def test_reset_steps_reach_no_other_step():
    rewards, values, terminated, truncated, valid = rollout()
    before = generalized_advantages(rewards, values, terminated, truncated, GAMMA, 0.95)
    after = generalized_advantages(
        rewards + 1e6 * ~valid, values, terminated, truncated, GAMMA, 0.95
    )
    assert torch.equal(before[valid], after[valid])
