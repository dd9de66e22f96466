"""Each update rule against a plain version of itself in float64; all by one measurement."""

import copy
import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch.distributions import kl_divergence

from tests.helpers import ACTION_SPACES, OBSERVATION_SIZE, flat_parameters, make_problem
from trpo.agents.algorithms import make_update_rule
from trpo.agents.config import Algorithm, LearnerConfig
from trpo.agents.updates.npg import Npg, NpgConfig
from trpo.agents.updates.ppo import Ppo, PpoConfig, clipped_surrogate
from trpo.agents.updates.trpo import States, Trpo, TrpoConfig
from trpo.agents.updates.update_rule import importance_weighted_advantage
from trpo.agents.updates.vpg import OPTIMIZERS, OptimizerName, Vpg, VpgConfig
from trpo.reference import dense_fisher
from trpo.report import Status
from trpo.validation import ConfigError

ALGORITHMS = get_args(Algorithm)
MICROBATCH = 17  # so that the batch of 40 comes in three


def generator():
    return torch.Generator().manual_seed(1)


def gradient(loss, policy):
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(policy.parameters()))])


def surrogate(policy, batch):
    return importance_weighted_advantage(
        policy.distribution(policy.network(batch.observations)), batch
    ).mean()


def test_the_registry_has_every_name():
    """Each makes the rule that is called so."""
    policy = make_problem(ACTION_SPACES["box"], ()).policy
    for name in ALGORITHMS:
        rule = make_update_rule(policy, LearnerConfig(algorithm=name))
        assert type(rule).__name__.lower() == name


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_reported_is_what_happened(problem, algorithm):
    policy, batch = problem.policy, problem.batch
    before, theta_old, g = (
        copy.deepcopy(policy),
        flat_parameters(policy),
        gradient(surrogate(policy, batch), policy),
    )
    report = make_update_rule(policy, LearnerConfig(algorithm=algorithm))(batch, generator())
    with torch.no_grad():
        old, new = (
            each.distribution(each.network(batch.observations)) for each in (before, policy)
        )
        kl = kl_divergence(old, new)
        assert report.status is Status.ACCEPTED
        assert report.mean_kl == pytest.approx(kl.mean().item(), rel=1e-9, abs=1e-15)
        assert report.max_state_kl == pytest.approx(kl.max().item(), rel=1e-9)
        assert report.mean_reverse_kl == pytest.approx(
            kl_divergence(new, old).mean().item(), rel=1e-9
        )
        assert report.surrogate_before == pytest.approx(batch.advantages.mean().item(), abs=1e-12)
        assert report.surrogate_after == pytest.approx(surrogate(policy, batch).item(), rel=1e-9)
    step = flat_parameters(policy) - theta_old
    assert report.step_norm == pytest.approx(step.norm().item(), rel=1e-9)
    assert report.gradient_norm == pytest.approx(g.norm().item(), rel=1e-9)
    assert report.predicted_gain == pytest.approx((g @ step).item(), rel=1e-9)
    assert report.mean_kl > 0


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_the_policy_gradient_is_that_of_the_plain_loss(problem, optimizer):
    twin = copy.deepcopy(problem.policy)
    plain = OPTIMIZERS[optimizer](list(twin.parameters()), 0.05)
    rule = Vpg(problem.policy, VpgConfig(optimizer, learning_rate=0.05), MICROBATCH)
    for _ in range(3):  # so that moments matter
        rule(problem.batch, generator())
        distribution = twin.distribution(twin.network(problem.batch.observations))
        plain.zero_grad()
        (-distribution.log_prob(problem.batch.actions) * problem.batch.advantages).mean().backward()
        plain.step()
    torch.testing.assert_close(
        flat_parameters(problem.policy), flat_parameters(twin), rtol=1e-10, atol=1e-12
    )


def test_the_first_step_of_all_is_along_one_gradient(problem):
    """At θ_old the ratio is 1: the three surrogates have the same gradient."""
    policy, batch = problem.policy, problem.batch
    distribution = policy.distribution(policy.network(batch.observations))
    g = gradient((distribution.log_prob(batch.actions) * batch.advantages).mean(), policy)
    torch.testing.assert_close(gradient(surrogate(policy, batch), policy), g)
    distribution = policy.distribution(policy.network(batch.observations))
    torch.testing.assert_close(
        gradient(clipped_surrogate(distribution, batch, 0.2).mean(), policy), g
    )


@pytest.mark.parametrize("scaling", ["kl", "fixed"])
def test_the_natural_step_solves_with_the_dense_fisher(problem, scaling):
    policy, batch = problem.policy, problem.batch
    theta_old, g = flat_parameters(policy), gradient(surrogate(policy, batch), policy)
    A = dense_fisher(policy.model(), [batch])
    A += 0.1 * torch.eye(len(A), dtype=A.dtype)
    x = torch.linalg.solve(A, g)
    alpha = math.sqrt(2 * 0.01 / (x @ A @ x)) if scaling == "kl" else 0.3
    report = Npg(
        policy, NpgConfig(scaling, target_kl=0.01, step_size=0.3, cg_iterations=300), MICROBATCH
    )(batch, generator())
    torch.testing.assert_close(flat_parameters(policy) - theta_old, alpha * x, rtol=1e-3, atol=3e-6)
    assert report.curvature == pytest.approx(
        (x @ (A - 0.1 * torch.eye(len(A), dtype=A.dtype)) @ x).item(), rel=1e-4
    )


def test_trpo_is_the_natural_step_with_its_length_checked(problem):
    twin = copy.deepcopy(problem.policy)
    report = Trpo(problem.policy, TrpoConfig(max_kl=0.01), MICROBATCH)(problem.batch, generator())
    theta_old = flat_parameters(twin)
    Npg(twin, NpgConfig(target_kl=0.01), MICROBATCH)(problem.batch, generator())
    natural, checked = (
        flat_parameters(twin) - theta_old,
        flat_parameters(problem.policy) - theta_old,
    )
    torch.testing.assert_close(checked, report.step_fraction * natural, rtol=1e-6, atol=1e-9)


def test_an_entropy_bonus_is_a_part_of_the_surrogate(problem):
    """The step is the natural one of L + c·E[H], by autograd and a dense F."""
    policy, batch, c = problem.policy, problem.batch, 0.3
    entropy = policy.distribution(policy.network(batch.observations)).entropy().mean()
    g, theta_old = gradient(surrogate(policy, batch) + c * entropy, policy), flat_parameters(policy)
    F = dense_fisher(policy.model(), [batch])
    x = torch.linalg.solve(F + 0.1 * torch.eye(len(F)).double(), g)
    config = TrpoConfig(entropy_bonus=c, step_size=1e-3, cg_iterations=500, cg_tolerance=1e-12)
    report = Trpo(policy, config, MICROBATCH)(batch, generator())
    torch.testing.assert_close(flat_parameters(policy) - theta_old, 1e-3 * x, rtol=1e-5, atol=1e-10)
    expected = batch.advantages.mean().item() + c * entropy.item()
    assert report.surrogate_before == pytest.approx(expected, abs=1e-12)


def test_half_way_through_a_run_trpos_step_is_that_of_smaller_limits(problem):
    """Of both: δ where η = inf, and η where δ lets it be."""
    for step_size in (math.inf, 1e-3):
        policy, twin = copy.deepcopy(problem.policy), copy.deepcopy(problem.policy)
        annealed = Trpo(policy, TrpoConfig(step_size=step_size, anneal_to=0.28), MICROBATCH)
        annealed.progress = 0.5
        metrics = annealed.metrics(annealed(problem.batch, generator()))
        smaller = TrpoConfig(max_kl=0.64 * 0.02, step_size=0.8 * step_size, anneal_to=1)
        Trpo(twin, smaller, MICROBATCH)(problem.batch, generator())
        torch.testing.assert_close(flat_parameters(policy), flat_parameters(twin))
        assert metrics["trust_region/max_kl"] == pytest.approx(0.64 * 0.02)


@pytest.mark.parametrize("stride", [1, 3])
def test_trpo_remembers_the_states_of_updates_before(problem, stride):
    """The second step is that of a dense F over its states and a share of the first's."""
    config = TrpoConfig(
        memory=4, fisher_stride=stride, step_size=1e-3, cg_iterations=500, cg_tolerance=1e-12
    )
    policy, batch = problem.policy, problem.batch
    rule = Trpo(policy, config, MICROBATCH)
    rule(batch, generator())
    ((remembered,),) = rule.remembered
    assert len(remembered) == 5
    assert all((batch.observations == state).all(dim=1).any() for state in remembered)

    second = replace(batch, observations=batch.observations + 0.1, deviation=0.5)
    second = replace(
        second,
        log_probs=policy
        .distribution(policy.network(second.observations))
        .log_prob(batch.actions)
        .detach(),
    )
    g, theta_old = gradient(surrogate(policy, second), policy), flat_parameters(policy)
    states = torch.cat([second.observations, remembered])[::stride]
    F = dense_fisher(policy.model(), [States(states)])
    x = torch.linalg.solve(F + config.damping * torch.eye(len(F)).double(), 0.5 * g)
    assert rule(second, generator()).step_fraction == 1
    torch.testing.assert_close(flat_parameters(policy) - theta_old, 1e-3 * x, rtol=1e-5, atol=1e-10)
    for _ in range(5):
        rule(second, generator())
    assert len(rule.remembered) == 4


def test_states_of_another_environment_are_refused(problem_of):
    problem = problem_of(ACTION_SPACES["box"], ())
    rule = Trpo(problem.policy, TrpoConfig(), MICROBATCH)
    with pytest.raises(ConfigError, match="update rule has no 'step'"):
        rule.load_state_tensors({"step": torch.zeros(1)})
    rule.load_state_tensors({"0.0": torch.zeros(3, OBSERVATION_SIZE + 1, dtype=torch.float64)})
    with pytest.raises(ConfigError, match="states are not those of this environment"):
        rule(problem.batch, generator())


def test_ppo_is_adam_on_the_clipped_surrogate_sample_by_sample(problem_of, action_space):
    problem = problem_of(action_space, (6,))
    batch, twin = problem.batch, copy.deepcopy(problem.policy)
    config = PpoConfig(learning_rate=0.03, epochs=3, minibatch_size=16, max_gradient_norm=0.05)
    Ppo(problem.policy, config, MICROBATCH)(batch, generator())

    adam, shuffles, clipped = torch.optim.Adam(twin.parameters(), 0.03, eps=1e-5), generator(), 0
    for _ in range(3):
        order = torch.randperm(len(batch), generator=shuffles).tolist()
        for start in range(0, len(batch), 16):
            terms = []
            for i in order[start : start + 16]:
                sample = batch.rows(slice(i, i + 1))
                log_prob = twin.distribution(twin.network(sample.observations)).log_prob(
                    sample.actions
                )
                ratio, advantage = torch.exp(log_prob - sample.log_probs), sample.advantages.item()
                outside = ratio.item() > 1.2 if advantage > 0 else ratio.item() < 0.8
                clipped += outside
                terms.append(
                    (1.2 if advantage > 0 else 0.8) * advantage + 0 * ratio
                    if outside
                    else ratio * advantage
                )
            adam.zero_grad()
            (-torch.cat(terms).mean()).backward()
            gradients = [parameter.grad for parameter in twin.parameters()]
            norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
            for g in gradients:
                g *= min(1.0, 0.05 / (norm + 1e-6))
            adam.step()
    assert clipped > 0
    torch.testing.assert_close(
        flat_parameters(problem.policy), flat_parameters(twin), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_not_finite_moves_nothing(problem, algorithm):
    before = flat_parameters(problem.policy)
    problem.batch.advantages[3] = math.nan
    report = make_update_rule(problem.policy, LearnerConfig(algorithm=algorithm))(
        problem.batch, generator()
    )
    assert report.status is Status.NON_FINITE
    assert torch.equal(flat_parameters(problem.policy), before)


@pytest.mark.parametrize("rule", [Vpg, Ppo])
def test_a_step_out_of_the_numbers_is_put_back(problem_of, action_space, rule):
    problem = problem_of(action_space, (6,))
    before = flat_parameters(problem.policy)
    config = (
        VpgConfig("sgd", learning_rate=1e308) if rule is Vpg else PpoConfig(learning_rate=1e308)
    )
    problem.batch.advantages.mul_(1e3)
    report = rule(problem.policy, config, MICROBATCH)(problem.batch, generator())
    assert report.status is Status.NON_FINITE
    assert report.mean_kl == 0.0
    assert torch.equal(flat_parameters(problem.policy), before)


@pytest.mark.parametrize(
    "learner", [LearnerConfig(algorithm="ppo"), LearnerConfig(algorithm="vpg")]
)
@pytest.mark.parametrize("before", [0, 2])
def test_a_step_that_is_put_back_leaves_the_optimizer_as_it_was(
    problem_of, action_space, learner, before
):
    """Else its moments would be NaN from then on."""
    one, other = (problem_of(action_space, (6,)) for _ in range(2))
    rules = [make_update_rule(problem.policy, learner) for problem in (one, other)]
    for _ in range(before):
        for rule, problem in zip(rules, (one, other), strict=True):
            rule(problem.batch, generator())
    for group in rules[0].optimizer.param_groups:
        group["lr"] = 1e308
    mild = [group["lr"] for group in rules[1].optimizer.param_groups]
    assert rules[0](one.batch, generator()).status is Status.NON_FINITE
    rules[0].optimizer.param_groups[0]["lr"] = mild[0]
    reports = [
        rule(problem.batch, generator()) for rule, problem in zip(rules, (one, other), strict=True)
    ]
    assert reports[0] == reports[1]
    assert reports[0].status is Status.ACCEPTED
    assert torch.equal(flat_parameters(one.policy), flat_parameters(other.policy))


def test_the_state_of_another_optimizer_is_refused(problem_of):
    """Of another kind, and of another policy's parameters."""
    small, large = (problem_of(ACTION_SPACES["box"], hidden) for hidden in ((), (6,)))
    adam = Vpg(small.policy, VpgConfig("adam"), MICROBATCH)
    adam(small.batch, generator())
    for other in (
        Vpg(small.policy, VpgConfig("rmsprop"), MICROBATCH),
        Vpg(large.policy, VpgConfig("adam"), MICROBATCH),
    ):
        with pytest.raises(ConfigError, match="optimizer is not that of the configuration"):
            other.load_state_tensors(adam.state_tensors())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_interrupted_update_is_put_back(problem_of, action_space, algorithm, error, monkeypatch):
    """Policy and optimizer: raised at the measurement of what the update did."""
    one, other = (problem_of(action_space, (6,)) for _ in range(2))
    learner = LearnerConfig(algorithm=algorithm)
    rules = [make_update_rule(problem.policy, learner) for problem in (one, other)]
    before, family = flat_parameters(one.policy), one.policy.family.forward

    def interrupted(*eta):
        if not torch.equal(flat_parameters(one.policy), before):
            raise error
        return family(*eta)

    with monkeypatch.context() as patch:
        patch.setattr(one.policy.family, "forward", interrupted)
        rules[0].model = one.policy.model()
        with pytest.raises(error):
            rules[0](one.batch, generator())
    assert torch.equal(flat_parameters(one.policy), before)
    rules[0].model = one.policy.model()
    reports = [
        rule(problem.batch, generator()) for rule, problem in zip(rules, (one, other), strict=True)
    ]
    assert reports[0] == reports[1]
    assert torch.equal(flat_parameters(one.policy), flat_parameters(other.policy))


@pytest.mark.parametrize("config", [NpgConfig(), NpgConfig("fixed")])
def test_the_natural_gradient_of_nothing_is_no_step(problem, config):
    before = flat_parameters(problem.policy)
    problem.batch.advantages.zero_()
    assert (
        Npg(problem.policy, config, MICROBATCH)(problem.batch, generator()).status
        is Status.ZERO_GRADIENT
    )
    assert torch.equal(flat_parameters(problem.policy), before)
