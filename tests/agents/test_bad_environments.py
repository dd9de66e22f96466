"""Environments that misbehave are trained on, or named in one line with update and cause."""

import gc
import math
import multiprocessing
from contextlib import closing
from pathlib import Path

import gymnasium as gym
import pytest
import torch

import tests.environments  # noqa: F401 registers environments
from tests.helpers import make_trainer, parameters, run, untimed
from trpo.agents.config import LearnerConfig, TrainerConfig
from trpo.agents.networks.images import ImageConfig
from trpo.agents.policies import PolicyConfig
from trpo.agents.rollouts.rollout import BrokenEnvironmentError
from trpo.agents.trainer import Trainer, TrainingError
from trpo.agents.updates.trpo import Trpo, TrpoConfig
from trpo.envs.factory import EnvironmentConfig, make_vector_env
from trpo.report import Status, StepReport
from trpo.validation import ConfigError


def is_sound(trainer: Trainer) -> bool:
    """Whether every tensor that training carries is finite."""
    tensors, _ = trainer.snapshot()
    return all(tensor.isfinite().all() for tensor in tensors.values())


@pytest.mark.parametrize(
    "env_id", ["TestOneStep-v0", "TestRich-v0", "TestConstant-v0", "TestEndless-v0"]
)
def test_odd_environments_are_trained_on(env_id):
    trainer = make_trainer(env_id, "gymnasium")
    records = run(trainer, 4)
    assert is_sound(trainer)
    assert all(math.isfinite(value) for record in records for value in record.metrics.values())
    assert all(record.metrics["update/mean_kl"] <= 0.02 for record in records)
    assert Status.ACCEPTED in {record.status for record in records}


def test_episodes_of_one_step_are_counted_whole():
    trainer = make_trainer("TestOneStep-v0", "gymnasium")
    (record,) = run(trainer, 1)
    assert record.steps == 128  # every other of 256 is a reset step
    assert (record.metrics["episode/length"], record.metrics["episode/return"]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("TestNan-v0", "returned an observation that is not finite"),
        ("TestNanReward-v0", "returned a reward that is not finite"),
        ("TestInfinite-v0", "returned an observation that is not finite"),
        ("TestInfiniteReward-v0", "returned a reward that is not finite"),
        ("TestRicher-v0", "returned a reward that is not finite"),  # in float32
        ("TestRaises-v0", "raised RuntimeError: the simulator is"),
        ("TestShape-v0", "raised ValueError: .*"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_an_environment_gone_wrong_stops_training_in_one_line(env_id, message):
    trainer = make_trainer(env_id, "gymnasium")
    before, _ = trainer.snapshot()
    before = {name: tensor.clone() for name, tensor in before.items()}
    with pytest.raises(TrainingError, match=rf"^{env_id} {message}, in update 1$"):
        run(trainer, 1)
    after, _ = trainer.snapshot()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("engine", ["gymnasium", "gymnasium-async"])
def test_an_environment_that_cannot_be_reset_is_named(engine):
    with pytest.raises(
        TrainingError, match=r"^TestBrokenReset-v0 raised RuntimeError: no licence, in update 1$"
    ):
        make_trainer("TestBrokenReset-v0", engine)


@pytest.mark.parametrize(
    ("env_id", "config"),
    [
        ("Pendulum-v1", LearnerConfig(trainer=TrainerConfig(batch_size=2047))),
        ("Pendulum-v1", LearnerConfig(images=ImageConfig(encoder="nature"))),
        ("TestText-v0", LearnerConfig()),
        ("TestBrokenReset-v0", LearnerConfig()),
    ],
)
def test_a_trainer_that_is_refused_leaves_no_environment_open(env_id, config):
    made = []

    def make_env(seed):
        made.append(make_vector_env(env_id, EnvironmentConfig("gymnasium", num_envs=2), seed))
        return made[-1]

    with pytest.raises((ConfigError, TrainingError)):
        Trainer(make_env, config)
    assert [env.unwrapped.closed for env in made] == [True]


@pytest.mark.parametrize(
    ("make_env", "said"),
    [
        ("CartPole-v1", "'CartPole-v1' is not a function"),
        (gym.make("CartPole-v1"), "TimeLimit.* is not a function"),
        (gym.make_vec("CartPole-v1", 4), "CartPoleVectorEnv.* is not a function"),
        (lambda: gym.make("CartPole-v1"), r"called with a seed \(too many positional arguments\)"),
        (make_vector_env, r"called with a seed \(missing a required argument: 'config'\)"),
        (lambda _: gym.make("CartPole-v1"), "returned <TimeLimit.*>, a single environment"),
        (lambda _: gym.make_vec("CartPole-v1", 4), r"returned CartPoleVectorEnv\(.*\)"),
        (lambda _: None, "returned None"),
    ],
)
def test_what_makes_no_environments_from_a_seed_is_refused_with_what_would(make_env, said):
    expected = r": expected a function from a seed to a vector environment, such as functools\."
    with pytest.raises(ConfigError, match=f"^make_env .*{said}{expected}"):
        Trainer(make_env, LearnerConfig())


def test_an_environment_that_changes_its_spaces_when_it_is_made_anew_is_named():
    trainer = make_trainer("TestGrowing-v0", "gymnasium")
    with pytest.raises(
        TrainingError, match=r"^TestGrowing-v0 came with other spaces than before: .*, in update 3$"
    ):
        run(trainer, 3)
    assert trainer.update == 2


def test_a_singular_fisher_matrix():
    """One state only, and no damping: F has the rank of the distribution's parameters."""
    trainer = make_trainer("TestConstant-v0", "gymnasium", trpo=TrpoConfig(damping=0.0))
    records = run(trainer, 4)
    assert is_sound(trainer)
    assert all(record.metrics["update/mean_kl"] <= 0.02 for record in records)
    assert Status.ACCEPTED in {record.status for record in records}


PROCESSES = [
    ("TestRaises-v0", "RuntimeError: the simulator is"),
    ("TestShape-v0", "ValueError: .*"),
    ("TestDies-v0", "ChildProcessError: the process of an environment died"),
    ("TestHangs-v0", r"ChildProcessError: an environment gave no answer within 2 s"),
]


@pytest.mark.parametrize(("env_id", "said"), PROCESSES)
def test_an_environment_process_that_fails_dies_or_hangs_is_named(env_id, said):
    trainer = make_trainer(env_id, "gymnasium-async", step_timeout=2.0)
    with (
        closing(trainer),
        pytest.raises(TrainingError, match=rf"^{env_id} raised {said}, in update 1$"),
    ):
        run(trainer, 1)


def test_an_environment_process_that_hangs_in_its_reset_is_named():
    said = (
        r"^TestHangingReset-v0 raised ChildProcessError: "
        r"an environment gave no answer within 0\.5 s, in update 1$"
    )
    with pytest.raises(TrainingError, match=said):
        make_trainer("TestHangingReset-v0", "gymnasium-async", step_timeout=0.5)


def mortal_trainer(max_restarts):
    """Deaths follow from the seed: with this one, two in update 2 and one in update 4."""
    return make_trainer(
        "TestMortal-v0", "gymnasium-async", trainer={"max_restarts": max_restarts, "seed": 8}
    )


def test_environments_that_lose_a_process_start_afresh_and_a_resumed_run_does_the_same():
    with closing(mortal_trainer(3)) as whole, closing(mortal_trainer(3)) as other:
        updates = whole.updates()
        first = [next(updates), next(updates)]
        tensors, state = whole.snapshot()
        other.restore({name: tensor.clone() for name, tensor in tensors.items()}, state)
        last = [next(updates), next(updates)]
        assert [record.metrics["environment/restarts"] for record in first + last] == [0, 2, 2, 3]
        # whole batches, in which one step in 8 is a reset step
        assert [record.steps for record in first + last] == [224, 448, 672, 896]
        assert is_sound(whole)
        assert list(map(untimed, run(other, 2))) == list(map(untimed, last))
        assert torch.equal(parameters(whole), parameters(other))


def test_environments_start_afresh_only_as_often_as_is_allowed_and_leave_nothing_open():
    mortal_trainer(0).close()  # Python's own helpers for processes are started once, and stay
    before, files = len(multiprocessing.active_children()), open_files()
    with (
        closing(mortal_trainer(1)) as trainer,
        pytest.raises(TrainingError, match=r"the process of an .* died, in update 2$"),
    ):
        run(trainer, 2)
    assert trainer.environments.restarts == 1
    del trainer
    assert len(multiprocessing.active_children()) == before
    assert open_files() <= files


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def test_what_environments_raise_or_return_is_no_reason_to_restart_them():
    for env_id, engine in (("TestNan-v0", "gymnasium"), ("TestRaises-v0", "gymnasium-async")):
        trainer = make_trainer(env_id, engine, trainer={"max_restarts": 3})
        with closing(trainer), pytest.raises(TrainingError):
            run(trainer, 1)
        assert trainer.environments.restarts == 0


def test_a_batch_of_resets_alone_is_named():
    trainer = make_trainer("TestOneStep-v0", "gymnasium", trainer={"batch_size": 8})
    run(trainer, 1)
    with pytest.raises(
        TrainingError,
        match=r"gave a batch of 0 steps, all others were resets: batch_size is too small",
    ):
        run(trainer, 1)


def test_a_batch_of_one_step_is_named():
    rollout = make_trainer().rollout
    rollout.valid[0, 0] = True
    with pytest.raises(BrokenEnvironmentError, match="gave a batch of 1 steps"):
        rollout.check()


@pytest.mark.parametrize("log_std", [-20.0, -8.0])
def test_an_almost_deterministic_policy(log_std):
    trainer = make_trainer(
        "Pendulum-v1", policy=PolicyConfig(hidden=(16,), initial_log_std=log_std)
    )
    records = run(trainer, 3)
    assert is_sound(trainer)
    assert all(record.metrics["update/mean_kl"] <= 0.02 for record in records)


def test_updates_that_are_not_finite_stop_the_run():
    trainer = make_trainer(trainer={"max_non_finite": 3})
    before = [parameter.clone() for parameter in trainer.agent.policy.parameters()]
    bad = StepReport(Status.NON_FINITE, math.nan, math.nan)
    outcomes = iter([bad, bad, None, bad, bad, bad])

    class Faltering(Trpo):
        def __call__(self, batch, generator):
            return next(outcomes) or super().__call__(batch, generator)

    trainer.update_policy = Faltering(
        trainer.agent.policy, trainer.config.trpo, trainer.config.trainer.microbatch_size
    )
    updates = trainer.updates()
    statuses = [next(updates).status for _ in range(6)]
    assert [status is Status.NON_FINITE for status in statuses] == [1, 1, 0, 1, 1, 1]
    with pytest.raises(
        TrainingError,
        match=r"^CartPole-v1: the surrogate .* is not finite, in 3 updates in a row up to 6$",
    ):
        next(updates)
    # the third did move them
    assert not all(map(torch.equal, before, trainer.agent.policy.parameters()))
    assert is_sound(trainer)


def test_updates_in_a_row_are_counted_across_a_checkpoint():
    trainer = make_trainer()
    trainer.non_finite = 2
    tensors, state = trainer.snapshot()
    other = make_trainer()
    other.restore(tensors, state)
    assert other.non_finite == 2
