"""The time limit of environments in this process: told once, in time, and only within a call."""

import threading
import time

import numpy as np
import pytest

import tests.environments  # noqa: F401 registers environments
from trpo.envs.errors import EnvError
from trpo.envs.factory import EnvironmentConfig, make_vector_env

LIMIT = 0.5


@pytest.mark.parametrize("engine", ["envpool", "gymnasium"])
def test_nothing_is_told_of_environments_that_answer(engine):
    told = []
    config = EnvironmentConfig(engine, num_envs=2, step_timeout=LIMIT)
    env = make_vector_env("CartPole-v1", config, seed=0, threads=1, on_hang=told.append)
    env.reset(seed=0)
    time.sleep(2 * LIMIT)  # as while the policy is updated
    env.close()
    assert not told


def test_a_hang_is_told():
    told, hung = [], threading.Event()
    config = EnvironmentConfig("gymnasium", num_envs=2, step_timeout=LIMIT)

    def on_hang(said):
        told.append((said, time.monotonic()))
        hung.set()

    env = make_vector_env("TestHangingReset-v0", config, seed=0, on_hang=on_hang)
    start = time.monotonic()
    threading.Thread(target=env.reset, kwargs={"seed": 0}, daemon=True).start()
    assert hung.wait(10)
    ((said, when),) = told
    assert said == "TestHangingReset-v0 gave no answer within 0.5 s"
    assert when - start >= LIMIT


@pytest.mark.parametrize("threads", [1, 2])
def test_that_envpool_takes_too_long_is_told(threads):
    """Its C++ code lets other threads run; with two threads there are two groups."""
    told = []
    config = EnvironmentConfig("envpool", num_envs=256 * threads, step_timeout=0.02)
    env = make_vector_env("Humanoid-v5", config, seed=0, threads=threads, on_hang=told.append)
    assert len(env.groups) == threads
    env.env.reset(seed=0)  # which nobody watches
    env.send(0, np.zeros((256, 17)))  # 0.1 s
    env.receive(0)
    env.close()
    assert told == ["Humanoid-v5 gave no answer within 0.02 s"]


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), "1"])
def test_the_limit_is_validated(seconds):
    with pytest.raises(
        EnvError, match=r"step_timeout = .* is out of range: expected seconds in \[0, 1,000,000\]"
    ):
        EnvironmentConfig(step_timeout=seconds)
