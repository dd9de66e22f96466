"""The command line as its users meet it: what a run leaves behind, and what bad input is told."""

import csv
import json
import multiprocessing
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from statistics import pstdev

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tests.environments  # noqa: F401 registers environments
from tests.helpers import HOME
from trpo.agents import Agent, evaluate_policy
from trpo.agents.metrics import METRICS
from trpo.agents.runs.board import TAGS
from trpo.agents.storage.checkpoint_folder import BEST
from trpo.envs import EnvironmentConfig, make_vector_env
from trpo.scripts import __main__
from trpo.scripts.cli.numbers import readable
from trpo.scripts.cli.options import cpu_count, parse_train_options
from trpo.scripts.cli.presets import PRESETS
from trpo.scripts.evaluate import EvaluateOptions, evaluate_run

SMALL = [
    "--total-steps",
    "1500",
    "--batch-size",
    "256",
    "--num-envs",
    "8",
    "--hidden",
    "8",
    "--checkpoint-interval",
    "2",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A small run of CartPole, trained by the command."""
    runs = tmp_path_factory.mktemp("runs")
    assert (
        __main__.main([
            "train",
            "CartPole-v1",
            *SMALL,
            "--runs",
            str(runs),
            "--name",
            "small",
            "--threads",
            "1",
        ])
        == 0
    )
    return runs / "CartPole-v1" / "small"


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_folder_holds_what_it_should(run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["env"] == "CartPole-v1"
    assert config["learner"]["trainer"]["batch_size"] == 256
    assert config["versions"]["torch"].startswith("2.")
    assert "git_commit" in config
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names[:3] == [
        "best.safetensors",
        "update-000002.safetensors",
        "update-000004.safetensors",
    ]
    assert names[-1] == f"update-{len(rows(run)):06d}.safetensors"


def test_metrics_table_has_a_row_an_update(run):
    table = rows(run)
    assert list(table[0]) == ["update", "steps", "status", *METRICS]
    assert [int(row["update"]) for row in table] == list(range(1, len(table) + 1))
    assert int(table[-1]["steps"]) >= 1500 > int(table[-2]["steps"])
    assert all(float(row["update/mean_kl"]) <= float(row["trust_region/max_kl"]) for row in table)
    assert not any(value in {"nan", "None", "inf"} for row in table for value in row.values())


def test_tensorboard_has_the_same_numbers_at_the_environment_step(run):
    board = EventAccumulator(str(run), size_guidance={"scalars": 0})
    board.Reload()
    table = rows(run)
    names = {name for name in TAGS if any(row[name] for row in table)}
    assert set(board.Tags()["scalars"]) >= {TAGS[name] for name in names}
    for name in names:
        expected = [(int(row["steps"]), float(row[name])) for row in table if row[name]]
        written = board.Scalars(TAGS[name])
        assert [event.step for event in written] == [step for step, _ in expected]
        values = [value for _, value in expected]
        assert [event.value for event in written] == pytest.approx(values, rel=1e-6)
    assert "custom_scalars__config__" in board.Tags()["tensors"]
    assert "config/text_summary" in board.Tags()["tensors"]
    assert "result/largest_kl" in board.Tags()["scalars"]
    (events,) = run.glob("events*")
    assert b"_hparams_/session_start_info" in events.read_bytes()


def test_training_says_where_the_run_is_and_what_it_came_to(tmp_path, capsys):
    assert (
        __main__.main([
            "train",
            "Pendulum-v1",
            *SMALL,
            "--runs",
            str(tmp_path),
            "--name",
            "x",
            "--threads",
            "1",
        ])
        == 0
    )
    out = capsys.readouterr().out
    for words in (
        "no episode has ended yet",
        "within the limit",
        "largest KL",
        "updates rejected",
        "tensorboard --logdir",
    ):
        assert words in out
    assert str(tmp_path / "Pendulum-v1" / "x") in out


def test_same_seed_same_metrics(run, tmp_path):
    __main__.main([
        "train",
        "CartPole-v1",
        *SMALL,
        "--runs",
        str(tmp_path),
        "--name",
        "again",
        "--threads",
        "1",
    ])
    untimed = [
        [{k: v for k, v in row.items() if "time/" not in k} for row in rows(r)]
        for r in (run, tmp_path / "CartPole-v1/again")
    ]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize("stochastic", [False, True])
def test_evaluate(run, capsys, stochastic):
    words = ["evaluate", str(run), "--episodes", "5", *(["--stochastic"] if stochastic else [])]
    assert __main__.main(words) == 0
    result = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert result["episodes"] == len(result["returns"]) == 5
    assert result["mean_return"] == pytest.approx(sum(result["returns"]) / 5)
    spread = pstdev(result["returns"]), min(result["returns"]), max(result["returns"])
    assert [result[f"{which}_return"] for which in ("std", "min", "max")] == pytest.approx(spread)
    assert result["mean_length"] == result["mean_return"]  # each step is worth 1
    assert result["policy"] == ("stochastic" if stochastic else "deterministic")
    make_env = partial(make_vector_env, "CartPole-v1", EnvironmentConfig(num_envs=5))
    played = evaluate_policy(Agent.load(run), make_env, 5, deterministic=not stochastic)
    assert played == (result["mean_return"], result["std_return"])
    mean = readable(result["mean_return"], result["max_return"])[0]
    assert f"return  {mean} ± " in capsys.readouterr().out


def test_the_seed_of_an_evaluation_is_all_that_its_returns_follow_from(run):
    returns = []
    for seed in (1, 1, 2):
        assert __main__.main(["evaluate", str(run), "--episodes=5", f"--seed={seed}"]) == 0
        result = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
        returns.append(result["returns"])
    assert returns[0] == returns[1] != returns[2]


def test_one_episode_is_no_episodes(run, capsys):
    words = ["evaluate", str(run), "--episodes=1", "--max-steps=3"]
    assert __main__.main(words) == 0
    out = capsys.readouterr().out
    assert ", 1 episode\n" in out
    assert "1 episode, after 3 steps\n" in out


def test_a_checkpoints_file_is_played_and_exported_in_place_of_its_runs_newest(run, capsys):
    file = run / "checkpoints" / "update-000002.safetensors"
    assert __main__.main(["evaluate", str(file), "--episodes=2"]) == 0
    result = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert (result["checkpoint"], result["update"]) == ("update-000002", 2)
    assert "of the update-000002 checkpoint: update 2, " in capsys.readouterr().out
    assert __main__.main(["export", str(file), "--to=torchscript"]) == 0
    (run / "policy.pt").unlink()
    assert __main__.main(["evaluate", str(file), "--best"]) == 2
    assert "is a checkpoint already: leave out --best" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "threads"), [([], cpu_count()), (["--threads=3"], 3)])
def test_an_evaluation_has_the_threads_that_it_is_given(run, words, threads, monkeypatch):
    given = []

    def made(env, config, seed, threads, *rest):
        given.append(threads)
        return make_vector_env(env, config, seed, threads, *rest)

    monkeypatch.setattr("trpo.scripts.cli.options.make_vector_env", made)
    torch.set_num_threads(2)
    assert __main__.main(["evaluate", str(run), "--episodes=2", *words]) == 0
    assert given == [threads]
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("which", ["best", "newest"])
def test_an_evaluation_says_what_was_evaluated_and_so_does_the_report(run, tmp_path, capsys, which):
    run = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.copy(run / "checkpoints" / "update-000002.safetensors", run / "checkpoints" / BEST)
    words = ["evaluate", str(run), "--episodes", "2", *(["--best"] if which == "best" else [])]
    assert __main__.main(words) == 0
    table = rows(run)
    played = table[1] if which == "best" else table[-1]
    result = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert (result["checkpoint"], result["update"]) == (which, int(played["update"]))
    assert result["environment_steps"] == int(played["steps"])
    where = f"update {played['update']}, step {int(played['steps']):,}"
    assert f"deterministic, of the {which} checkpoint: {where}\n" in capsys.readouterr().out
    assert __main__.main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for shown in (f"checkpoint</td><td>{which}<", f"environment steps</td><td>{played['steps']}<"):
        assert shown in page


def test_an_evaluation_has_no_more_processes_than_training(tmp_path):
    words = ["train", "Pendulum-v1", *SMALL, "--total-steps=256", "--num-envs=2", "--quiet"]
    words += ["--engine=gymnasium-async", f"--runs={tmp_path}", "--name=x"]
    assert __main__.main(words) == 0
    run = tmp_path / "Pendulum-v1" / "x"
    before = len(multiprocessing.active_children())
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            most.append(len(multiprocessing.active_children()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, episodes = evaluate_run(EvaluateOptions(run=run, episodes=5))
    done.set()
    watcher.join()
    assert max(most) - before == 2
    _, sampled = evaluate_run(EvaluateOptions(run=run, episodes=5, stochastic=True))
    config = (run / "config.json").read_text(encoding="utf-8")
    (run / "config.json").write_text(config.replace("gymnasium-async", "gymnasium"))
    _, alone = evaluate_run(EvaluateOptions(run=run, episodes=5))
    returns = [[episode.undiscounted_return for episode in each] for each in (episodes, alone)]
    assert returns[0] == pytest.approx(returns[1], rel=1e-3)
    assert len(set(returns[0])) == 5  # of five seeds
    assert len({episode.undiscounted_return for episode in sampled}) == 5


def test_evaluate_writes_a_video(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert (
        __main__.main(["evaluate", str(run), "--episodes", "1", "--video", str(tmp_path / "video")])
        == 0
    )
    (video,) = (tmp_path / "video").glob("*.mp4")
    assert video.stat().st_size > 1000


def test_plot(run, tmp_path):
    assert __main__.main(["plot", str(run), "--out", str(tmp_path / "figure.png")]) == 0
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_custom_environment_by_module(tmp_path):
    words = [
        "train",
        "tests.environments:TestDict-v0",
        *SMALL,
        "--runs",
        str(tmp_path),
        "--name",
        "x",
    ]
    assert __main__.main(words) == 0
    assert (tmp_path / "tests.environments-TestDict-v0" / "x" / "config.json").exists()


@pytest.mark.parametrize("env_id", PRESETS)
def test_presets_are_where_training_starts(env_id, capsys):
    options = parse_train_options([env_id, "--seed", "7"])
    assert (options.env, options.learner.trainer.seed) == (env_id, 7)
    for word, value in zip(*[iter(PRESETS[env_id].split())] * 2, strict=True):
        component, _, name = word.removeprefix("--").replace("-", "_").rpartition(".")
        learner = options.learner
        parts = (learner.trainer, learner.trpo, learner.policy, options.environment)
        parts = (getattr(learner, component),) if component else parts
        (found,) = [getattr(part, name) for part in parts if hasattr(part, name)]
        assert found == type(found)(value)
    assert (
        parse_train_options([
            env_id,
            *PRESETS[env_id].split()[:1],
            "77",
        ]).learner.trainer.total_steps
        == 77
    )
    assert __main__.main(["presets"]) == 0
    assert env_id in capsys.readouterr().out


def test_presets_through_a_pipe_have_a_line_each(capsys):
    assert __main__.main(["presets"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(PRESETS)


BAD_INPUT = {
    "unknown command": (
        ["trian"],
        "unknown command 'trian': expected train, .* did you mean train",
    ),
    "unknown environment": (
        ["train", "CartPole-v9"],
        "unknown environment 'CartPole-v9': did you mean CartPole-v",
    ),
    "no environment": (["train"], "^trpo: Missing from trpo train: ENV Environment id"),
    "no run": (["evaluate"], "^trpo: Missing from trpo evaluate: RUN Folder of the run"),
    "no run to plot": (["plot"], r"run = \(\) .* expected one run or more \(RUN\)$"),
    "unknown option": (
        ["train", "CartPole-v1", "--max-kll", "1"],
        "Unrecognized options.*--max-kll",
    ),
    "no integer": (
        ["train", "CartPole-v1", "--total-steps", "nan"],
        r"--total-steps: 'nan' is no integer, such as 100000 or 1e5 \(see trpo train --help\)$",
    ),
    "widths with a comma": (
        ["train", "CartPole-v1", "--hidden", "64,64"],
        r"^trpo: --hidden 64,64: expected integers with spaces between them, as in --hidden 64 64 "
        r"\(see",
    ),
    "widths in brackets": (
        ["train", "CartPole-v1", "--value.hidden", "[64,", "64]"],
        r"^trpo: --value.hidden \[64, 64\]: expected integers with spaces between them",
    ),
    "neither a number nor None": (
        ["train", "CartPole-v1", "--frame-skip", "x"],
        r"^trpo: --frame-skip x: expected None or INT \(see",
    ),
    "not a number": (["train", "CartPole-v1", "--max-kl", "much"], "--max-kl.*much|much.*--max-kl"),
    "out of range": (
        ["train", "CartPole-v1", "--max-kl", "-1"],
        r"^trpo: max_kl = -1.0 is out of range: expected a number of nats > 0 \(--max-kl\)$",
    ),
    "value out of range": (
        ["train", "CartPole-v1", "--value.damping", "-1"],
        r"^trpo: damping = -1.0 is out of range: expected a number ≥ 0 \(--value.damping\)$",
    ),
    "distribution": (
        ["train", "HalfCheetah-v5", "--distribution", "beta", "--log-std", "state"],
        "distribution = 'beta' is out of range: expected gaussian or auto with log_std state",
    ),
    "environments": (
        ["train", "CartPole-v1", "--num-envs", "0"],
        r"^trpo: num_envs = 0 is out of range: expected an integer ≥ 1 \(--num-envs\)$",
    ),
    "not a choice": (
        ["train", "CartPole-v1", "--engine", "gym"],
        "invalid choice 'gym'.*--engine.*envpool",
    ),
    "batch and environments": (
        ["train", "CartPole-v1", "--num-envs", "7"],
        "batch_size = 2048 is not a multiple of num_envs = 7: the nearest are 2044 and 2051$",
    ),
    "more environments than steps": (
        ["train", "CartPole-v1", "--num-envs", "4096"],
        "batch_size = 2048 is not a multiple of num_envs = 4096: the nearest is 4096$",
    ),
    "too small an image": (
        ["train", "TestImage-v0", "--encoder", "nature"],
        r"^trpo: encoder = 'nature' cannot read images \(8, 8, 3\): expected 36 pixels",
    ),
    "no JSON": (
        ["train", "CartPole-v1", "--env-kwargs", "map=8x8"],
        r"env_kwargs = 'map=8x8': expected key=JSON, such as size=6",
    ),
    "no option of the environment's": (
        ["train", "Pong-v5", "--env-kwargs", "sticky=0.25"],
        r"^trpo: EnvPool's Pong-v5 has no option 'sticky': expected max_episode_steps, ",
    ),
    "no image": (
        ["train", "CartPole-v1", "--encoder", "impala"],
        r"^trpo: encoder = 'impala': expected auto or flat, as nothing in the observation is",
    ),
    "text": (["train", "TestText-v0"], "observation space Text.* is not supported"),
    "text action": (
        ["train", "TestTextAction-v0"],
        "action space Text.* is not supported: expected Box",
    ),
    "graph": (["train", "TestGraph-v0"], "observation space Graph.* is not supported"),
    "no observation": (["train", "TestBlind-v0"], r"observation space Dict\(\) is empty: expected"),
    "no number in an action": (["train", "TestIdle-v0"], "action space Box.* is empty: expected"),
    "not a run": (
        ["evaluate", "/nowhere"],
        "/nowhere is not a run: expected a folder with config.json",
    ),
    "a file, not a run": (
        ["evaluate", __file__],
        r"test_commands.py is not a run: expected a folder with config.json, as trpo train leaves",
    ),
    "not a run to plot": (["plot", "/nowhere"], "/nowhere is not a run"),
    "no episodes": (["evaluate", "/nowhere", "--episodes", "0"], "episodes = 0 is out of range"),
    "videos without a folder": (
        ["evaluate", "/nowhere", "--video-episodes", "3"],
        "video_episodes = 3 is out of range: expected a folder for more than one, by --video",
    ),
    "unknown benchmark": (["benchmark", "sped"], "unknown benchmark 'sped'"),
    "name": (
        ["train", "CartPole-v1", "--name", "a/b"],
        "name = 'a/b' is out of range: expected a file name",
    ),
    "resume": (["train", "CartPole-v1", "--resume"], "--resume needs --name"),
    "step timeout": (
        ["train", "CartPole-v1", "--step-timeout", "-1"],
        "step_timeout = -1.0 is out of range: expected seconds in",
    ),
    "restarts": (
        ["train", "CartPole-v1", "--max-restarts", "-1"],
        "max_restarts = -1 is out of range: expected an integer ≥ 0",
    ),
    "option of another algorithm": (
        ["train", "CartPole-v1", "--algorithm", "ppo", "--max-kl", "0.01"],
        "^trpo: --max-kl is an option of trpo, not of ppo$",
    ),
    "option of an algorithm, for trpo": (
        ["train", "CartPole-v1", "--ppo.epochs", "3"],
        "^trpo: --ppo.epochs is an option of ppo, not of trpo$",
    ),
    "unmakeable": (
        ["train", "TestUnmakeable-v0"],
        "'TestUnmakeable-v0' cannot be made: RuntimeError: no display",
    ),
    "runs": (["train", "CartPole-v1", "--runs", "/dev/null"], "cannot make run folder /dev/null"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_told_in_one_line(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, message = BAD_INPUT[name]
    assert __main__.main(words) == 2
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert re.search(message, err), err
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_a_presets_options_of_trpo_are_no_obstacle_to_other_algorithms():
    options = parse_train_options(["Ant-v5", "--algorithm", "ppo"])
    assert options.learner.algorithm == "ppo"
    assert options.learner.trpo.max_kl == 0.08  # the preset's, unused


def test_an_existing_run_is_not_overwritten(run, capsys):
    before = (run / "metrics.csv").read_bytes()
    assert (
        __main__.main([
            "train",
            "CartPole-v1",
            *SMALL,
            "--runs",
            str(run.parent.parent),
            "--name",
            "small",
        ])
        == 2
    )
    assert "exists: choose another --name" in capsys.readouterr().err
    assert (run / "metrics.csv").read_bytes() == before


def test_runs_without_a_name_that_begin_in_the_same_second_have_one_each(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("time.strftime", lambda *_: "now")
    words = ["train", "CartPole-v1", *SMALL, "--total-steps=256", f"--runs={tmp_path}", "--quiet"]
    for _ in range(3):
        assert __main__.main(words) == 0
    made = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert made == ["seed0-now", "seed0-now-2", "seed0-now-3"]


def test_a_run_is_opened_where_there_is_not_its_device(run, tmp_path, capsys):
    other = tmp_path / "runs" / "of-cuda"
    shutil.copytree(run, other)
    config = (other / "config.json").read_text(encoding="utf-8")
    (other / "config.json").write_text(config.replace('"device": "cpu"', '"device": "cuda"'))
    for words in (["evaluate", "--episodes=2"], ["plot"], ["audit"], ["report"], ["export"]):
        assert __main__.main([*words, str(other)]) == 0
    assert __main__.main(["runs", "--runs", str(tmp_path / "runs")]) == 0
    assert "damaged" not in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_leaves_nothing_behind(tmp_path, capsys):
    words = ["train", "CartPole-v1", "--device", "cuda", "--runs", str(tmp_path)]
    assert __main__.main(words) == 2
    expected = "expected cpu or auto, as this torch sees no CUDA device"
    assert capsys.readouterr().err == f"trpo: device = 'cuda' is out of range: {expected}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["{", "{}", "[]", '{"env": 3}'])
def test_a_damaged_config_is_named(run, tmp_path, capsys, damage):
    (tmp_path / "config.json").write_text(damage, encoding="utf-8")
    assert __main__.main(["evaluate", str(tmp_path)]) == 2
    assert "config.json cannot be read" in capsys.readouterr().err


def test_a_world_gone_wrong_ends_the_run_with_one_line(tmp_path, capsys):
    assert (
        __main__.main(["train", "TestNan-v0", *SMALL, "--runs", str(tmp_path), "--name", "x"]) == 1
    )
    assert "returned an observation that is not finite, in update 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "trpo.scripts", "--help"],
        [sys.executable, "scripts/train.py", "CartPole-v1", "--help"],
    ],
)
def test_help_by_every_door(command):
    result = subprocess.run(command, cwd=HOME, capture_output=True, encoding="utf-8", check=True)
    assert "usage: trpo" in result.stdout
    assert not result.stderr
    if "train.py" in command[1]:
        for words in ("trpo options", "--max-kl FLOAT", "default: 100000", "nats"):
            assert words in result.stdout


def test_what_is_wrong_for_all_ranks_is_told_by_the_first(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit, match="2"):
        __main__.main(["train", "CartPole-v1", "--resume"])
    assert not capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    assert __main__.main(["train", "CartPole-v1", "--resume"]) == 2
    assert capsys.readouterr().err == (
        "trpo: --resume needs --name: which run to resume, or to start\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WORLD_SIZE", "abc", "'abc' is out of range: expected an integer ≥ 1, or none"),
        ("LOCAL_WORLD_SIZE", "0", "'0' is out of range: expected an integer ≥ 1, or none"),
        ("RANK", "-1", "'-1' is out of range: expected an integer ≥ 0, or none"),
        ("RANK", "1", "1 is out of range: expected less than WORLD_SIZE = 1, or none"),
    ],
)
def test_variables_that_torchrun_would_not_set_are_told(name, value, expected, monkeypatch, capsys):
    monkeypatch.setenv(name, value)
    assert __main__.main(["train", "CartPole-v1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"environment variable {name} = {expected}")


def test_empty_variables_of_torchrun_are_none(run, monkeypatch, capsys):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"):
        monkeypatch.setenv(name, "")
    assert __main__.main(["runs", "--runs", str(run.parent)]) == 0
    assert "small" in capsys.readouterr().out
