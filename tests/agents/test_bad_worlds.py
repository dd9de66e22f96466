"""Worlds that behave badly: training does the right thing, or stops in one line that names environment, update and cause."""

import math
from contextlib import closing

import pytest
import torch

import tests.worlds  # noqa: F401 registers environments
from agents.policies import PolicyConfig
from agents.trainer import Trainer, TrainingError
from agents.trpo import Trpo
from tests.agents.test_trainer import make_trainer, run
from trpo.trust_region import Status, StepReport


def is_sound(trainer: Trainer) -> bool:
    """Whether every tensor that training carries is finite."""
    tensors, _ = trainer.snapshot()
    return all(tensor.isfinite().all() for tensor in tensors.values())


@pytest.mark.parametrize("env_id", ["TestOneStep-v0", "TestRich-v0", "TestConstant-v0", "TestEndless-v0"])
def test_odd_worlds_are_trained_on(env_id):
    trainer = make_trainer(env_id, "gymnasium")
    records = run(trainer, 4)
    assert is_sound(trainer)
    assert all(math.isfinite(value) for record in records for value in record.metrics.values())
    assert all(record.metrics["trust_region/mean_kl"] <= 0.02 for record in records)
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
        ("TestRicher-v0", "returned a reward that is not finite"),  # in float32
        ("TestRaises-v0", "raised RuntimeError: the simulator is"),
        ("TestShape-v0", "raised ValueError: .*"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_a_world_gone_wrong_stops_training_in_one_line(env_id, message):
    trainer = make_trainer(env_id, "gymnasium")
    before, _ = trainer.snapshot()
    before = {name: tensor.clone() for name, tensor in before.items()}
    with pytest.raises(TrainingError, match=rf"^{env_id} {message}, in update 1$"):
        run(trainer, 1)
    after, _ = trainer.snapshot()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_world_that_cannot_be_reset_is_named():
    with pytest.raises(TrainingError, match=r"^TestBrokenReset-v0 raised RuntimeError: no licence, in update 1$"):
        make_trainer("TestBrokenReset-v0", "gymnasium")


@pytest.mark.parametrize(
    ("env_id", "said"),
    [
        ("TestRaises-v0", "RuntimeError: the simulator is"),
        ("TestDies-v0", "ChildProcessError: the process of an environment died"),
    ],
)
def test_an_environment_process_that_fails_or_dies_is_named(env_id, said):
    trainer = make_trainer(env_id, "gymnasium-async")
    with closing(trainer), pytest.raises(TrainingError, match=rf"^{env_id} raised {said}, in update 1$"):
        run(trainer, 1)


def test_a_batch_of_resets_alone_is_named():
    trainer = make_trainer("TestOneStep-v0", "gymnasium", trainer={"batch_size": 8})
    run(trainer, 1)
    with pytest.raises(TrainingError, match=r"gave a batch of 0 steps, all others were resets: batch_size is too small"):
        run(trainer, 1)


@pytest.mark.parametrize("log_std", [-20.0, -8.0])
def test_an_almost_deterministic_policy(log_std):
    trainer = make_trainer("Pendulum-v1", policy=PolicyConfig(hidden=(16,), initial_log_std=log_std))
    records = run(trainer, 3)
    assert is_sound(trainer)
    assert all(record.metrics["trust_region/mean_kl"] <= 0.02 for record in records)


def test_updates_that_are_not_finite_stop_the_run():
    trainer = make_trainer(trainer={"max_non_finite": 3})
    before = [parameter.clone() for parameter in trainer.agent.policy.parameters()]
    bad = StepReport(Status.NON_FINITE, math.nan, math.nan)
    outcomes = iter([bad, bad, None, bad, bad, bad])

    class Faltering(Trpo):
        def __call__(self, batch, generator):
            return next(outcomes) or super().__call__(batch, generator)

    trainer.update_policy = Faltering(trainer.agent.policy, trainer.config.trpo, trainer.config.trainer.chunk_size)
    updates = trainer.updates()
    statuses = [next(updates).status for _ in range(6)]
    assert [status is Status.NON_FINITE for status in statuses] == [True, True, False, True, True, True]
    with pytest.raises(TrainingError, match=r"^CartPole-v1: the surrogate .* is not finite, in 3 updates in a row up to 6$"):
        next(updates)
    assert not all(map(torch.equal, before, trainer.agent.policy.parameters()))  # the third did move them
    assert is_sound(trainer)


def test_updates_in_a_row_are_counted_across_a_checkpoint():
    trainer = make_trainer()
    trainer.non_finite = 2
    tensors, state = trainer.snapshot()
    other = make_trainer()
    other.restore(tensors, state)
    assert other.non_finite == 2
