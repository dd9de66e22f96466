"""The factory: which engine serves which id, and what is said when none does."""

import sys

import gymnasium as gym
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import tests.environments  # noqa: F401 registers environments
from trpo.envs import envpool_engine, factory
from trpo.envs.envpool_engine import EnvPoolVectorEnv
from trpo.envs.errors import EnvError
from trpo.envs.factory import EnvironmentConfig, make_vector_env


def make(env_id, engine="auto", num_envs=2):
    return make_vector_env(env_id, EnvironmentConfig(engine, num_envs), seed=0, threads=1)


@pytest.mark.parametrize(
    ("env_id", "engine", "kind"),
    [
        ("CartPole-v1", "auto", EnvPoolVectorEnv),
        ("HalfCheetah-v5", "auto", EnvPoolVectorEnv),
        ("CartPole-v1", "envpool", EnvPoolVectorEnv),
        ("Pendulum-v1", "gymnasium", SyncVectorEnv),
        ("Pendulum-v1", "gymnasium-async", AsyncVectorEnv),
        ("CartPole-v1", "gymnasium-async", AsyncVectorEnv),
        ("TestDict-v0", "auto", SyncVectorEnv),
        ("tests.environments:TestDict-v0", "auto", SyncVectorEnv),
    ],
)
def test_engine(env_id, engine, kind):
    env = make(env_id, engine)
    assert isinstance(env.unwrapped, kind)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    env.close()


def test_an_environments_own_vector_class_is_used():
    env = make("CartPole-v1", "gymnasium")
    assert type(env.unwrapped).__name__ == "CartPoleVectorEnv"
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


@pytest.mark.parametrize("engine", ["auto", "envpool", "gymnasium"])
@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("CartPoel-v1", "CartPole-v1"),
        ("cartpole-v1", "CartPole-v1"),
        ("HalfCheeta-v5", "HalfCheetah-v5"),
    ],
)
def test_unknown_id_suggests_near_ones(engine, wrong, near):
    with pytest.raises(EnvError, match=rf"^unknown environment '{wrong}': did you mean .*{near}"):
        make(wrong, engine)


def test_unknown_id_far_from_all():
    with pytest.raises(EnvError, match="expected an id of Gymnasium or EnvPool"):
        make("qqqqqqqqqqqqqqqqqqqqqqqqqqq")


def test_unknown_module():
    with pytest.raises(EnvError, match="cannot import module 'no_such_module'"):
        make("no_such_module:Env-v0")


def test_a_module_in_this_folder_that_python_does_not_look_in(tmp_path, monkeypatch):
    (tmp_path / "unlooked_for.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    with pytest.raises(EnvError, match=r"cannot import module 'unlooked_for'; it is in this folde"):
        make("unlooked_for:Env-v0")


def test_an_unknown_id_of_a_module_suggests_near_ones_with_it():
    with pytest.raises(EnvError, match=r"did you mean tests\.environments:TestText-v0"):
        make("tests.environments:TestTxet-v0")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("Mine-v0", r"tests\.environments:My-v0"),
        ("MinerHard-v0", "MinerHard-v0"),  # EnvPool's
        ("CartPole-v9", "CartPole-v1"),
    ],
)
def test_only_ids_that_a_module_registers_are_suggested_with_it(wrong, near, monkeypatch):
    monkeypatch.setitem(gym.registry, "My-v0", gym.spec("CartPole-v1"))
    with pytest.raises(EnvError, match=rf"did you mean {near}( or |\?)"):
        make(f"tests.environments:{wrong}")


def test_a_module_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "mistyped.py").write_text("\nx = (\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvError, match=r"raised SyntaxError: .* \(mistyped.py, line 2\)$"):
        make("mistyped:Env-v0")


@pytest.mark.parametrize(
    ("env_id", "package", "extra"),
    [
        ("ALE/Pong-v5", "ale_py", "atari"),
        ("trpo.scripts.benchmarks.minatar_games:MinAtar/Breakout-v1", "minatar", "minatar"),
    ],
)
def test_missing_extra_names_the_install(monkeypatch, env_id, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, env_id.partition(":")[0], raising=False)
    with pytest.raises(
        EnvError,
        match=rf"{env_id} needs a package .* not installed: run pip install -e '\.\[{extra}\]'",
    ):
        make(env_id, "gymnasium")


@pytest.mark.parametrize(
    ("env_id", "extra"), [("LunarLander-v3", "box2d"), ("Hopper-v5", "mujoco")]
)
def test_missing_simulator_names_the_install(monkeypatch, env_id, extra):
    def fail(*arguments, **keywords):
        raise gym.error.DependencyNotInstalled("not installed")

    monkeypatch.setattr(gym, "make_vec", fail)
    with pytest.raises(
        EnvError,
        match=rf"{env_id} needs a package .* not installed: run pip install -e '\.\[{extra}\]'",
    ):
        make(env_id, "gymnasium")


def test_without_envpool_gymnasium_serves(monkeypatch):
    monkeypatch.setattr(factory, "envpool_ids", frozenset)
    assert not isinstance(make("Pendulum-v1").unwrapped, EnvPoolVectorEnv)
    with pytest.raises(
        EnvError, match="engine = 'envpool' is not installed: run pip install envpool"
    ):
        make("Pendulum-v1", "envpool")


def test_no_envpool_no_ids(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    assert envpool_engine.envpool_ids.__wrapped__() == frozenset()


@pytest.mark.parametrize("number", [0, "8", 1.5])
def test_number_of_environments_is_validated(number):
    said = f"num_envs = {number!r} is out of range: expected an integer ≥ 1"
    with pytest.raises(EnvError, match=said):
        EnvironmentConfig(num_envs=number)


def test_a_dead_process_does_not_keep_the_others_from_being_closed():
    env = make("CartPole-v1", "gymnasium-async")
    env.reset(seed=0)
    processes = env.unwrapped.processes
    processes[1].kill()
    env.close()
    assert not any(process.is_alive() for process in processes)


@pytest.mark.parametrize("engine", ["gymnasium", "gymnasium-async"])
def test_an_environment_that_cannot_be_made_is_named(engine):
    with pytest.raises(
        EnvError,
        match=r"^environment 'TestUnmakeable-v0' cannot be made: RuntimeError: no display$",
    ):
        make("TestUnmakeable-v0", engine)
