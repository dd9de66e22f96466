"""Streams are functions of seed, component and update, and differ from each other."""

import torch

from trpo.agents.randomness import Component, Randomness


def test_streams_differ_and_repeat():
    seeds = {
        (s, c, u): Randomness(s).integer(c, u)
        for s in (0, 1, 2)
        for c in Component
        for u in range(20)
    }
    assert len(set(seeds.values())) == len(seeds)
    assert all(0 <= value < 2**31 for value in seeds.values())
    assert seeds[1, Component.ACTIONS, 7] == Randomness(1).integer(Component.ACTIONS, 7)


def test_generators_share_nothing_with_the_global_one():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    draws = [
        torch.rand(3, generator=Randomness(0).generator(Component.ACTIONS, 1)) for _ in range(2)
    ]
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), state)
