"""Environments that hang, or whose process dies: one line and the last checkpoint, or a restart."""

import csv
import os
import signal
from pathlib import Path

import pytest

from tests.processes import SMALL, launch, start, wait_for_rows
from trpo.agents.storage.checkpoint_folder import CheckpointFolder


@pytest.mark.parametrize("env_id", ["TestHangs-v0", "TestSticks-v0", "TestHangingReset-v0"])
def test_an_environment_that_hangs_ends_the_run_in_one_line(env_id, tmp_path):
    err = tmp_path / "err"
    process = start(
        f"train tests.environments:{env_id} {SMALL} --step-timeout 0.5 --runs {tmp_path}", err
    )
    process.join(60)
    assert process.exitcode == 1
    assert (
        err.read_text(encoding="utf-8")
        == f"trpo: {env_id} gave no answer within 0.5 s, in update 1\n"
    )


def test_a_run_whose_environment_hangs_keeps_its_checkpoint(tmp_path):
    err, run = tmp_path / "err", tmp_path / "tests.environments-TestFalters-v0" / "x"
    train = (
        f"train tests.environments:TestFalters-v0 {SMALL} --seed 5 --step-timeout 0.5 "
        f"--runs {tmp_path} --name x --resume"
    )
    for _ in range(2):  # with this seed it hangs in update 6, each time
        process = start(train, err)
        process.join(60)
        assert process.exitcode == 1
        assert (
            err.read_text(encoding="utf-8")
            == "trpo: TestFalters-v0 gave no answer within 0.5 s, in update 6\n"
        )
        assert (run / "metrics.csv").read_bytes().count(b"\n") == 6  # the header, and 5 updates
        newest = CheckpointFolder(run / "checkpoints").newest(pytest.fail)
        assert newest.state["update"] == 3


@pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="/proc tells which processes are the environments'"
)
@pytest.mark.parametrize("max_restarts", [0, 2])
def test_a_killed_environment_process_ends_the_run_or_is_replaced(max_restarts, tmp_path):
    run = tmp_path / "CartPole-v1" / "x"
    options = (
        f"{SMALL} --checkpoint-interval 99 --engine gymnasium-async "
        f"--max-restarts {max_restarts} --runs {tmp_path} --name x"
    )
    process = launch(["train", "CartPole-v1", *options.split()])
    for update in range(1, max_restarts + 2, 2):
        wait_for_rows(process, run, update)
        children = (
            Path(f"/proc/{process.pid}/task/{process.pid}/children")
            .read_text(encoding="utf-8")
            .split()
        )
        os.kill(int(children[3]), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    if max_restarts == 0:
        assert process.returncode == 1
        died = (
            "trpo: CartPole-v1 raised ChildProcessError: "
            "the process of an environment died, in update "
        )
        assert err.startswith(died)
        return
    assert process.returncode == 0
    assert not err
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        restarts = [float(row["environment/restarts"]) for row in csv.DictReader(file)]
    assert (restarts[0], restarts[-1]) == (0, 2)
