"""What `trpo study trust-region` draws: its KL, surrogate and Fisher matrix are the package's."""

import pytest
import torch
from torch.distributions import Bernoulli

from trpo.fisher import fisher_vector_product
from trpo.model import Model
from trpo.reference import materialize
from trpo.scripts.studies.trust_region import CONFIG, run


@pytest.fixture(scope="module")
def updates():
    return run(0)[:4]


def test_each_update_keeps_kl_within_its_limit(updates):
    for update in updates:
        assert 0 < update.report.mean_kl <= CONFIG.max_kl
        measured = update.kl(update.theta_after[None]).item()
        assert measured == pytest.approx(update.report.mean_kl, rel=1e-9)
        gained = update.surrogate(update.theta_after[None]).item()
        assert gained == pytest.approx(update.report.surrogate_after, abs=1e-12)


def test_what_is_drawn_is_what_the_package_computes(updates):
    update = updates[2]
    theta = update.theta.clone().requires_grad_()
    model = Model(
        [theta], lambda batch: (batch.features @ theta,), lambda logits: Bernoulli(logits=logits)
    )
    F = materialize(fisher_vector_product(model, [update.batch]), theta.detach())
    torch.testing.assert_close(update.fisher, F)
    torch.testing.assert_close(update.fisher @ update.x, update.g)
    on_the_edge = update.quadratic((update.theta + update.full_step)[None])
    assert on_the_edge.item() == pytest.approx(CONFIG.max_kl)
