"""A disk that is full, here a limited file size: one line that names the file, and the checkpoint before it as it was."""

import os
import re
import resource
import sys
from pathlib import Path

import pytest

from agents.checkpoint_folder import CheckpointFolder
from scripts import __main__
from tests.kill import FORKS, SMALL, differences


def limited(words: str, size: int, err: Path) -> None:
    """Run a command in this process, in which no file may grow beyond a size, and exit with its code."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(__main__.main(words.split()))


@pytest.mark.parametrize(
    ("network", "size", "file"),
    [
        ("--value.hidden 8", 22_000, r"events\.out\.tfevents\.[^:]*"),  # it grows beyond the size first
        ("--value.hidden 128 128", 50_000, r"checkpoints/(best|update-\d{6})\.safetensors"),  # larger from the start
    ],
)
def test_training_stops_in_one_line_and_goes_on_when_there_is_room(network, size, file, tmp_path):
    words = f"train CartPole-v1 {SMALL} {network} --runs {tmp_path} --name"
    assert __main__.main([*words.split(), "whole", "--total-steps", "6000"]) == 0
    assert __main__.main([*words.split(), "full"]) == 0
    whole, full = tmp_path / "CartPole-v1" / "whole", tmp_path / "CartPole-v1" / "full"

    err = tmp_path / "err"
    process = FORKS.Process(target=limited, args=(f"resume {full} --total-steps 6000", size, err))
    process.start()
    process.join()
    assert process.exitcode == 1
    assert re.fullmatch(rf"trpo: {full}/{file}: (File too large|No space left on device)\n", err.read_text())
    assert not list(full.rglob("*.tmp"))
    assert CheckpointFolder(full / "checkpoints").newest(pytest.fail).state["update"] >= 9

    assert __main__.main(["resume", str(full)]) == 0
    assert not differences(whole, full)
