"""What somebody meets who uses the commands for the first time."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import HOME
from trpo.scripts import __main__
from trpo.scripts.cli.command import UsageError, parse
from trpo.scripts.cli.numbers import readable, whole_number
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


def test_a_run_too_short_for_a_best_checkpoint_says_when_there_is_one(lake, capsys):
    said = refusal(["evaluate", str(lake), "--best"], capsys)
    assert "holds no best.safetensors yet: it is kept at resume points" in said


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
    assert "1 runs of 512 steps: 1 methods × 1 step sizes × 1 seeds" in out
