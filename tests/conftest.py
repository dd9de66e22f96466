"""Fixtures: small policies in float64 for each kind of action space, with their batches."""

from collections.abc import Callable

import gymnasium as gym
import pytest
import torch

from tests.helpers import ACTION_SPACES, HIDDEN, Problem, make_problem

torch.set_num_threads(1)  # tests share their cores with one another


@pytest.fixture(params=ACTION_SPACES)
def action_space(request: pytest.FixtureRequest) -> gym.Space:
    return ACTION_SPACES[request.param]


@pytest.fixture(params=HIDDEN)
def problem(request: pytest.FixtureRequest, action_space: gym.Space) -> Problem:
    """Every action space with every depth."""
    return make_problem(action_space, HIDDEN[request.param])


@pytest.fixture(scope="session")
def problem_of() -> Callable[..., Problem]:
    """The maker of problems, for tests that choose their own."""
    return make_problem
