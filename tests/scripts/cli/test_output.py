"""Output degrades to what its stream can show, never ends a training, and moves nobody's cursor."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import SMALL
from trpo.scripts import __main__
from trpo.scripts.cli.output import printable

HOME = Path(__file__).resolve().parents[3]
TRAIN = [sys.executable, "-m", "trpo.scripts", "train", "CartPole-v1", *SMALL.split()]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CLOSED = 'exec "$@" >&- 2>&-'
GONE = '"$@" | head -c 1 > /dev/null; exit "${PIPESTATUS[0]}"'
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


@pytest.mark.parametrize("how", [CLOSED, GONE, FULL], ids=["closed", "gone", "full"])
def test_training_goes_on_without_its_output(how, tmp_path):
    words = [*TRAIN, "--runs", str(tmp_path), "--name", "x"]
    shell = ["bash", "-c", how, "bash", *words]
    process = subprocess.run(
        shell, cwd=HOME, env=os.environ | ASCII, capture_output=True, encoding="ascii", check=False
    )
    assert process.returncode == 0
    assert "Traceback" not in process.stderr
    assert len(process.stderr.splitlines()) <= 1
    assert checkpoints(tmp_path)[-1] == "update-000011.safetensors"


@pytest.mark.parametrize("command", ["presets", "--help", "train --help"])
def test_a_result_that_cannot_be_printed_is_a_failure(command):
    words = [sys.executable, "-m", "trpo.scripts", *command.split()]
    shell = ["bash", "-c", FULL, "bash", *words]
    process = subprocess.run(shell, cwd=HOME, capture_output=True, encoding="utf-8", check=False)
    assert process.returncode == 1
    assert process.stderr == "trpo: standard output: No space left on device\n"


def test_a_terminal_that_hangs_up_saves(tmp_path):
    words = [*TRAIN, "--total-steps", "1000000", "--runs", str(tmp_path), "--name", "x"]
    process = subprocess.Popen(words, cwd=HOME, stdout=subprocess.DEVNULL)
    while process.poll() is None and not checkpoints(tmp_path):
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 128 + signal.SIGHUP
    rows = (tmp_path / "CartPole-v1" / "x" / "metrics.csv").read_bytes().count(b"\n") - 1
    assert checkpoints(tmp_path)[-1] == f"update-{rows:06d}.safetensors"


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


def test_the_message_of_an_environment_moves_no_cursor(tmp_path):
    (tmp_path / "sly.py").write_text(
        "import gymnasium as gym\n"
        "class Sly(gym.Env):\n"
        "    def __init__(self):\n"
        "        raise RuntimeError('\\x1b[2J\\x1b[31mowned')\n"
        "gym.register('Sly-v0', Sly)\n",
        encoding="utf-8",
    )
    words = [*TRAIN[:4], "sly:Sly-v0", "--runs", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": f"{HOME}{os.pathsep}{tmp_path}"}
    process = subprocess.run(
        words, cwd=HOME, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert process.returncode == 2
    assert "\x1b" not in process.stderr
    assert r"\x1b[2J\x1b[31mowned" in process.stderr
