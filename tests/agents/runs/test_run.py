"""A run folder is written by library code: created, trained into, left early, continued, read."""

import errno
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers import make_trainer
from tests.processes import differences
from trpo.agents.runs import Run, RunConfig, RunError
from trpo.agents.runs.lock import Lock
from trpo.agents.runs.tensorboard import TensorBoard
from trpo.agents.storage.errors import BusyRunError
from trpo.agents.storage.spaces import space_to_json
from trpo.agents.storage.typed_json import from_json
from trpo.agents.trainer import Trainer
from trpo.envs.factory import EnvironmentConfig

UPDATES = 5


def config_of(trainer: Trainer) -> RunConfig:
    agent = trainer.agent
    return RunConfig("CartPole-v1", trainer.config, agent.observation_space, agent.action_space)


def train(run: Run, trainer: Trainer, until: Callable[[int], bool] = UPDATES.__eq__) -> list[int]:
    """Train until an update, and leave the loop as a user would; return the updates made."""
    made = []
    with closing(trainer), run.recording(trainer) as updates:
        for record in updates:
            made.append(record.update)
            if until(record.update):
                break
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """A run of five updates, whose resume points are the second and the fourth."""
    trainer = make_trainer(trainer={"checkpoint_interval": 2})
    run = Run.create(tmp_path_factory.mktemp("runs") / "whole", config_of(trainer))
    assert train(run, trainer) == [1, 2, 3, 4, 5]
    return run


def test_what_was_written_is_read(whole):
    run = Run.open(whole.folder)
    assert run.config == whole.config
    assert [record.update for record in run.records()] == [1, 2, 3, 4, 5]
    metrics = run.metrics()
    assert metrics["update"].tolist() == [1, 2, 3, 4, 5]
    assert (metrics["update/mean_kl"] <= metrics["trust_region/max_kl"]).all()
    assert np.isnan(metrics["policy/std"]).all()  # which no discrete policy has
    assert run.checkpoints.newest(pytest.fail).state["update"] == UPDATES


def test_a_run_that_goes_on_from_its_resume_point_is_as_if_never_stopped(whole, tmp_path):
    trainer = make_trainer(trainer={"checkpoint_interval": 2})
    run = Run.create(tmp_path / "run", config_of(trainer))
    assert train(run, trainer, until=(3).__eq__) == [1, 2, 3]
    run, trainer = Run.open(run.folder), make_trainer(trainer={"checkpoint_interval": 2})
    checkpoint = run.checkpoints.newest(pytest.fail, resumable=True)
    trainer.restore(checkpoint.tensors, checkpoint.state)
    assert train(run, trainer) == [3, 4, 5]
    assert not differences(whole.folder, run.folder)


def test_what_is_to_be_made_again_stays_until_it_is(whole, tmp_path):
    trainer = make_trainer(trainer={"checkpoint_interval": 4})
    run = Run.create(tmp_path / "run", config_of(trainer))
    train(run, trainer, until=(7).__eq__)
    again = make_trainer(trainer={"checkpoint_interval": 4})
    checkpoint = run.checkpoints.newest(pytest.fail, resumable=True)
    again.restore(checkpoint.tensors, checkpoint.state)
    with closing(again), run.recording(again) as updates:
        for record in updates:
            assert [row.update for row in run.records()] == [1, 2, 3, 4, 5, 6, 7]
            assert run.checkpoints.newest(pytest.fail).state["update"] == 7
            if record.update == 6:
                break
    assert updates.results.updates == 6


def test_an_exception_leaves_the_last_checkpoint_as_it_was(tmp_path):
    trainer = make_trainer()
    run = Run.create(tmp_path / "run", config_of(trainer))

    def fail(update: int) -> bool:
        return 1 // (3 - update) > 9

    with pytest.raises(ZeroDivisionError):
        train(run, trainer, until=fail)
    assert run.checkpoints.newest(pytest.fail).state["update"] == 2
    with run.lock:  # which was given back
        pass


def asked_elsewhere(folder: Path) -> bool:
    """Return whether another process takes the run for one that is being trained."""
    process = multiprocessing.get_context("fork").Process(
        target=lambda: sys.exit(Lock(folder).is_held())
    )
    process.start()
    process.join()
    return process.exitcode == 1


def test_a_lock_that_this_process_holds_is_known_and_outlives_being_asked_for(tmp_path):
    lock, other = Lock(tmp_path), Lock(tmp_path / ".")
    with lock, lock:
        assert lock.is_held()
        assert other.is_held()
        with pytest.raises(BusyRunError, match="is being trained by this process already"), other:
            pass
        assert asked_elsewhere(tmp_path)
    assert not lock.is_held()
    assert not asked_elsewhere(tmp_path)
    with other:
        assert asked_elsewhere(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path.parent / "x")])
def test_a_lock_that_is_no_file_is_not_held_and_not_taken(make, tmp_path):
    (tmp_path / "x").touch()
    make(tmp_path / "lock")
    lock = Lock(tmp_path)
    assert not lock.is_held()
    with pytest.raises(OSError, match="lock"), lock:
        pass
    assert not lock.is_held()


def test_a_file_system_without_locks_is_told_as_that(tmp_path, monkeypatch):
    def without(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", without)
    with pytest.raises(OSError, match=r"No locks available: .*/lock'"), Lock(tmp_path):
        pass


def test_a_folder_that_holds_a_run_is_not_created_again(whole):
    for exist_ok in (False, True):
        with pytest.raises(RunError, match=r"whole exists$"):
            Run.create(whole.folder, whole.config, exist_ok)


def test_what_a_killed_process_left_of_a_video_is_removed(whole, tmp_path):
    run = Run.create(tmp_path / "run", whole.config)
    (run.folder / "videos").mkdir()
    half = run.folder / "videos" / ".step-0000002048.mp4.0123456789abcdef.tmp"
    half.touch()
    run.remove_drafts()
    assert not half.exists()


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"what is no GIF"])
def test_half_an_animation_is_left_out_of_tensorboard(content, whole, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "step-0000000001.gif").write_bytes(content)
    TensorBoard(tmp_path, whole.config, whole.records()).close("stopped")
    board = EventAccumulator(str(tmp_path)).Reload()
    assert board.Tags()["images"] == []


def test_only_a_run_is_opened(tmp_path):
    with pytest.raises(RunError, match="is not a run: expected a folder with config"):
        Run.open(tmp_path)


def test_a_run_that_has_not_begun_has_no_metrics(whole, tmp_path):
    run = Run.create(tmp_path / "run", whole.config)
    assert run.records() == []
    with pytest.raises(RunError, match="has no updates yet"):
        run.metrics()


def test_a_longer_run_is_written_down(whole, tmp_path):
    run = Run.create(tmp_path / "run", whole.config)
    loop = whole.config.learner.trainer
    run.extend(replace(loop, total_steps=77))
    again = Run.open(run.folder).config
    assert again.learner.trainer.total_steps == 77
    assert again.with_loop(loop) == whole.config


def test_a_run_of_format_1_is_read_by_what_was_done_then(whole, tmp_path):
    content = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    for name in ("format", "observation_space", "action_space"):
        del content[name]
    content |= {"name": "x", "runs": "runs", "resume": False}
    learner = content["learner"]
    learner["trust_region"] = learner.pop("trpo") | {"max_kl": 0.07}
    for name in ("algorithm", "npg", "vpg", "ppo", "images"):
        del learner[name]
    for name in ("keep_checkpoints", "max_non_finite", "max_restarts", "eval_every"):
        del learner["trainer"][name]
    del learner["value"]["fisher_stride"], learner["value"]["max_change"]
    for name in ("step_size", "memory", "anneal_to"):
        del learner["trust_region"][name]
    learner["trainer"]["chunk_size"] = learner["trainer"].pop("microbatch_size")
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    config = Run.open(tmp_path).config
    assert config.learner.max_kl == 0.07
    assert config.learner.trpo.step_size == math.inf
    assert (config.learner.trpo.memory, config.learner.trpo.anneal_to) == (0, 1)
    assert replace(config.learner.value, max_change=0.1) == whole.config.learner.value
    assert config.observation_space is None


def test_a_run_of_format_2_is_read_by_what_was_done_then(whole, tmp_path):
    content = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    del content["learner"]["images"]
    (tmp_path / "config.json").write_text(json.dumps(content | {"format": 2}), encoding="utf-8")
    assert Run.open(tmp_path).config == whole.config


@pytest.mark.parametrize(("space", "same"), [("vector", True), ("image", False), (None, False)])
def test_a_run_of_format_10_said_otherwise_what_defaults_say_now(space, same, whole, tmp_path):
    """But of large images the same defaults would be others."""
    content = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    learner = content["learner"]
    learner["trpo"]["fisher_stride"], learner["value"]["fit"] = 1, "gauss-newton"
    learner["policy"]["hidden"] = [64, 64]
    del learner["value"]["trunk"], learner["normalize"]["images"]
    learner["pictures"] = learner.pop("images")
    del learner["pictures"]["grid_codes"], learner["policy"]["distribution"]
    del learner["trpo"]["entropy_bonus"], learner["trpo"]["anneal_to"]
    del learner["policy"]["initial_concentration"]
    if space == "image":
        image = space_to_json(gym.spaces.Box(0, 255, (4, 84, 84), np.uint8))
        content["observation_space"] = {"type": "Dict", "spaces": {"camera": image}}
    if space is None:
        content["observation_space"] = None
    (tmp_path / "config.json").write_text(json.dumps(content | {"format": 10}), encoding="utf-8")
    read = Run.open(tmp_path).config.learner
    assert not read.normalize.images
    assert read.value.trunk == "own"
    said = read.trpo.fisher_stride, read.policy.hidden, read.value.fit
    assert said == ((0, None, "auto") if same else (1, (64, 64), "gauss-newton"))
    assert read.images.grid_codes == (None if same else 0)
    assert read.policy.distribution == "gaussian"
    assert (read.trpo.entropy_bonus, read.trpo.anneal_to) == (0, 1)
    assert read.policy.initial_concentration == 1 + math.log(2)


def test_a_run_of_format_17_called_images_pictures(whole, tmp_path):
    content = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    learner = content["learner"]
    learner["pictures"] = learner.pop("images") | {"channels": "first"}
    learner["normalize"]["pictures"] = not learner["normalize"].pop("images")
    (tmp_path / "config.json").write_text(json.dumps(content | {"format": 17}), encoding="utf-8")
    read = Run.open(tmp_path).config.learner
    assert read.images.channels == "first"
    assert read.normalize.images != whole.config.learner.normalize.images


@pytest.mark.parametrize(
    ("recurrent", "asked", "read"),
    [("gru", 32, 0), ("gru", 16, 16), ("gru", 0, 0), ("none", 32, 32)],
)
def test_a_run_of_format_16_ignored_fs_memory_beside_the_policys(
    recurrent, asked, read, whole, tmp_path
):
    content = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    content["learner"]["recurrence"]["recurrent"] = recurrent
    content["learner"]["trpo"]["memory"] = asked
    (tmp_path / "config.json").write_text(json.dumps(content | {"format": 16}), encoding="utf-8")
    assert Run.open(tmp_path).config.learner.trpo.memory == read


def test_a_command_lines_run_of_format_5_had_no_arguments(whole, tmp_path):
    content = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    environment = {"engine": "auto", "num_envs": 8, "step_timeout": 0.0}
    content |= {"format": 5, "environment": environment}
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    read = from_json(EnvironmentConfig, Run.open(tmp_path).config.environment)
    assert read == EnvironmentConfig(num_envs=8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99}, "format = 99: this version reads formats 1 to"),
        ({"format": "2"}, "format = '2'"),
        ({"threads": "2"}, "threads is '2': expected 2"),
        ({"thread": 2}, "thread is unknown"),
        ({"env": None}, "Expected `str`, got `null`"),
        ({"action_space": {"type": "Discrete"}}, "missing required field `n`"),
    ],
)
def test_a_config_that_does_not_fit_is_named(change, said, whole, tmp_path):
    content = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(content | change), encoding="utf-8")
    with pytest.raises(RunError, match=rf"config.json cannot be read: .*{said}"):
        Run.open(tmp_path)


@pytest.mark.parametrize("name", ["env", "learner", "versions", "environment", "threads"])
def test_a_missing_field_is_named(name, whole, tmp_path):
    content = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    del content[name]
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError, match=rf"{name}"):
        Run.open(tmp_path)


def test_a_missing_option_is_none_of_today(whole, tmp_path):
    content = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    del content["learner"]["trainer"]["gamma"]
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError, match=r"learner\.trainer\.gamma is missing"):
        Run.open(tmp_path)


def test_config_values_out_of_range_are_refused(whole, tmp_path: Path):
    content = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    content["learner"]["trpo"]["max_kl"] = -1.0
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError, match=r"max_kl = -1.0 is out of range"):
        Run.open(tmp_path)
