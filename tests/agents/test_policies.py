"""Policies sample what their distribution says, for each action space."""

import math

import gymnasium as gym
import pytest
import torch
from scipy import stats

from tests.helpers import ACTION_SPACES, OBSERVATION_SIZE, make_problem, make_trainer, run
from trpo.agents.distributions.betas import Betas
from trpo.agents.distributions.factory import make_family
from trpo.agents.distributions.gaussians import Gaussian, StateGaussian
from trpo.agents.distributions.joint import Joint
from trpo.agents.networks.encoders import flat_features
from trpo.agents.policies import PolicyConfig, make_policy
from trpo.agents.updates.trpo import States
from trpo.divergence import kl_divergence
from trpo.fisher import fisher_vector_product
from trpo.reference import dense_fisher
from trpo.validation import ConfigError

DRAWS = 40_000


def sample(problem, state=0):
    output = problem.policy.network(problem.batch.observations[state : state + 1]).detach()
    noise = problem.policy.family.draw_noise(DRAWS, 1, torch.Generator().manual_seed(0))
    actions = problem.policy.family.act(output.expand(DRAWS, -1), noise[:, 0].double())
    return problem.policy.distribution(output), actions


def test_gaussian_samples_have_the_distributions_moments():
    distribution, actions = sample(make_problem(ACTION_SPACES["box"], (6,)))
    assert torch.allclose(actions.mean(0), distribution.mean[0], atol=0.02)
    assert torch.allclose(actions.std(0), distribution.stddev[0], rtol=0.02)


@pytest.mark.parametrize("name", ["discrete", "multidiscrete"])
def test_categorical_samples_have_the_distributions_frequencies(name):
    distribution, actions = sample(make_problem(ACTION_SPACES[name], (6,)))
    probabilities = distribution.base_dist.probs[0]  # (A, widest)
    for dimension, expected in enumerate(probabilities):
        frequencies = torch.bincount(actions[:, dimension], minlength=len(expected)) / DRAWS
        assert torch.allclose(frequencies.double(), expected, atol=0.01)


def test_bernoulli_samples_have_the_distributions_frequencies():
    distribution, actions = sample(make_problem(ACTION_SPACES["multibinary"], (6,)))
    assert torch.allclose(actions.mean(0), distribution.mean[0], atol=0.01)


def test_without_noise_the_action_is_the_mode(action_space):
    problem = make_problem(action_space, (6,))
    output = problem.policy.network(problem.batch.observations)
    distribution = problem.policy.distribution(output)
    parts = distribution.parts if isinstance(distribution, Joint) else [distribution]
    mode = torch.cat([part.mode.double() for part in parts], dim=-1)
    assert torch.equal(problem.policy.family.act(output, None).double(), mode)


def test_choices_that_do_not_exist_have_no_probability():
    distribution, actions = sample(make_problem(gym.spaces.MultiDiscrete([2, 5]), (6,)))
    assert distribution.base_dist.probs[0, 0, 2:].sum() == 0
    assert actions[:, 0].max() == 1
    assert actions[:, 1].max() == 4


@pytest.mark.parametrize("shape", [(2, 2)])
def test_spaces_of_any_shape_are_flattened(shape):
    generator = torch.Generator().manual_seed(0)
    nvec = torch.full(shape, 3).numpy()
    for space in (
        gym.spaces.Box(-1, 1, shape),
        gym.spaces.MultiDiscrete(nvec),
        gym.spaces.MultiBinary(shape),
    ):
        policy = make_policy(flat_features(OBSERVATION_SIZE), space, PolicyConfig(), generator)
        action = policy.family.act(
            policy.network(torch.zeros(7, OBSERVATION_SIZE)),
            policy.family.draw_noise(1, 7, generator)[0],
        )
        assert action.shape == (7, 4)


def test_starts_near_uniform():
    policy = make_policy(
        flat_features(OBSERVATION_SIZE),
        ACTION_SPACES["discrete"],
        PolicyConfig(),
        torch.Generator().manual_seed(0),
    )
    probabilities = policy.distribution(
        policy.network(torch.randn(100, OBSERVATION_SIZE))
    ).base_dist.probs
    assert (probabilities - 0.25).abs().max() < 0.02


def test_unsupported_space_is_named():
    with pytest.raises(
        ConfigError, match=r"action space Text.* is not supported: expected Box, Discrete"
    ):
        make_policy(flat_features(3), gym.spaces.Text(5), PolicyConfig(), torch.Generator())


def of_a_network(name, **box):
    """A policy whose network alone says how its actions are spread; and states."""
    generator = torch.Generator().manual_seed(0)
    config = PolicyConfig(hidden=(6,), **box)
    features = flat_features(OBSERVATION_SIZE)
    policy = make_policy(features, ACTION_SPACES[name], config, generator).double()
    states = torch.randn(30, OBSERVATION_SIZE, generator=generator, dtype=torch.float64)
    return policy, states, generator


def move(policy, generator):
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)


def test_a_deviation_that_depends_on_the_state_starts_where_it_is_to():
    policy, states, _ = of_a_network("box", log_std="state")
    stddev = policy.distribution(policy.network(states)).stddev
    assert torch.allclose(stddev.log(), torch.tensor(-0.5).double(), atol=0.1)


@pytest.mark.parametrize(
    "box",
    [
        {"log_std": "state"},
        {"distribution": "beta"},
        {"distribution": "beta", "initial_concentration": 7.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["box", "joint"])
def test_a_spread_that_depends_on_the_state_is_in_f_and_in_samples(name, box):
    """F·v by hand against F in full from autograd."""
    policy, states, generator = of_a_network(name, **box)
    move(policy, generator)
    model, microbatches = policy.model(), [States(states)]
    F = dense_fisher(model, microbatches)
    v = torch.randn(len(F), generator=generator, dtype=torch.float64)
    assert torch.allclose(fisher_vector_product(model, microbatches)(v), F @ v, rtol=1e-9)
    output = policy.network(states[:1]).detach()
    noise = policy.family.draw_noise(DRAWS, 1, generator)[:, 0].double()
    actions = policy.family.act(output.expand(DRAWS, -1), noise)
    distribution = policy.distribution(output)
    if name == "joint":
        actions, distribution = actions[:, 1:3], distribution.parts[1]  # of its Box
    assert torch.allclose(actions.std(0), distribution.stddev[0], rtol=0.02)


@pytest.mark.parametrize(
    ("z", "slope"), [(-6.0, 1.0), (0.0, 1.0), (4.0, 1.0), (60.0, 1.0), (-6.0, 9.0), (4.0, 9.0)]
)
def test_beta_samples_are_distributed_as_they_should_be(z, slope):
    family = Betas(1, 1 + slope * math.log(2))
    output = torch.tensor([[z, 1.0]]).expand(DRAWS, -1)
    noise = family.draw_noise(DRAWS, 1, torch.Generator().manual_seed(0))[:, 0]
    actions = family.act(output, noise)[:, 0]
    assert actions.abs().max() < 1
    alpha, beta = (1 + slope * torch.nn.functional.softplus(output[0])).tolist()
    law = stats.beta(alpha, beta, loc=-1, scale=2)
    assert stats.kstest(actions.numpy(), law.cdf).pvalue > 0.01
    assert family.act(output, None)[0].item() == pytest.approx(law.mean(), rel=1e-5)


def test_betas_actions_stay_off_the_ends_where_a_density_may_be_0():
    family, output = Betas(1, 1.7), torch.tensor([[1e9, -1e9], [-1e9, 1e9]])
    actions = family.act(output, None)
    assert actions.abs().max() < 1
    assert family(output).log_prob(actions).isfinite().all()


def test_betas_density_entropy_and_kl_are_those_of_the_interval():
    """Each against the integral that it stands for."""
    output = torch.tensor([[0.5, -1.0], [2.0, 1.0]], dtype=torch.float64)
    p, q = (Betas(1, 3.2)(row[None]) for row in output)
    # points crowd at ±1, where densities rise steeply
    x = -torch.linspace(0, math.pi, 200_001, dtype=torch.float64).cos()[1:-1, None]
    log_p, log_q = p.log_prob(x), q.log_prob(x)

    def expectation(values):
        return torch.trapezoid(log_p.exp() * values, x[:, 0]).item()

    assert expectation(torch.ones_like(log_p)) == pytest.approx(1, rel=1e-6)
    assert p.entropy().item() == pytest.approx(expectation(-log_p), rel=1e-6)
    assert kl_divergence(p, q).item() == pytest.approx(expectation(log_p - log_q), rel=1e-6)


@pytest.mark.parametrize(
    ("high", "box", "family"),
    [
        (1.0, {}, Betas),
        (math.inf, {}, Gaussian),
        (1.0, {"distribution": "gaussian"}, Gaussian),
        (1.0, {"initial_log_std": -0.5}, Gaussian),
        (1.0, {"log_std": "state"}, StateGaussian),
    ],
)
def test_auto_is_beta_where_there_are_bounds_and_no_word_of_gaussians(high, box, family):
    space = gym.spaces.Box(-high, high, (2,))
    policy = make_policy(flat_features(3), space, PolicyConfig(**box), torch.Generator())
    assert type(policy.family) is family


@pytest.mark.parametrize("concentration", [1.7, 7.2, 100.0])
def test_a_beta_begins_at_its_initial_concentration(concentration):
    config = PolicyConfig(initial_concentration=concentration)
    policy = make_policy(
        flat_features(3), gym.spaces.Box(-1, 1, (2,)), config, torch.Generator().manual_seed(0)
    )
    beta = policy.distribution(policy.network(torch.zeros(1, 3))).base_dist
    expected = torch.full((1, 2), concentration)
    assert torch.allclose(beta.concentration1, expected)
    assert torch.allclose(beta.concentration0, expected)
    assert torch.allclose(beta.stddev, (1 + 2 * expected).rsqrt())


def test_by_default_a_beta_begins_at_one_and_softplus_of_0():
    """As every run of format 15 and before did, to the bit: of whole outputs, as theirs were."""
    family = make_family(gym.spaces.Box(-1, 1, (2,)), PolicyConfig())
    beta = family(z := torch.randn(5, 4)).base_dist
    assert torch.equal(beta.concentration1, 1 + torch.nn.functional.softplus(z)[:, :2])


@pytest.mark.parametrize("concentration", [1.0, math.nan, math.inf])
def test_a_beta_without_a_peak_is_refused(concentration):
    with pytest.raises(ConfigError, match=r"initial_concentration = .*in \(1, 10000\]"):
        PolicyConfig(initial_concentration=concentration)


def test_beta_contradicts_a_deviation_of_the_states():
    with pytest.raises(ConfigError, match=r"distribution = 'beta' .*with log_std state"):
        PolicyConfig(distribution="beta", log_std="state")


def test_beta_needs_bounds():
    space = gym.spaces.Dict({"force": gym.spaces.Box(-math.inf, math.inf, (2,))})
    with pytest.raises(ConfigError, match="expected gaussian where a Box is unbounded"):
        make_policy(flat_features(3), space, PolicyConfig(distribution="beta"), torch.Generator())


@pytest.mark.parametrize("engine", ["envpool", "gymnasium"])
def test_beta_learns_within_its_limit(engine):
    trainer = make_trainer(
        "Pendulum-v1", engine, policy=PolicyConfig(hidden=(16,), distribution="beta")
    )
    records = run(trainer, 3)
    assert all(0 < record.metrics["update/mean_kl"] <= 0.02 for record in records)
    assert trainer.rollout.actions.abs().max() < 1


@pytest.mark.parametrize(
    "box", [{"distribution": "gaussian"}, {"log_std": "state"}, {"distribution": "beta"}], ids=str
)
@pytest.mark.parametrize("name", ["box", "joint", "discrete"])
def test_the_mean_entropy_is_measured_and_the_deviation_where_there_is_one(name, box):
    generator = torch.Generator().manual_seed(0)
    config = PolicyConfig(hidden=(6,), **box)
    features = flat_features(OBSERVATION_SIZE)
    policy = make_policy(features, ACTION_SPACES[name], config, generator)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    states = torch.randn(30, OBSERVATION_SIZE, generator=generator)
    metrics = policy.metrics(policy.outputs(states, 8))
    distribution = policy.distribution(policy.network(states))
    entropy = distribution.entropy().mean().item()
    assert metrics["policy/entropy"] == pytest.approx(entropy, rel=1e-5)
    if name == "discrete":
        assert set(metrics) == {"policy/entropy"}
        return
    of_the_box = distribution if name == "box" else distribution.parts[1]
    assert metrics["policy/std"] == pytest.approx(of_the_box.stddev.mean().item(), rel=1e-6)


def test_an_initial_deviation_out_of_bounds_is_refused():
    with pytest.raises(ConfigError, match=r"initial_log_std = -6.0 .*with log_std state"):
        PolicyConfig(initial_log_std=-6.0, log_std="state")
