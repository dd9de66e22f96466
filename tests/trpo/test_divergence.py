"""KL in float32 against float64, where torch's own is infinite, and where δ is small."""

import math

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Distribution,
    Independent,
    Normal,
    kl,
)

from trpo.divergence import kl_divergence
from trpo.fisher import fisher_vector_product
from trpo.measurement import measure_against_present
from trpo.model import Model
from trpo.reference import dense_fisher, double_backward_product
from trpo.report import Status
from trpo.trust_region import TrustRegionConfig, trust_region_step

GAPS = [0.0, 1e-3, 1.0, 50.0, 87.0, 104.0, 120.0, 700.0, 800.0, 1e4]
SIGNED = torch.tensor(sorted({sign * gap for gap in GAPS for sign in (-1, 1)}))
PAIRS = torch.cartesian_prod(SIGNED, SIGNED).unbind(1)  # a logit gap of p, and one of q


def categorical(gap: torch.Tensor) -> Distribution:
    return Categorical(logits=torch.stack([gap, torch.zeros_like(gap)], dim=-1))


def categorical_by_hand(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Of two choices: the Bernoulli's, σ(p)(log σ(p) − log σ(q)) + σ(−p)(log σ(−p) − log σ(−q))."""
    log = torch.nn.functional.logsigmoid
    return torch.sigmoid(p) * (log(p) - log(q)) + torch.sigmoid(-p) * (log(-p) - log(-q))


FAMILIES = {"categorical": categorical, "bernoulli": lambda gap: Bernoulli(logits=gap)}


@pytest.mark.parametrize("name", FAMILIES)
def test_right_in_float32_at_every_logit_gap(name):
    p, q = PAIRS
    expected = categorical_by_hand(p.double(), q.double())
    found = kl_divergence(FAMILIES[name](p), FAMILIES[name](q))
    assert expected.max() > 9_999
    assert found.isfinite().all()
    assert torch.allclose(found.double(), expected, rtol=2e-6, atol=1e-7)
    registered = kl.kl_divergence(FAMILIES[name](p), FAMILIES[name](q))
    assert registered.isinf().any()  # why this function is there


def test_torchs_own_is_infinite_from_a_logit_gap_of_104():
    near, far = (categorical(torch.tensor(gap)) for gap in (103.0, 104.0))
    even = categorical(torch.tensor(0.0))
    assert kl.kl_divergence(even, near).isfinite()
    assert kl.kl_divergence(even, far).isinf()


@pytest.mark.parametrize("name", FAMILIES)
def test_equals_torchs_in_float64_where_that_is_finite(name):
    p, q = (gap.double() for gap in PAIRS)
    registered = kl.kl_divergence(FAMILIES[name](p), FAMILIES[name](q))
    found = kl_divergence(FAMILIES[name](p), FAMILIES[name](q))
    finite = registered.isfinite()
    # torch's softplus is linear from 20 on, where it is off by 2e-9
    assert torch.allclose(found[finite], registered[finite], rtol=1e-12, atol=5e-9)
    assert found.isfinite().all()


def test_a_choice_that_neither_can_make_counts_nothing_and_one_that_q_cannot_is_infinite():
    masked = torch.tensor([0.0, 1.0, -math.inf], requires_grad=True)
    other = torch.tensor([1.0, 0.0, -math.inf], requires_grad=True)
    value = kl_divergence(Categorical(logits=masked), Categorical(logits=other))
    reference = kl_divergence(Categorical(logits=masked[:2]), Categorical(logits=other[:2]))
    assert torch.allclose(value, reference)
    for gradient in torch.autograd.grad(value, [masked, other]):
        assert gradient.isfinite().all()
    assert kl_divergence(Categorical(logits=torch.zeros(3)), Categorical(logits=other)) == math.inf


def test_choices_that_do_not_exist_are_harmless_in_float32():
    """As the MultiDiscrete policy pads them, with logits of -1e9."""
    real = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    padded = torch.cat([real, torch.full((2, 5, 1), -1e9)], dim=-1)
    values = [
        kl_divergence(*(Categorical(logits=logits) for logits in pair)).sum()
        for pair in (real, padded)
    ]
    assert torch.allclose(*values)
    assert torch.allclose(*(torch.autograd.grad(value, real)[0] for value in values), atol=1e-7)


def test_independent_sums_over_event_dimensions_only():
    p, q = torch.randn(2, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for depth in (1, 2):
        one, two = (Independent(Bernoulli(logits=x), depth) for x in (p, q))
        assert torch.allclose(kl_divergence(one, two), kl.kl_divergence(one, two), rtol=1e-12)
        one, two = (Independent(Independent(Normal(x, 1.0), 1), depth - 1) for x in (p, q))
        assert torch.allclose(kl_divergence(one, two), kl.kl_divergence(one, two), rtol=1e-12)
    assert torch.equal(
        kl_divergence(Beta(p.exp(), 1.0), Beta(q.exp(), 1.0)),
        kl.kl_divergence(Beta(p.exp(), 1.0), Beta(q.exp(), 1.0)),
    )  # any other family: as registered
    with pytest.raises(NotImplementedError):
        kl_divergence(Beta(1.0, 1.0), Bernoulli(logits=torch.zeros(())))


def classifier(family, outputs: int, dtype: torch.dtype, scale: float = 1.0):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 6), torch.nn.Tanh(), torch.nn.Linear(6, outputs)
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= scale
    network, states = network.to(dtype), torch.randn(64, 3, dtype=torch.float64).to(dtype)
    return Model(list(network.parameters()), lambda states: (network(states),), family), states


EVENTS = {
    "categorical": lambda e: Categorical(logits=e),
    "bernoulli": lambda e: Independent(Bernoulli(logits=e), 1),
}


@pytest.mark.parametrize("scale", [1.0, 1e3])  # at 1e3, most probabilities underflow in float32
@pytest.mark.parametrize("name", EVENTS)
def test_gradient_at_theta_old_is_zero_and_the_hessian_is_f(name, scale):
    model, states = classifier(EVENTS[name], 4, torch.float64, scale)
    eta = model.outputs(states)[0].detach().requires_grad_()
    kl_at_old = kl_divergence(model.family(eta.detach()), model.family(eta)).sum()
    assert torch.autograd.grad(kl_at_old, eta)[0].abs().max() < 1e-15
    # M in closed form: diag(p) − ppᵀ of a softmax, p(1 − p) of a coin
    J = torch.autograd.functional.jacobian(
        lambda *theta: torch.func.functional_call(
            torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Tanh(), torch.nn.Linear(6, 4)),
            dict(zip(("0.weight", "0.bias", "2.weight", "2.bias"), theta, strict=True)),
            states,
        ),
        tuple(p.detach() for p in model.parameters),
    )
    J = torch.cat([piece.flatten(2) for piece in J], dim=2)  # (b, E, P)
    if name == "categorical":
        p = eta.detach().softmax(-1)
        M = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    else:
        M = torch.diag_embed(torch.sigmoid(eta.detach()) * torch.sigmoid(-eta.detach()))
    F = torch.einsum("bep,bef,bfq->pq", J, M, J) / len(states)
    v = torch.randn(len(F), dtype=torch.float64)
    tolerance = {"rtol": 1e-9, "atol": 1e-12 * max(1.0, F.abs().max().item())}
    assert torch.allclose(fisher_vector_product(model, [states])(v), F @ v, **tolerance)
    assert torch.allclose(double_backward_product(model, [states])(v), F @ v, **tolerance)
    assert torch.allclose(dense_fisher(model, [states]), F, **tolerance)


@pytest.mark.parametrize("name", EVENTS)
def test_a_leap_measures_what_it_is_in_float32(name):
    """From a certain policy to its opposite, in both directions."""
    model, states = classifier(EVENTS[name], 4, torch.float32, 100.0)
    measure = measure_against_present(model, lambda p, _: p.entropy(), [states])
    eta_old = model.outputs(states)[0].detach().double()
    with torch.no_grad():
        for parameter in model.parameters[-2:]:
            parameter.neg_()
    eta_new = model.outputs(states)[0].detach().double()
    found = measure()
    assert found.max_state_kl > 104
    for mean_kl, p, q in (
        (found.mean_kl, eta_old, eta_new),
        (found.mean_reverse_kl, eta_new, eta_old),
    ):
        if name == "categorical":
            log_p, log_q = p.log_softmax(-1), q.log_softmax(-1)
            expected = (log_p.exp() * (log_p - log_q)).sum(-1)
        else:
            expected = categorical_by_hand(p, q).sum(-1)
        assert mean_kl == pytest.approx(expected.mean().item(), rel=1e-9)


@pytest.mark.parametrize(("dtype", "max_kl"), [
    (torch.float32, 1e-6),
    (torch.float32, 1e-7),
    (torch.bfloat16, 1e-3),
    (torch.bfloat16, 1e-4),
])  # fmt: skip
@pytest.mark.parametrize("name", EVENTS)
def test_small_limits_hold_in_every_dtype(name, dtype, max_kl):
    """KL of the network's outputs, taken in float64, is within δ, and is what is reported."""
    model, states = classifier(EVENTS[name], 4, dtype)
    advantages = torch.randn(64, generator=torch.Generator().manual_seed(1)).to(dtype)
    eta_old = model.outputs(states)[0].detach()
    actions = model.family(eta_old).sample()
    log_probs = model.family(eta_old).log_prob(actions)
    report = trust_region_step(
        model,
        lambda p, _: (p.log_prob(actions) - log_probs).exp() * advantages,
        [states],
        TrustRegionConfig(max_kl, damping=1e-4, backtrack_ratio=0.97, max_backtracks=40),
    )
    new = model.family(model.outputs(states)[0].detach().double())
    true_kl = kl.kl_divergence(model.family(eta_old.double()), new).mean().item()
    assert report.mean_kl == pytest.approx(true_kl, rel=1e-6, abs=1e-15)
    assert true_kl <= max_kl * (1 + 1e-9)
    assert report.status is Status.ACCEPTED or dtype is torch.bfloat16
