"""The two-state study: its exact values against sampling-free twins, and the loop that it shows."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from trpo.scripts.studies import two_state
from trpo.scripts.studies.two_state import SETS, mean_kl, natural_step, starts, train, values

REFERENCE = Path(__file__).resolve().parents[2] / "runs" / "reference" / "studies" / "two-state"


def value_by_iteration(theta: torch.Tensor) -> torch.Tensor:
    """J by following the state's distribution step by step."""
    stay = torch.sigmoid(theta)
    here, total = torch.tensor(two_state.START, dtype=torch.float64), torch.zeros(())
    for step in range(1000):
        total = total + (1 - 0.95) * 0.95**step * (here * stay * torch.tensor([1.0, 2.0])).sum()
        here = here * stay + (here * (1 - stay)).flip(0)
    return total


def test_values_gradient_and_fisher_are_exact():
    theta = torch.tensor([0.4, -1.1], dtype=torch.float64, requires_grad=True)
    J = value_by_iteration(theta)
    (g,) = torch.autograd.grad(J, theta)
    now = values(theta.detach().numpy())
    slope = (torch.sigmoid(theta) * torch.sigmoid(-theta)).detach().numpy()
    assert now.value == pytest.approx(J.item(), rel=1e-12)
    # J is a mean a discounted step, so that (1 − γ) of its gradient's usual factor is in it
    np.testing.assert_allclose(now.visits * slope * now.advantage, g.numpy(), rtol=1e-10)


def test_kl_is_torchs_where_that_is_right_and_finite_beyond():
    old, new = torch.tensor([[0.3, -2.0]]).double(), torch.tensor([[1.7, 4.0]]).double()
    visits = torch.tensor([[0.7, 0.3]]).double()
    expected = (visits * kl_divergence(Bernoulli(logits=old), Bernoulli(logits=new))).sum()
    mine = mean_kl(old.numpy(), new.numpy(), visits.numpy())
    assert mine[0] == pytest.approx(expected.item(), rel=1e-12)
    far = mean_kl(np.array([800.0, 0.0]), np.array([-800.0, 0.0]), np.array([0.5, 0.5]))
    assert far == pytest.approx(400)


def test_a_checked_step_stays_within_delta_and_an_unchecked_one_need_not():
    theta = starts(SETS[1])
    now = values(theta)
    for delta in (2.0, 0.02):
        checked = natural_step(theta, now, np.array(delta), check=True)
        free = natural_step(theta, now, np.array(delta), check=False)
        assert (mean_kl(theta, checked, now.visits) <= delta).all()
        assert (checked != theta).all()
    assert (mean_kl(theta, free, now.visits) > delta).any()


def test_a_leap_of_the_plain_gradient_is_never_undone_and_trpo_leaves():
    theta = starts(SETS[1])
    assert (values(theta).advantage[:, 0] > 0).all()
    fallen = train("plain gradient", np.array([1000.0]), theta)[-1, 0]
    assert (values(fallen).value < two_state.LEFT).all()
    assert (values(fallen).advantage[:, 0] < 0).all()  # switching is better, and never chosen
    path = train("TRPO", np.array([0.02, 0.6]), theta)
    assert (values(path[20:]).value >= two_state.LEFT).all()


def test_the_study_repeats_what_is_kept():
    found = two_state.study()
    with (REFERENCE / "results.csv").open(newline="", encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    assert [row["caught"] for row in kept] == [str(row["caught"]) for row in found.rows]
    with (REFERENCE / "verdicts.csv").open(newline="", encoding="utf-8") as file:
        assert [row["measured"] for row in csv.DictReader(file)] == [
            verdict.measured for verdict in found.verdicts
        ]
