"""What somebody meets who uses the commands for the first time."""

import io
import os
import re
import subprocess
import sys
import warnings
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import pytest
from rich.console import Console

import tests.environments  # noqa: F401 registers environments
from tests.helpers import HOME, make_trainer, run
from trpo.agents.trainer import TrainingError
from trpo.agents.updates.trpo import TrpoConfig
from trpo.envs.errors import versions_of
from trpo.scripts import __main__
from trpo.scripts.cli.command import UsageError, parse, run_command
from trpo.scripts.cli.display import Display
from trpo.scripts.cli.numbers import nats, readable, whole_number
from trpo.scripts.cli.options import parse_train_options

SMALL = ["--batch-size", "256", "--num-envs", "8", "--hidden", "8", "--threads", "1"]


def train(runs: Path, env: str, *words: str) -> Path:
    """A run of a few updates."""
    options = ["--total-steps", "500", *SMALL, "--runs", str(runs), "--name", "x", *words]
    assert __main__.main(["train", env, *options]) == 0
    return runs / env.replace("/", "-").replace(":", "-") / "x"


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    """A run that ended before its first resume point."""
    return train(tmp_path_factory.mktemp("runs"), "FrozenLake-v1")


def refusal(words, capsys) -> str:
    """What a command says of input that it cannot use: one line."""
    assert __main__.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("text", ["100000", "1e5", "100_000", "1E+5", "10e4", "100000.0"])
def test_a_whole_number_is_read_as_people_write_it(text):
    options = parse_train_options(["CartPole-v1", "--total-steps", text])
    assert options.learner.trainer.total_steps == 100_000


@pytest.mark.parametrize("text", ["1.5", "1e-5", "much", "inf", "nan", "1e999999999", ""])
def test_what_is_no_whole_number_is_told_so(text, capsys):
    with pytest.raises(ValueError, match="no integer"):
        whole_number(text)
    said = refusal(["train", "CartPole-v1", "--total-steps", text or "''"], capsys)
    assert "--total-steps" in said
    assert "is no integer, such as 100000 or 1e5" in said


def test_widths_and_seeds_are_whole_numbers_too():
    options = parse_train_options(["CartPole-v1", "--hidden", "1e2", "32", "--seed", "1e9"])
    assert options.learner.policy.hidden == (100, 32)
    assert options.learner.trainer.seed == 10**9


def test_an_option_that_may_be_absent_reads_them_alike():
    @dataclass
    class Options:
        steps: int | None = None

    assert parse(Options, ["--steps", "1e5"], "x") == Options(100_000)
    with pytest.raises(UsageError):
        parse(Options, ["--steps", "1.5"], "x")


def test_environments_that_do_not_divide_the_batch_are_told_what_does(capsys):
    said = refusal(["train", "CartPole-v1", "--num-envs", "30"], capsys)
    assert "batch_size = 2048 is not a multiple of num_envs = 30" in said
    assert "the nearest are 2040 and 2070" in said
    parse_train_options(["CartPole-v1", "--num-envs", "30", "--batch-size", "2070"])


def test_version(capsys):
    assert __main__.main(["--version"]) == 0
    assert re.fullmatch(r"trpo \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_an_error_is_not_said_twice(capsys):
    said = refusal(["train", "CartPole-v1", "--max-kll", "1"], capsys)
    assert said.startswith("trpo: Unrecognized options: --max-kll, 1 Perhaps you meant: --max-kl")
    said = refusal(["train", "CartPole-v1", "--total-steps"], capsys)
    assert said.startswith("trpo: Missing value for argument '--total-steps'")


def test_help_fits_a_terminal_of_80_columns(capsys):
    assert __main__.main(["--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_small_returns_have_the_decimals_that_tell():
    assert readable(0.74, 1.0) == ["0.740", "1.000"]
    assert readable(-12.345) == ["-12.35"] or readable(-12.345) == ["-12.34"]
    assert readable(6494.04, 12.0) == ["6,494.0", "12.0"]


def test_frozen_lake_is_evaluated_to_three_decimals(lake, capsys):
    assert __main__.main(["evaluate", str(lake), "--episodes", "8"]) == 0
    assert re.search(r"return +\d\.\d{3} ± \d\.\d{3}, from 0\.000", capsys.readouterr().out)


def test_a_run_too_short_to_choose_a_best_checkpoint_has_its_last_as_the_best(lake, capsys):
    assert __main__.main(["evaluate", str(lake), "--best", "--episodes", "2"]) == 0
    (lake / "checkpoints" / "best.safetensors").unlink()  # as while it is trained
    said = refusal(["evaluate", str(lake), "--best"], capsys)
    assert "holds no best.safetensors yet: it is chosen at resume points" in said


def test_a_reader_that_leaves_ends_a_command_without_a_word(lake):
    (lake / "evaluation.json").unlink(missing_ok=True)
    gone, output = os.pipe()
    os.close(gone)
    command = [sys.executable, "-m", "trpo.scripts", "evaluate", str(lake), "--episodes", "2"]
    ended = subprocess.run(command, cwd=HOME, stdout=output, stderr=subprocess.PIPE, check=False)
    os.close(output)
    assert (ended.returncode, ended.stderr) == (141, b"")
    assert (lake / "evaluation.json").exists()  # what was played is kept


def test_options_of_a_comparison_need_no_equals_sign_and_its_size_is_said(tmp_path, capsys):
    words = ["compare", "CartPole-v1", "--methods", "trpo", "--step-sizes", "1", "--seeds", "1"]
    words += [
        "--steps",
        "512",
        "--out",
        str(tmp_path),
        "--options",
        "--num-envs 8 --batch-size 256",
    ]
    assert __main__.main(words) == 0
    out = capsys.readouterr().out
    assert "1 run of 512 steps: 1 method × 1 step size × 1 seed" in out


@pytest.mark.parametrize("engine", ["gymnasium", "gymnasium-async"])
@pytest.mark.parametrize(
    ("env_id", "what"),
    [
        ("TestOldGymseed-v0", "TypeError: reset() takes no seed"),
        ("TestOldGymreset-v0", "TypeError: reset() returns no (observation, info)"),
        ("TestOldGymstep-v0", "TypeError: step() returns 4 values"),
        ("TestOtherShape-v0", "ValueError: an observation has shape (5,): expected (3,)"),
    ],
)
def test_what_an_environment_does_otherwise_than_gymnasium_is_told(env_id, what, engine):
    with pytest.raises(TrainingError, match=re.escape(what)) as told:
        run(make_trainer(env_id, engine), 1)
    assert (
        "Gym's interface, not Gymnasium's (see gymnasium." in str(told.value) or "Old" not in env_id
    )


def test_an_environment_that_needs_arguments_says_which(capsys):
    said = refusal(["train", "TestNeedsArguments-v0"], capsys)
    assert "'TestNeedsArguments-v0' needs 'size' and 'path': " in said


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_another_version_of_an_environment_is_suggested(capsys):
    assert "did you mean Humanoid-v5?" in refusal(["train", "Humanoid-v6"], capsys)
    assert "did you mean Hopper-v5?" in refusal(["train", "Hopper"], capsys)
    said = refusal(["train", "Hopper-v2", "--engine", "gymnasium"], capsys)
    assert said.endswith("; there is Hopper-v5")
    assert versions_of("A-v7", ["A-v2", "A-v10", "B-v3", "A", "AA-v1"]) == ["A", "A-v2", "A-v10"]


def test_what_a_library_warns_of_comes_once_in_a_line(capsys):
    def warned(_) -> int:
        warnings.simplefilter("always")
        for _ in range(3):
            gym.logger.warn("mind the step\nand the rest")
        return 0

    assert run_command(warned, []) == 0
    assert capsys.readouterr().err == "trpo: warning: mind the step\n"


def test_too_little_memory_is_told_in_a_line(capsys):
    def too_large(_) -> int:
        raise MemoryError

    assert run_command(too_large, []) == 1
    assert capsys.readouterr().err == "trpo: there is not enough memory\n"


def film(folder: Path, out: Path, *words: str) -> int:
    options = ["--episodes", "1", "--max-steps", "20", "--video", str(out), *words]
    return __main__.main(["evaluate", str(folder), *options])


def test_videos_are_named_after_their_run_and_as_many_as_asked_for(lake, tmp_path, capsys):
    assert film(lake, tmp_path, "--video-episodes", "2") == 0
    names = [f"FrozenLake-v1-x-episode-{number}.mp4" for number in (1, 2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(name in capsys.readouterr().out for name in names[:1])


@pytest.mark.filterwarnings("always:Gymnasium has no:UserWarning")
def test_an_environment_that_gymnasium_has_in_another_version_is_filmed(tmp_path, capsys):
    assert film(train(tmp_path, "Taxi-v3"), tmp_path / "video") == 0
    told = r"trpo: warning: Gymnasium has no Taxi-v3: drawing its Taxi-v\d\n"
    assert re.fullmatch(told, capsys.readouterr().err)
    assert (tmp_path / "video" / "Taxi-v3-x-episode-1.mp4").stat().st_size > 1000


def test_an_environment_that_only_envpool_has_is_filmed_by_it(tmp_path):
    highway = train(tmp_path, "highway-v0")
    assert film(highway, tmp_path / "video") == 0


@pytest.fixture(scope="module")
def hopper(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("runs"), "Hopper-v5")


def test_mujoco_is_filmed_without_a_display(hopper, tmp_path, monkeypatch):
    if not (find_library("EGL") or find_library("OSMesa")):
        pytest.skip("this machine has neither EGL nor OSMesa: nothing draws without a display")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "")
    assert film(hopper, tmp_path) == 0
    assert (tmp_path / "Hopper-v5-x-episode-1.mp4").stat().st_size > 1000


def test_where_nothing_can_draw_it_is_said_what_to_install(hopper, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setattr("trpo.envs.recording.find_library", lambda _: None)
    assert film(hopper, tmp_path) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"trpo: Hopper-v5 cannot be drawn: .*apt-get install libegl1.*\n", said)


@pytest.mark.parametrize(
    ("env_id", "why"),
    [
        ("TestOneStep-v0", "its constructor takes no render_mode"),
        ("TestUndrawn-v0", "its render_mode is None where 'rgb_array' was asked for"),
    ],
)
def test_an_environment_that_cannot_be_filmed_says_why(env_id, why, tmp_path, capsys):
    assert film(train(tmp_path, env_id), tmp_path / "video") == 2
    assert f"{env_id} cannot be filmed: {why}" in capsys.readouterr().err


def test_the_panel_says_what_is_asked_first_and_leaves_room_for_a_ctrl_c():
    trainer = make_trainer("Pendulum-v1", trainer={"checkpoint_interval": 100})
    display = Display("Pendulum-v1", trainer, quiet=False)
    display.console = Console(width=80, record=True, file=io.StringIO())
    records = run(trainer, 8)  # of 32 steps an environment: episodes end with the 7th, at 200
    for record in records:
        display.show(record)
    display.console.export_text()
    display.console.print(display._panel(records[-1]))
    shown = display.console.export_text()
    for name in ("return, last 100 episodes", "episode length", "entropy", "elapsed", "steps/s"):
        assert name in shown
    assert max(map(len, shown.splitlines())) <= 76


def test_a_kl_has_the_digits_that_tell_however_small_its_limit(capsys):
    trainer = make_trainer("Pendulum-v1", trpo=TrpoConfig(max_kl=1e-6))
    display = Display("Pendulum-v1", trainer, quiet=False)
    (record,) = run(trainer, 1)
    display.show(record)
    shown = nats(record.metrics["update/mean_kl"])
    assert 0 < float(shown) <= 1e-6
    assert f" {shown} " in capsys.readouterr().out
    assert display._kl(record) == f"{shown} ≤ 1e-06"
    assert [nats(0.01), nats(9.8764321e-7)] == ["0.01000", "9.876e-07"]


def test_an_old_return_has_its_age():
    trainer = make_trainer("Pendulum-v1", trainer={"checkpoint_interval": 100})
    display = Display("Pendulum-v1", trainer, quiet=False)
    records = run(trainer, 12)
    for record in records:
        display.show(record)
    ended = max(record.update for record in records if "episode/return" in record.metrics)
    assert display._return(records[-1]).endswith(f", {12 - ended} updates ago")
