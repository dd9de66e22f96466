"""Output degrades to what its stream can show, never ends a training, and moves nobody's cursor."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import FORKS, SMALL, start
from trpo.scripts import __main__
from trpo.scripts.cli.interrupt import Interrupt
from trpo.scripts.cli.output import printable

HOME = Path(__file__).resolve().parents[3]
TRAIN = [sys.executable, "-m", "trpo.scripts", "train", "CartPole-v1", *SMALL.split()]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CLOSED = 'exec "$@" >&- 2>&-'
FULL = '"$@" > /dev/full'


def checkpoints(runs: Path) -> list[str]:
    return sorted(path.name for path in runs.glob("CartPole-v1/x/checkpoints/update-*"))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_will_do(encoding, tmp_path, monkeypatch, capsys):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert __main__.main([*TRAIN[3:], "--runs", str(tmp_path), "--name", "x"]) == 0
    out = stream.buffer.getvalue().decode(encoding)
    limit = "KL(old ‖ new) ≤ 0.02" if encoding == "utf-8" else "KL(old || new) <= 0.02"
    assert limit in out
    assert not capsys.readouterr().err


def test_the_help_of_a_plain_terminal(tmp_path):
    words = [*TRAIN[:4], "--help"]
    process = subprocess.run(
        words, cwd=HOME, env=os.environ | ASCII, capture_output=True, check=True
    )
    assert b"--max-kl FLOAT" in process.stdout
    assert process.stdout.isascii()


def test_training_goes_on_with_its_streams_closed(tmp_path):
    words = [*TRAIN, "--runs", str(tmp_path), "--name", "x"]
    shell = ["bash", "-c", CLOSED, "bash", *words]
    subprocess.run(shell, cwd=HOME, env=os.environ | ASCII, check=True)
    assert checkpoints(tmp_path)[-1] == "update-000011.safetensors"


def nobody_reads() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def train_into(open_output: Callable[[], int], words: str, err: str) -> None:
    sys.stdout = open(open_output(), "w", encoding="utf-8")  # noqa: SIM115 as long as the process
    os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
    sys.exit(__main__.main(words.split()))


@pytest.mark.parametrize("open_output", [nobody_reads, full_disk])
def test_training_goes_on_without_its_output(open_output, tmp_path):
    words = f"train CartPole-v1 {SMALL} --runs {tmp_path} --name x"
    err = tmp_path / "err"
    process = FORKS.Process(target=train_into, args=(open_output, words, str(err)))
    process.start()
    process.join()
    said = err.read_text(encoding="utf-8")
    assert process.exitcode == 0, said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 1
    assert checkpoints(tmp_path)[-1] == "update-000011.safetensors"


@pytest.mark.parametrize("command", ["presets", "--help", "train --help"])
def test_a_result_that_cannot_be_printed_is_a_failure(command):
    words = [sys.executable, "-m", "trpo.scripts", *command.split()]
    shell = ["bash", "-c", FULL, "bash", *words]
    process = subprocess.run(shell, cwd=HOME, capture_output=True, encoding="utf-8", check=False)
    assert process.returncode == 1
    assert process.stderr == "trpo: standard output: No space left on device\n"


def test_a_terminal_that_hangs_up_saves(tmp_path):
    words = f"train CartPole-v1 {SMALL} --total-steps 1000000 --runs {tmp_path} --name x"
    process = start(words)
    while process.is_alive() and not checkpoints(tmp_path):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGHUP)
    process.join(60)
    assert process.exitcode == 128 + signal.SIGHUP
    rows = (tmp_path / "CartPole-v1" / "x" / "metrics.csv").read_bytes().count(b"\n") - 1
    assert checkpoints(tmp_path)[-1] == f"update-{rows:06d}.safetensors"


def test_a_terminal_that_hangs_up_is_nothing_to_a_command_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupt.signal is None
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
@pytest.mark.parametrize("library", ["numpy", "libtorch_cpu", "msgspec"])
def test_ctrl_c_while_it_imports_is_told_in_a_line(library, tmp_path):
    words = [*TRAIN, "--runs", str(tmp_path)]
    process = subprocess.Popen(
        words, cwd=HOME, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8"
    )
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and library not in maps.read_text(encoding="utf-8"):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "trpo: interrupted\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("CartPole-v1", "CartPole-v1"),
        ("π ≤ ‖δ‖", "π ≤ ‖δ‖"),
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("two\nlines\r", r"two\nlines\r"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
    ],
)
def test_control_characters_are_spelt_out(text, shown):
    assert printable(text) == shown


def test_the_message_of_an_environment_moves_no_cursor(tmp_path, monkeypatch, capsys):
    (tmp_path / "sly.py").write_text(
        "import gymnasium as gym\n"
        "class Sly(gym.Env):\n"
        "    def __init__(self):\n"
        "        raise RuntimeError('\\x1b[2J\\x1b[31mowned')\n"
        "gym.register('Sly-v0', Sly)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert __main__.main(["train", "sly:Sly-v0", "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert r"\x1b[2J\x1b[31mowned" in said
