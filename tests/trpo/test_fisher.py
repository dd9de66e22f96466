"""The Fisher matrix by two cached graphs, by double backward, in full, and from scores."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import (
    Beta,
    Categorical,
    Dirichlet,
    Gamma,
    Independent,
    MultivariateNormal,
    Normal,
)

from tests.helpers import ACTION_SPACES, flat_parameters, make_problem
from trpo.agents.policies import Policy
from trpo.agents.updates.batch import Batch
from trpo.fisher import fisher_vector_product
from trpo.model import Model, keep_linearizations
from trpo.reducer import SERIAL
from trpo.reference import dense_fisher, double_backward_product


def random_vector(size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_product_equals_its_slow_twins(problem):
    model, microbatches = problem.policy.model(), [problem.batch]
    F = dense_fisher(model, microbatches)
    product, twin = (
        fisher_vector_product(model, microbatches),
        double_backward_product(model, microbatches),
    )
    for seed in range(3):  # the graphs are kept: more than one product must come out right
        v = random_vector(len(F), seed)
        assert torch.allclose(product(v), F @ v, rtol=1e-10, atol=1e-10)
        assert torch.allclose(product(v), twin(v), rtol=1e-10, atol=1e-10)


def test_product_by_hand_equals_autograds(problem):
    """The policies' own linearization and closed forms of M, against autograd's two graphs."""
    by_hand = problem.policy.model()
    by_autograd = replace(by_hand, linearize=None, family_fisher=None)
    v = random_vector(len(flat_parameters(problem.policy)))
    products = [
        fisher_vector_product(model, [problem.batch])(v) for model in (by_hand, by_autograd)
    ]
    assert torch.allclose(*products, rtol=1e-12, atol=1e-12)


def test_kept_linearizations_are_of_theta_and_microbatches(problem):
    model, microbatches = problem.policy.model(), [problem.batch]
    at_old = keep_linearizations(model, microbatches)
    assert at_old.linearization_at(microbatches[0]) is at_old.linearization_at(microbatches[0])
    v = random_vector(len(flat_parameters(problem.policy)))
    assert torch.equal(
        fisher_vector_product(at_old, microbatches)(v),
        fisher_vector_product(model, microbatches)(v),
    )
    assert (
        keep_linearizations(model, 2 * microbatches) is model
    )  # more than one a thread: only as many as work is done on


def test_fisher_is_symmetric_and_positive_semi_definite(problem):
    F = dense_fisher(problem.policy.model(), [problem.batch])
    assert torch.allclose(F, F.T, atol=1e-12)
    assert torch.linalg.eigvalsh(F)[0] > -1e-12


def test_microbatches_make_no_difference(action_space):
    problem = make_problem(action_space, (6,))
    model, batch = problem.policy.model(), problem.batch
    v = random_vector(len(flat_parameters(problem.policy)))
    whole = fisher_vector_product(model, [batch])(v)
    for size in (7, 16, 39):
        assert torch.allclose(
            fisher_vector_product(model, batch.microbatches(size, SERIAL))(v),
            whole,
            rtol=1e-12,
            atol=1e-14,
        )
        assert torch.allclose(
            double_backward_product(model, batch.microbatches(size, SERIAL))(v),
            whole,
            rtol=1e-12,
            atol=1e-14,
        )
        assert torch.allclose(
            dense_fisher(model, batch.microbatches(size, SERIAL)) @ v, whole, rtol=1e-12, atol=1e-12
        )


def test_fisher_is_the_expected_outer_product_of_scores():
    """F = E_s E_{a∼π}[∇log π ∇log πᵀ], the expectation over actions taken exactly."""
    problem = make_problem(ACTION_SPACES["discrete"], (4,), size=6)
    policy, batch = problem.policy, problem.batch
    parameters = list(policy.parameters())
    F = torch.zeros(2 * [len(flat_parameters(policy))], dtype=torch.float64)
    for s in range(len(batch)):
        distribution = policy.distribution(policy.network(batch.observations[s : s + 1]))
        for action in range(4):
            log_prob = distribution.log_prob(torch.tensor([[action]]))
            score = torch.cat([
                g.reshape(-1)
                for g in torch.autograd.grad(log_prob.sum(), parameters, retain_graph=True)
            ])
            F += log_prob.exp().item() * torch.outer(score, score) / len(batch)
    assert torch.allclose(dense_fisher(policy.model(), [batch]), F, atol=1e-12)


def test_log_std_is_among_the_parameters_and_its_block_is_2_per_dimension():
    problem = make_problem(ACTION_SPACES["box"], (6,))
    (name, log_std), *_ = problem.policy.named_parameters()
    assert name == "family.log_std"
    assert len(log_std) == 3
    block = dense_fisher(problem.policy.model(), [problem.batch])[:3, :3]
    assert torch.allclose(block, 2 * torch.eye(3, dtype=torch.float64), atol=1e-12)


def test_kl_is_summed_over_action_dimensions():
    """One state, unit variance, mean = θ: F = I; averaging over dimensions would give I/3."""
    theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    problem = make_problem(ACTION_SPACES["box"], ())
    model = Model(
        [theta],
        lambda microbatch: (theta.expand(1, 3), torch.zeros(3, dtype=torch.float64)),
        problem.policy.family,
    )
    assert torch.allclose(
        dense_fisher(model, [None]), torch.eye(3, dtype=torch.float64), atol=1e-12
    )
    assert torch.allclose(
        fisher_vector_product(model, [None])(torch.ones(3).double()),
        torch.ones(3).double(),
        atol=1e-12,
    )


def positive(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.softplus(x) + 0.1


FAMILIES = {
    "beta": (4, lambda e: Independent(Beta(positive(e[:, :2]), positive(e[:, 2:])), 1)),
    "gamma": (2, lambda e: Gamma(positive(e[:, 0]), positive(e[:, 1]))),
    "dirichlet": (3, lambda e: Dirichlet(positive(e))),
    "categorical": (3, lambda e: Categorical(logits=e)),
    "correlated normal": (
        2,
        lambda e: MultivariateNormal(e, scale_tril=torch.tensor([[1.0, 0.0], [0.7, 0.5]]).double()),
    ),
    "state-dependent deviation": (4, lambda e: Independent(Normal(e[:, :2], e[:, 2:].exp()), 1)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_any_torch_family_with_a_registered_kl(name):
    outputs, family = FAMILIES[name]
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, outputs)
    ).double()
    model = Model(list(network.parameters()), lambda states: (network(states),), family)
    states = torch.randn(9, 3, dtype=torch.float64)
    F = dense_fisher(model, [states])
    v = random_vector(len(F))
    assert F.norm() > 1e-3
    assert torch.allclose(fisher_vector_product(model, [states])(v), F @ v, rtol=1e-9, atol=1e-10)
    assert torch.allclose(double_backward_product(model, [states])(v), F @ v, rtol=1e-9, atol=1e-10)


def test_a_parameter_that_the_policy_does_not_use_has_no_curvature():
    problem = make_problem(ACTION_SPACES["discrete"], (4,))
    model = problem.policy.model()
    idle = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    larger = Model([*model.parameters, idle], model.outputs, model.family)
    v = random_vector(len(flat_parameters(problem.policy)) + 2)
    product = fisher_vector_product(larger, [problem.batch])(v)
    assert torch.equal(product[-2:], torch.zeros(2, dtype=torch.float64))
    assert torch.allclose(product[:-2], fisher_vector_product(model, [problem.batch])(v[:-2]))


def test_half_the_quadratic_form_is_kl_to_second_order(problem):
    """½ dᵀFd / KL → 1, its error shrinking with the first power of d at least."""
    policy, batch = problem.policy, problem.batch
    F, d = (
        fisher_vector_product(policy.model(), [batch]),
        random_vector(len(flat_parameters(policy))),
    )
    quadratic = 0.5 * (d @ F(d)).item()
    theta = flat_parameters(policy)
    errors = []
    for t in (1e-2, 1e-3):
        kl = kl_at(policy, batch, theta, t * d)
        errors.append(abs(kl / (t * t * quadratic) - 1))
    assert errors[1] < 0.2 * errors[0] + 1e-6
    assert errors[1] < 1e-2


def kl_at(policy: Policy, batch: Batch, theta: torch.Tensor, step: torch.Tensor) -> float:
    with torch.no_grad():
        eta_old = [e.clone() for e in policy.eta(policy.network(batch.observations))]
        torch.nn.utils.vector_to_parameters(theta + step, policy.parameters())
        new = policy.distribution(policy.network(batch.observations))
        kl = torch.distributions.kl_divergence(policy.family(*eta_old), new).mean().item()
        torch.nn.utils.vector_to_parameters(theta, policy.parameters())
    return kl
