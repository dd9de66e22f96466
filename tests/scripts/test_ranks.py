"""`trpo train` by several processes, as torchrun starts them: one run, one line of failure."""

import os
import signal
from pathlib import Path

from tests.groups import Launch
from tests.kill_ranks import never_killed, survive
from tests.processes import SMALL, UPDATES, start, untimed_rows, updates_of
from trpo.agents.storage.checkpoint import load_checkpoint


def test_processes_train_one_run_and_go_on_with_it(tmp_path: Path):
    train = f"train CartPole-v1 {SMALL} --runs {tmp_path} --name"
    launch = Launch(f"{train} x --resume", 2, tmp_path)
    alone = start(f"{train} alone")
    assert launch.join() == [0, 0]
    assert launch.said == []
    run = tmp_path / "CartPole-v1" / "x"
    assert updates_of(run) > UPDATES - 3  # by how many steps are resets

    again = Launch(f"{train} x --resume", 2, tmp_path, 1)  # there is nothing left to do
    refused = Launch(f"{train} x", 2, tmp_path, 2)
    assert again.join() == [0, 0], again.said
    assert refused.join() == [2, 1]
    assert refused.said == [
        f"trpo: run {run} exists: choose another --name, or resume it with --resume"
    ]

    alone.join()
    first, one = (row for run in ("x", "alone") for row in untimed_rows(run_of(tmp_path, run))[:1])
    assert first["steps"] == one["steps"]
    assert abs(float(first["update/mean_kl"]) / float(one["update/mean_kl"]) - 1) < 1e-3
    theirs, mine = (
        load_checkpoint(run_of(tmp_path, run) / "checkpoints" / "update-000003.safetensors")
        for run in ("x", "alone")
    )
    assert theirs.state.keys() == mine.state.keys()
    assert {name: t.shape for name, t in theirs.tensors.items()} == {
        name: t.shape for name, t in mine.tensors.items()
    }  # either can go on from it


def run_of(runs: Path, name: str) -> Path:
    return runs / "CartPole-v1" / name


def test_what_is_wrong_is_told_once(tmp_path: Path):
    odd = Launch(f"train CartPole-v1 {SMALL} --num-envs 9 --runs {tmp_path}", 2, tmp_path)
    resume = Launch("resume runs/x", 2, tmp_path, 1)
    broken = Launch(
        f"train tests.environments:TestRaises-v0 {SMALL} --runs {tmp_path}", 2, tmp_path, 2
    )
    assert odd.join() == resume.join() == [2, 2]
    assert odd.said == [
        "trpo: batch_size = 256 is not a multiple of num_envs = 9: the nearest are 252 and 261"
    ]
    assert resume.said == [
        "trpo: trpo resume runs in one process, not under torchrun: "
        "to resume a run there, trpo train ENV --name NAME --resume"
    ]
    assert broken.join() == [1, 1]
    (line,) = broken.said
    assert "TestRaises-v0" in line
    assert line.endswith("in update 1")


def test_a_run_one_of_whose_processes_is_killed_ends_as_if_it_never_was(tmp_path: Path):
    assert survive(0, tmp_path, never_killed(tmp_path)) == []


def test_a_process_that_hangs_is_waited_for_as_long_as_is_said(tmp_path: Path):
    train = f"train CartPole-v1 {SMALL} --runs {tmp_path} --group-timeout 5 --checkpoint-interval 2"
    launch = Launch(f"{train} --total-steps 1000000 --name x", 2, tmp_path)
    leader, other = launch.processes
    run = run_of(tmp_path, "x")
    while leader.is_alive() and updates_of(run) < 3:
        leader.join(0.01)
    os.kill(other.pid, signal.SIGSTOP)
    leader.join(60)
    other.kill()
    assert launch.join() == [1, -signal.SIGKILL]
    (line,) = launch.said
    assert line.startswith("trpo: another process of the group is lost: ")
    assert (run / "checkpoints" / "update-000002.safetensors").exists()


def test_an_environment_that_hangs_in_every_process_is_told_once(tmp_path: Path):
    train = f"train tests.environments:TestHangs-v0 {SMALL} --runs {tmp_path} --step-timeout 0.5"
    launch = Launch(train, 2, tmp_path)
    assert launch.join() == [1, 1]
    (line,) = launch.said
    assert line.endswith("TestHangs-v0 gave no answer within 0.5 s, in update 1")
