"""What the studies rest on, in float64: scores, Fisher matrices, the loss Hessian."""

import pytest
import torch
from torch.distributions import Categorical

from trpo.fisher import fisher_vector_product
from trpo.measurement import measure_against_present
from trpo.model import Model, surrogate_gradient
from trpo.parameters import assign, flatten
from trpo.reference import (
    dense_fisher,
    double_backward_product,
    empirical_fisher_product,
    hessian_vector_product,
    materialize,
    mean_kl,
    score_moments,
)

STATES, CLASSES = 12, 4


def make_model(seed: int) -> tuple[Model, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A categorical network, states with targets that the model did not draw, and θ."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, CLASSES)
    ).double()
    model = Model(
        list(network.parameters()),
        lambda microbatch: (network(microbatch[0]),),
        lambda logits: Categorical(logits=logits),
    )
    microbatch = (torch.randn(STATES, 3, dtype=torch.float64), torch.randint(CLASSES, (STATES,)))
    return model, microbatch, flatten(model.parameters).detach()


def log_likelihood(distribution, microbatch):
    return distribution.log_prob(microbatch[1])


def dense_empirical_fisher(model, log_likelihood, microbatches):
    """`empirical_fisher_product`'s slow twin: the scores' mean outer product, sample by sample."""
    terms = torch.cat([
        log_likelihood(model.family(*model.outputs(microbatch)), microbatch)
        for microbatch in microbatches
    ])
    scores = torch.stack([
        flatten(torch.autograd.grad(term, model.parameters, retain_graph=True)) for term in terms
    ])
    return scores.T @ scores / len(scores)


@pytest.mark.parametrize("seed", range(5))
def test_fisher_three_ways(seed):
    model, microbatch, theta = make_model(seed)
    _, scores = score_moments(model, [microbatch])
    kl_hessian = materialize(double_backward_product(model, [microbatch]), theta)
    JtMJ = dense_fisher(model, [microbatch])
    cached = materialize(fisher_vector_product(model, [microbatch]), theta)
    for twin in (scores, kl_hessian, cached):
        assert (twin - JtMJ).abs().max() < 1e-10


@pytest.mark.parametrize("seed", range(5))
def test_mean_score_is_zero_and_its_covariance_is_fisher(seed):
    model, microbatch, _ = make_model(seed)
    mean, second_moment = score_moments(model, [microbatch])
    assert mean.abs().max() < 1e-14
    assert (
        second_moment - torch.outer(mean, mean) - dense_fisher(model, [microbatch])
    ).abs().max() < 1e-10
    _, loss_gradient = surrogate_gradient(model, log_likelihood, [microbatch])
    assert loss_gradient.norm() > 1e-2  # the other gradient, which knows the targets


def test_half_the_quadratic_form_is_kl_to_first_order_in_d():
    """½dᵀFd / KL − 1 is linear in d: KL's third derivative does not vanish."""
    model, microbatch, theta = make_model(0)
    F, d = dense_fisher(model, [microbatch]), torch.randn(len(theta), dtype=torch.float64)
    measure = measure_against_present(model, log_likelihood, [microbatch])
    errors = []
    for t in (1e-2, 1e-3, 1e-4):
        assign(model.parameters, theta + t * d)
        errors.append(abs(0.5 * t * t * (d @ F @ d).item() / measure().mean_kl - 1))
    assert errors[0] < 0.1
    assert errors[1] / errors[0] == pytest.approx(0.1, rel=0.2)
    assert errors[2] / errors[1] == pytest.approx(0.1, rel=0.2)


def test_fisher_is_semi_definite_and_the_loss_hessian_is_not():
    model, microbatch, theta = make_model(0)
    F = torch.linalg.eigvalsh(materialize(fisher_vector_product(model, [microbatch]), theta))
    H = torch.linalg.eigvalsh(
        -materialize(hessian_vector_product(model, log_likelihood, [microbatch]), theta)
    )
    assert F[0] > -1e-12
    assert F[-1] > 0.1
    assert H[0] < -1e-2
    assert H[-1] > 0.1


def test_empirical_fisher_equals_its_slow_twin_and_is_not_fisher():
    model, microbatch, theta = make_model(1)
    empirical = dense_empirical_fisher(model, log_likelihood, [microbatch])
    product = empirical_fisher_product(model, log_likelihood, [microbatch])
    assert torch.allclose(materialize(product, theta), empirical, atol=1e-12)
    halves = [tuple(x[:5] for x in microbatch), tuple(x[5:] for x in microbatch)]
    assert torch.allclose(
        materialize(empirical_fisher_product(model, log_likelihood, halves), theta),
        empirical,
        atol=1e-12,
    )
    assert torch.allclose(
        dense_empirical_fisher(model, log_likelihood, halves), empirical, atol=1e-12
    )
    assert (empirical - dense_fisher(model, [microbatch])).abs().max() > 1e-2


def test_empirical_fisher_is_fisher_on_average_when_the_model_draws_the_targets():
    """Averaged over all the targets there could be, each with its probability, F̂ is F."""
    model, (states, _), theta = make_model(2)
    states = states[:2]
    probabilities = model.family(*model.outputs((states,))).probs.detach()
    expected = torch.zeros(2 * [len(theta)], dtype=torch.float64)
    for first in range(CLASSES):
        for second in range(CLASSES):
            weight = probabilities[0, first] * probabilities[1, second]
            expected += weight * dense_empirical_fisher(
                model, log_likelihood, [(states, torch.tensor([first, second]))]
            )
    assert torch.allclose(expected, dense_fisher(model, [(states,)]), atol=1e-12)


def test_hessian_product_equals_autograd_in_full():
    model, microbatch, theta = make_model(3)
    product = hessian_vector_product(model, log_likelihood, [microbatch])

    def loss(flat):
        shapes = [p.shape for p in model.parameters]
        w1, b1, w2, b2 = (
            x.view(s) for x, s in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)
        )
        logits = torch.tanh(microbatch[0] @ w1.T + b1) @ w2.T + b2
        return log_likelihood(Categorical(logits=logits), microbatch).mean()

    assert torch.allclose(
        materialize(product, theta), torch.autograd.functional.hessian(loss, theta), atol=1e-12
    )
    halves = [tuple(x[:5] for x in microbatch), tuple(x[5:] for x in microbatch)]
    v = torch.randn(len(theta), dtype=torch.float64)
    assert torch.allclose(
        hessian_vector_product(model, log_likelihood, halves)(v), product(v), atol=1e-12
    )


def test_a_parameter_that_nothing_uses_has_no_curvature():
    model, microbatch, theta = make_model(4)
    larger = Model(
        [*model.parameters, torch.zeros(2, dtype=torch.float64, requires_grad=True)],
        model.outputs,
        model.family,
    )
    v = torch.ones(len(theta) + 2, dtype=torch.float64)
    for product in (
        hessian_vector_product(larger, log_likelihood, [microbatch])(v),
        empirical_fisher_product(larger, log_likelihood, [microbatch])(v),
    ):
        assert torch.equal(product[-2:], torch.zeros(2, dtype=torch.float64))
        assert product[:-2].norm() > 0


def test_mean_kl_of_two_models_is_what_training_measures():
    model, microbatch, theta = make_model(0)
    other, _, _ = make_model(0)
    measure = measure_against_present(model, log_likelihood, [microbatch])
    step = 0.1 * torch.randn(len(theta), dtype=torch.float64)
    assign(model.parameters, theta + step)
    assert mean_kl(other, model, [microbatch]) == pytest.approx(measure().mean_kl, rel=1e-12)
    assert mean_kl(model, other, [microbatch]) == pytest.approx(
        measure().mean_reverse_kl, rel=1e-12
    )
    assert mean_kl(model, model, [microbatch]) == 0
