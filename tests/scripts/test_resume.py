"""Going on with a run: exactly, by the command, after signals; and what is said if it cannot be."""

import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

import tests.environments  # noqa: F401 registers environments
from tests.processes import SMALL, differences, launch, rows, start, updates_of, wait_for_rows
from trpo.agents.storage.checkpoint import load_checkpoint, save_checkpoint
from trpo.scripts import __main__

TRAIN = ["train", "CartPole-v1", *SMALL.split()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that was never stopped."""
    runs = tmp_path_factory.mktemp("runs")
    assert __main__.main([*TRAIN, "--runs", str(runs), "--name", "whole"]) == 0
    return runs / "CartPole-v1" / "whole"


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.mark.parametrize(("steps", "resume_point"), [("1000", 3), ("300", 0)])
def test_a_finished_run_goes_on_for_longer_exactly(steps, resume_point, whole, tmp_path, capsys):
    words = [*TRAIN, "--runs", str(tmp_path), "--name", "short", "--total-steps", steps]
    assert __main__.main(words) == 0
    short = tmp_path / "CartPole-v1" / "short"
    before = json.loads((short / "config.json").read_text(encoding="utf-8"))
    assert __main__.main(["resume", str(short)]) == 2
    assert re.fullmatch(
        r"trpo: run .*short is finished: it took [\d,]+ steps; "
        r"to continue, give a larger --total-steps",
        capsys.readouterr().err.strip(),
    )
    total_steps = json.loads((whole / "config.json").read_text(encoding="utf-8"))["learner"][
        "trainer"
    ]["total_steps"]
    again = updates_of(short) - resume_point
    assert again > 0
    assert __main__.main(["resume", str(short), "--total-steps", str(total_steps)]) == 0
    out = capsys.readouterr().out
    assert f"resuming after update {resume_point}," in out
    assert f"; {again} updates are made again\n" in out
    assert not differences(whole, short)
    before["learner"]["trainer"]["total_steps"] = total_steps
    assert json.loads((short / "config.json").read_text(encoding="utf-8")) == before


def test_a_run_whose_environment_has_other_spaces_now_does_not_go_on(copy, capsys):
    path = copy / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["action_space"]["n"] = 3
    path.write_text(json.dumps(config), encoding="utf-8")
    assert __main__.main(["resume", str(copy), "--total-steps", "100000"]) != 0
    said = capsys.readouterr().err.strip()
    assert re.fullmatch(
        r"trpo: run .*copy cannot be resumed: CartPole-v1 has action_space Discrete\(2\), "
        r"the run Discrete\(3\)",
        said,
    )


def test_a_run_whose_resume_point_reached_the_return_to_stop_at_is_finished(tmp_path, capsys):
    words = [*TRAIN, "--runs", str(tmp_path), "--name", "x", "--quiet"]
    assert __main__.main([*words, "--total-steps=1000", "--eval-every=256"]) == 0
    run = tmp_path / "CartPole-v1" / "x"
    resume_point, _ = sorted((run / "checkpoints").glob("update-*"))
    checkpoint = load_checkpoint(resume_point)  # of update 3; the newest is of update 4
    reached = checkpoint.state | {"evaluation_return": 600.0}  # more than the newest's can be
    save_checkpoint(resume_point, checkpoint.tensors, reached)
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    words = ["resume", str(run), "--total-steps", "4000"]
    assert __main__.main([*words, "--stop-return", "550"]) == 2
    assert re.search(
        r"x is finished: it took [\d,]+ steps, and its last evaluation's return was 600.00; "
        r"to continue, give a larger --total-steps or --stop-return\n$",
        capsys.readouterr().err,
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    assert __main__.main([*words, "--stop-return", "650"]) == 0


def test_rows_after_the_checkpoint_are_made_again(whole, copy):
    for path in sorted((copy / "checkpoints").glob("update-*"))[-2:]:
        path.unlink()
    with (copy / "metrics.csv").open("ab") as file:
        file.write(b"99,half a ro")
    assert __main__.main(["resume", str(copy)]) == 0
    assert not differences(whole, copy)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(whole, copy, capsys):
    newest = sorted((copy / "checkpoints").glob("update-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    assert __main__.main(["evaluate", str(copy), "--episodes", "1"]) == 0
    assert re.fullmatch(
        rf"trpo: warning: .*{newest.name} is damaged.*; trying the one before it\n",
        capsys.readouterr().err,
    )
    assert __main__.main(["resume", str(copy)]) == 0
    assert newest.name in capsys.readouterr().err
    assert not differences(whole, copy)
    for path in (copy / "checkpoints").iterdir():
        path.write_bytes(b"")
    assert __main__.main(["resume", str(copy)]) == 2
    assert "holds no checkpoint that can be used" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_begins_anew(whole, copy):
    for path in (copy / "checkpoints").iterdir():
        path.unlink()
    assert __main__.main(["resume", str(copy)]) == 0
    assert not differences(whole, copy)


def test_a_table_that_lacks_rows_is_named(copy, capsys):
    lines = rows(copy)
    (copy / "metrics.csv").write_bytes(b"".join(lines[:2] + lines[3:]))
    assert __main__.main(["resume", str(copy), "--total-steps", "10000"]) == 2
    assert re.search(
        r"cannot be resumed: .*metrics.csv lacks some of the first \d+ updates",
        capsys.readouterr().err,
    )


def test_networks_that_do_not_fit_are_named(copy, capsys):
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["learner"]["policy"]["hidden"] = [9]
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert __main__.main(["resume", str(copy), "--total-steps", "10000"]) == 2
    assert capsys.readouterr().err == (
        "trpo: the checkpoint's networks are not those of the configuration: "
        "policy.network.head.0.weight is float32 [8, 4]: expected float32 [9, 4]\n"
    )


def test_other_versions_are_remarked_on(copy, capsys):
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["versions"]["torch"] = "1.0"
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert __main__.main(["resume", str(copy), "--total-steps", "4000"]) == 0
    assert "trpo: warning: the run was started with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "engine"), [(signal.SIGINT, "gymnasium-async"), (signal.SIGTERM, "envpool")]
)
def test_a_signal_finishes_the_update_and_says_how_to_go_on(number, engine, tmp_path):
    words = [
        *TRAIN,
        "--total-steps",
        "1000000",
        "--engine",
        engine,
        "--runs",
        str(tmp_path),
        "--name",
        "x",
    ]
    run = tmp_path / "CartPole-v1" / "x"
    process = launch(words)
    wait_for_rows(process, run, 2)
    os.killpg(process.pid, number)  # as a terminal does: the environments' processes, too
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert not err
    updates = len(rows(run)) - 1
    said = f"trpo resume {run} resumes after update {updates - updates % 3}, its last resume point"
    assert out.splitlines()[-1] == f"interrupted, and saved; {said}"
    state = load_checkpoint(run / "checkpoints" / f"update-{updates:06d}.safetensors").state
    assert state["update"] == updates
    assert state["at_resume_point"] == (updates % 3 == 0)


def test_a_second_signal_ends_at_once(tmp_path):
    words = [
        *TRAIN,
        "--total-steps",
        "100000000",
        "--batch-size",
        "400000",
        "--runs",
        str(tmp_path),
        "--name",
        "x",
    ]
    process = launch(words)
    while process.poll() is None and not (tmp_path / "CartPole-v1" / "x" / "metrics.csv").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None  # at work on its update
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)
    # which is handled last, where both came within one call into C: in the order of their numbers
    assert process.returncode in {130, 143}
    assert err == "trpo: interrupted again: ended at once, without saving\n"


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_tracker_that_is_not_installed_any_more_ends_no_run(copy, monkeypatch, capsys):
    (copy / "tracking.json").write_text('{"wandb": "abc"}', encoding="utf-8")
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "trpo.agents.runs.wandb_run", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    words = ["resume", str(copy), "--total-steps", "4000"]
    assert __main__.main([*words, "--track", "mlflow"]) == 2
    assert "tracker mlflow is not installed" in capsys.readouterr().err
    assert __main__.main(words) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("trpo: warning: wandb: ModuleNotFoundError: ")
    assert line.endswith("; training continues without it")
    assert (copy / "tracking.json").read_text(encoding="utf-8") == '{"wandb": "abc"}'


def test_a_second_process_on_the_same_run_is_refused(copy, capsys, request):
    process = start(f"resume {copy} --total-steps 100000000")
    request.addfinalizer(process.kill)  # when an assertion fails, too
    count = len(rows(copy)) + 1
    while process.is_alive() and len(rows(copy)) < count:
        time.sleep(0.005)
    before = (copy / "config.json").read_bytes()
    assert __main__.main(["resume", str(copy), "--total-steps", "1000"]) == 1  # worth another try
    assert capsys.readouterr().err == f"trpo: run {copy} is being trained by another process\n"
    assert (copy / "config.json").read_bytes() == before
    process.kill()
    process.join()
    # refused for another reason: the lock is gone
    assert __main__.main(["resume", str(copy), "--total-steps", "1000"]) == 2
    assert "is finished" in capsys.readouterr().err


def test_train_resume_begins_goes_on_and_ends_well(whole, tmp_path, capsys):
    words = [*TRAIN, "--runs", str(tmp_path), "--name", "x", "--resume"]
    run = tmp_path / "CartPole-v1" / "x"
    (run / "checkpoints").mkdir(parents=True)  # killed before it had begun
    process = start(" ".join(words))
    while process.is_alive() and updates_of(run) < 7:
        time.sleep(0.001)
    process.kill()
    process.join()
    assert __main__.main(words) == 0
    assert "resuming after update" in capsys.readouterr().out
    assert not differences(whole, run)
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert __main__.main(words) == 0  # as a scheduler may have it
    assert re.fullmatch(r"run .*x is finished: it took [\d,]+ steps\n", capsys.readouterr().out)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files


def test_train_resume_with_another_end_says_how_to_have_it(copy, capsys):
    end = ["--total-steps", "4000"]
    assert __main__.main(["resume", str(copy), *end]) == 0
    folder = copy.parent / "CartPole-v1" / "longer"
    folder.parent.mkdir()
    copy.rename(folder)
    words = [*TRAIN, "--runs", str(copy.parent), "--name", "longer", "--resume"]
    assert __main__.main([*words, *end]) == 0
    assert __main__.main([*words, "--total-steps", "5000"]) == 2
    command = f"trpo resume {folder} --total-steps 5000"
    assert capsys.readouterr().err == (
        f"trpo: run {folder} has learner.trainer.total_steps = 4000, not 5000: "
        f"change that by {command}\n"
    )
    assert __main__.main(command.split()[1:]) == 0
    assert __main__.main([*words, "--total-steps", "3000"]) == 2  # fewer than it took
    assert "= 5000, not 3000: choose another --name\n" in capsys.readouterr().err


def test_train_resume_with_another_return_to_stop_at_says_how_to_have_it(tmp_path, capsys):
    words = [*TRAIN, "--eval-every", "1000", "--runs", str(tmp_path), "--name", "x"]
    assert __main__.main([*words, "--stop-return", "1"]) == 0
    again = [*words, "--resume", "--stop-return", "400"]
    assert __main__.main(again) == 2
    command = f"trpo resume {tmp_path}/CartPole-v1/x --stop-return 400.0"
    assert f"change that by {command}\n" in capsys.readouterr().err
    assert __main__.main(command.split()[1:]) == 0
    assert __main__.main([*again, "--stop-return", "300"]) == 2  # took its --total-steps
    assert "= 400.0, not 300.0: choose another --name\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--gamma 0.9", "learner.trainer.gamma = 0.99, not 0.9"),
        ("--num-envs 4", "environment.num_envs = 8, not 4"),
        ("--value.hidden 9", r"learner.value.hidden = \[8\], not \[9\]"),
        ("--threads 2", "threads = 1, not 2"),
    ],
)
def test_train_resume_goes_on_with_the_same_configuration_only(words, said, whole, capsys):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    again = [*TRAIN, "--runs", str(whole.parent.parent), "--name", "whole", "--resume"]
    assert __main__.main([*again, *words.split()]) == 2
    assert re.fullmatch(
        rf"trpo: run {whole} has {said}: choose another --name\n", capsys.readouterr().err
    )
    # whatever this machine has: the run keeps its own
    assert __main__.main([*again, "--threads", "0"]) == 0
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before
