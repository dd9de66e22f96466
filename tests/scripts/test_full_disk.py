"""A full disk, or a limited file size: one line that names the file; the checkpoint stays."""

import errno
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import FORKS, SMALL, differences
from trpo.agents.storage.checkpoint_folder import CheckpointFolder
from trpo.agents.storage.files import AppendedFile
from trpo.scripts import __main__


def limited(words: str, size: int, err: Path) -> None:
    """Run a command in this process, where no file may grow beyond a size, and exit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(__main__.main(words.split()))


@pytest.mark.parametrize(
    ("network", "size", "file"),
    [
        (
            "--value.hidden 8",
            22_000,
            r"events\.out\.tfevents\.[^:]*",
        ),  # it grows beyond the size first
        (
            "--value.hidden 128 128",
            50_000,
            r"checkpoints/(best|update-\d{6})\.safetensors",
        ),  # larger from the start
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
    assert re.fullmatch(
        rf"trpo: {full}/{file}: (File too large|No space left on device)\n",
        err.read_text(encoding="utf-8"),
    )
    assert not list(full.rglob("*.tmp"))
    assert CheckpointFolder(full / "checkpoints").newest(pytest.fail).state["update"] >= 9

    assert __main__.main(["resume", str(full)]) == 0
    assert not differences(whole, full)


def test_a_figure_that_does_not_fit_is_named_and_the_one_before_it_stays(tmp_path):
    words = "compare CartPole-v1 --methods trpo --step-sizes 1 --seeds 1 --steps 1000"
    words += f" --options=--batch-size=256 --out {tmp_path}"
    assert __main__.main(words.split()) == 0
    before = (tmp_path / "kl.png").read_bytes()
    err = tmp_path / "err"
    process = FORKS.Process(target=limited, args=(words, len(before) // 2, err))
    process.start()
    process.join()
    assert (process.exitcode, err.read_text(encoding="utf-8")) == (
        1,
        f"trpo: {tmp_path / 'kl.png'}: File too large\n",
    )
    assert (tmp_path / "kl.png").read_bytes() == before


def test_a_disk_that_is_found_full_late_is_blamed_on_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    said = r"No space left on device: .*/metrics\.csv'"
    with (
        closing(AppendedFile(tmp_path / "metrics.csv")) as file,
        pytest.raises(OSError, match=said),
    ):
        file.sync()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: one that goes on to 6000 steps, and one like it that ended before."""
    runs = tmp_path_factory.mktemp("runs")
    for name, more in (("full", []), ("whole", ["--total-steps", "6000"])):
        assert (
            __main__.main([
                *f"train CartPole-v1 {SMALL} --runs {runs} --name {name}".split(),
                *("--value.hidden", "64", "64"),  # a checkpoint as large as the room that is left
                *more,
            ])
            == 0
        )
    return runs / "CartPole-v1"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB, in memory."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path, room: int) -> Path:
    """Leave `room` bytes of a disk free; return the file that takes up the rest."""
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(disk).free - room))
    return ballast


@pytest.mark.parametrize("room", [0, 12_288, 65_536])
def test_a_full_disk_stops_training_in_one_line_and_it_goes_on_when_there_is_room(
    room, runs, tiny_disk, capsys
):
    full = Path(shutil.copytree(runs / "full", tiny_disk / "full"))
    ballast = fill(tiny_disk, room)
    assert __main__.main(["resume", str(full), "--total-steps", "6000"]) == 1
    assert re.fullmatch(rf"trpo: {full}/[^:]*: No space left on device\n", capsys.readouterr().err)
    assert not list(full.rglob("*.tmp"))
    assert CheckpointFolder(full / "checkpoints").newest(pytest.fail).state["update"] >= 9

    ballast.unlink()
    assert __main__.main(["resume", str(full), "--total-steps", "6000"]) == 0
    assert not differences(runs / "whole", full)


def test_a_new_run_on_a_full_disk_can_be_started_again(tiny_disk, capsys):
    words = [
        *f"train CartPole-v1 {SMALL}".split(),
        "--runs",
        str(tiny_disk),
        "--name",
        "x",
        "--resume",
    ]
    ballast = fill(tiny_disk, 0)
    assert __main__.main(words) == 1
    assert re.fullmatch(
        rf"trpo: {tiny_disk}/[^:]*: No space left on device\n", capsys.readouterr().err
    )
    ballast.unlink()
    assert __main__.main(words) == 0
