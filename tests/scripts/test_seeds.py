"""`trpo train ENV --seeds N` makes the runs that N commands would, and reports them together."""

import os
import signal

import pytest

from tests.processes import SMALL, differences, launch, wait_for_rows
from trpo.agents.runs import Run
from trpo.scripts import __main__
from trpo.scripts.cli.numbers import nats


def test_seeds_are_the_runs_of_single_commands_reported_together(tmp_path, capsys):
    words = ["train", "CartPole-v1", *SMALL.split(), "--runs", str(tmp_path)]
    assert __main__.main([*words, "--seed", "3", "--seeds", "2", "--name", "x"]) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "CartPole-v1"
    finals = []
    for seed in (3, 4):
        assert f"x-seed{seed}: finished" in out
        finals.append(Run.open(folder / f"x-seed{seed}").metrics()["episode/return_100"][-1])
        assert f"{finals[-1]:,.2f}" in out
        kl = Run.open(folder / f"x-seed{seed}").metrics()["update/mean_kl"]
        assert f" {nats(kl.max())} " in out
    said = f"{sum(finals) / 2:,.2f}, from {min(finals):,.2f} to {max(finals):,.2f}, 2 seeds"
    assert said in out
    assert (folder / "x.png").read_bytes().startswith(b"\x89PNG")
    assert __main__.main([*words, "--seed", "4", "--name", "single"]) == 0
    assert not differences(folder / "x-seed4", folder / "single")


def test_seeds_without_an_evaluation_are_reported_by_their_training_episodes(tmp_path, capsys):
    words = ["train", "CartPole-v1", *SMALL.split(), "--total-steps", "1024", "--seeds", "2"]
    words += ["--eval-every", "100000", "--name", "x", "--runs", str(tmp_path)]
    assert __main__.main(words) == 0
    assert "return, last 100 episodes" in capsys.readouterr().out
    assert (tmp_path / "CartPole-v1" / "x.png").exists()


def test_quiet_seeds_are_their_folders_alone(tmp_path, capsys):
    words = ["train", "CartPole-v1", *SMALL.split(), "--total-steps", "512", "--seeds", "2"]
    assert __main__.main([*words, "--name", "x", "--runs", str(tmp_path), "--quiet"]) == 0
    folders = [str(tmp_path / "CartPole-v1" / f"x-seed{seed}") for seed in (0, 1)]
    assert capsys.readouterr().out.splitlines() == folders


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_saves_them_all_and_how_to_go_on_is_told(number, tmp_path):
    words = ["train", "CartPole-v1", *SMALL.split(), "--total-steps=100000000", "--seeds=2"]
    words = [word for word in words if word not in SMALL.split()[:2]]
    words += ["--runs", str(tmp_path), "--name", "x", "--resume"]
    process = launch(words)
    folder = tmp_path / "CartPole-v1"
    for name in ("x-seed0", "x-seed1"):
        wait_for_rows(process, folder / name, 3)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "to resume: the same command with --name x --resume" in out
    assert "exit code 255" not in out  # what a worker seems to end with whose server is gone
    for name in ("x-seed0", "x-seed1"):
        run = Run.open(folder / name)
        newest = run.checkpoints.newest(pytest.fail)
        assert newest.state["update"] == len(run.records())  # saved as it ended


def test_seeds_without_a_name_that_begin_in_the_same_second_have_one_each(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("time.strftime", lambda *_: "now")
    words = ["train", "CartPole-v1", *SMALL.split(), "--total-steps=256", "--seeds=2", "--quiet"]
    for _ in range(2):
        assert __main__.main([*words, "--runs", str(tmp_path)]) == 0
    made = [line.rpartition("/")[2] for line in capsys.readouterr().out.splitlines()]
    assert made == ["now-seed0", "now-seed1", "now-2-seed0", "now-2-seed1"]


def test_input_that_no_seed_can_use_ends_the_others(tmp_path, capsys):
    words = ["train", "CartPole-v9", "--seeds", "5", "--runs", str(tmp_path)]
    assert __main__.main([*words, "--quiet"]) == 2
    assert not capsys.readouterr().out
    assert not any(tmp_path.iterdir())
    assert __main__.main(words) == 2
    assert 1 <= capsys.readouterr().out.count("ended with exit code 2") < 5
