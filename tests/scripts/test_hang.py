"""An environment in the trainer's own process that hangs: one line, exit code 1, and the last checkpoint as it was."""

import pytest

from agents.checkpoint_folder import CheckpointFolder
from tests.kill import SMALL, start


@pytest.mark.parametrize("env_id", ["TestHangs-v0", "TestSticks-v0", "TestHangingReset-v0"])
def test_an_environment_that_hangs_ends_the_run_in_one_line(env_id, tmp_path):
    err = tmp_path / "err"
    process = start(f"train tests.worlds:{env_id} {SMALL} --step-timeout 0.5 --runs {tmp_path}", err)
    process.join(60)
    assert process.exitcode == 1
    assert err.read_text() == f"trpo: {env_id} gave no answer within 0.5 s, in update 1\n"


def test_a_run_whose_environment_hangs_keeps_its_checkpoint(tmp_path):
    err, run = tmp_path / "err", tmp_path / "tests.worlds-TestFalters-v0" / "x"
    train = f"train tests.worlds:TestFalters-v0 {SMALL} --seed 5 --step-timeout 0.5 --runs {tmp_path} --name x --resume"
    for _ in range(2):  # with this seed it hangs in update 6, each time
        process = start(train, err)
        process.join(60)
        assert process.exitcode == 1
        assert err.read_text() == "trpo: TestFalters-v0 gave no answer within 0.5 s, in update 6\n"
        assert (run / "metrics.csv").read_bytes().count(b"\n") == 6  # the header, and 5 updates
        newest = CheckpointFolder(run / "checkpoints").newest(pytest.fail)
        assert newest.state["update"] == 3
