"""TRPO in one file: stands alone, is short, solves CartPole-v1, steps as the package does."""

import ast
import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import pytest
import torch

from trpo.model import Model
from trpo.trust_region import Status, TrustRegionConfig, trust_region_step

FILE = Path(__file__).resolve().parents[2] / "scripts" / "examples" / "one_file.py"


@pytest.fixture(scope="module")
def one_file():
    return SimpleNamespace(**runpy.run_path(str(FILE)))


def test_it_stands_alone_and_is_short():
    text = FILE.read_text(encoding="utf-8")
    modules = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert modules - set(sys.stdlib_module_names) == {"gymnasium", "torch"}
    assert len(text.splitlines()) <= 175


def family_of(policy):
    """The package's view of the one file's policy: η and its family, apart."""
    if policy.discrete:
        return (
            lambda microbatch: (policy.network(microbatch.states),),
            lambda logits: torch.distributions.Categorical(logits=logits),
        )
    return (
        lambda microbatch: (policy.network(microbatch.states), policy.log_std),
        lambda mean, log_std: torch.distributions.Independent(
            torch.distributions.Normal(mean, log_std.exp()), 1
        ),
    )


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("seed", range(3))
def test_its_step_is_the_packages(one_file, env_id, seed):
    torch.manual_seed(seed)
    env = gym.make(env_id)
    policy = one_file.Policy(env).double()
    with torch.no_grad():
        for parameter in policy.parameters():  # away from the near-uniform start, but not so far
            # that F's largest eigenvalues stand alone: ten iterations of any two CGs differ there
            parameter += 0.02 * torch.randn_like(parameter)
        states = torch.randn(200, env.observation_space.shape[0], dtype=torch.float64)
        pi_old = policy(states)
        actions = pi_old.sample()
        log_prob_old = pi_old.log_prob(actions)
    microbatch = SimpleNamespace(states=states)
    advantages = torch.randn(200, dtype=torch.float64)
    theta_old = one_file.flatten(policy.parameters()).detach().clone()

    one_file.trpo_step(policy, states, actions, advantages)
    by_one_file = one_file.flatten(policy.parameters()).detach().clone()
    one_file.assign(theta_old.clone(), policy.parameters())
    outputs, family = family_of(policy)
    report = trust_region_step(
        Model(list(policy.parameters()), outputs, family),
        lambda pi, _: torch.exp(pi.log_prob(actions) - log_prob_old) * advantages,
        [microbatch],
        TrustRegionConfig(
            max_kl=one_file.MAX_KL,
            damping=one_file.DAMPING,
            cg_iterations=one_file.CG_ITERATIONS,
            cg_tolerance=one_file.CG_TOLERANCE,
            backtrack_ratio=one_file.BACKTRACK_RATIO,
            max_backtracks=one_file.BACKTRACKS,
        ),
    )
    assert report.status is Status.ACCEPTED
    by_package = one_file.flatten(policy.parameters()).detach()
    assert (by_one_file - theta_old).norm() > 1e-3
    torch.testing.assert_close(by_one_file, by_package, rtol=0, atol=1e-10)


def test_a_step_that_fails_puts_every_bit_back(one_file, monkeypatch):
    torch.manual_seed(0)
    policy = one_file.Policy(gym.make("CartPole-v1"))
    states, actions = torch.randn(50, 4), torch.randint(2, (50,))
    monkeypatch.setitem(one_file.trpo_step.__globals__, "BACKTRACKS", -1)
    theta_old = one_file.flatten(policy.parameters()).detach().clone()
    assert one_file.trpo_step(policy, states, actions, torch.randn(50)).startswith("no step")
    assert torch.equal(one_file.flatten(policy.parameters()), theta_old)
    assert "not finite" in one_file.trpo_step(policy, states, actions, torch.full((50,), torch.nan))
    assert torch.equal(one_file.flatten(policy.parameters()), theta_old)


def test_its_advantages_know_both_ends(one_file):
    done = torch.tensor([False, True, False, False])
    ended = torch.tensor([False, False, False, True])
    rewards, values = torch.tensor([1.0, 3.0, 2.0, 5.0]), torch.tensor([1.0, 2.0, 4.0, 1.0])
    advantages = one_file.gae(rewards, values, torch.tensor([2.0, 4.0, 1.0, 8.0]), ended, done)
    last = 5.0 - 1.0
    cut = 3.0 + 0.99 * 4.0 - 2.0
    expected = [1 + 0.99 * 2 - 1 + 0.99 * 0.95 * cut, cut, 2 + 0.99 - 4 + 0.99 * 0.95 * last, last]
    torch.testing.assert_close(advantages, torch.tensor(expected))


def test_it_solves_cart_pole_in_100_000_steps():
    done = subprocess.run(
        [sys.executable, str(FILE), "CartPole-v1", "33000"],  # a third of them are enough
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 17
    assert all("KL" in line or "no step" in line for line in lines)
    assert max(float(line.split("return")[1].split()[0]) for line in lines) >= 475


def test_it_trains_a_gaussian_policy_too(one_file):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        one_file.train("Pendulum-v1", 4096)
    assert out.getvalue().count("KL") == 2
