"""Run folders from strangers, and machines that do not play along: told in a line."""

import contextlib
import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tests.environments
from tests.processes import SMALL, UPDATES, updates_of
from trpo.agents.agent import Agent
from trpo.agents.runs import Run, provenance
from trpo.agents.storage.checkpoint import load_checkpoint, save_checkpoint
from trpo.scripts import __main__
from trpo.scripts.cli.filming import Filming
from trpo.scripts.cli.options import options_of

HOME = Path(__file__).resolve().parents[2]
SECRET = "what was there before"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished run of CartPole."""
    runs = tmp_path_factory.mktemp("runs")
    assert __main__.main(f"train CartPole-v1 {SMALL} --runs {runs} --name x".split()) == 0
    return runs / "CartPole-v1" / "x"


@pytest.fixture
def run(whole, tmp_path) -> Path:
    """A copy of it, to be tampered with."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def told(words: str, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    """Return a command's exit code, and the one line that it said on standard error."""
    code = __main__.main(words.split())
    lines = capsys.readouterr().err.splitlines(keepends=True)
    said = [line for line in lines if not line.startswith("trpo: warning: ")]
    assert len(said) <= 1, lines
    return code, "".join(said)


def renamed(run: Path, env_id: str, **settings) -> Path:
    """Let a run be on another environment."""
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["env"] = env_id
    config["environment"] |= {"engine": "gymnasium"} | settings
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return run


# Links


@pytest.mark.parametrize(
    "names",  # with the last two, no command gets as far as to the other writers
    ["config.json.tmp evaluation.json figure.png", "metrics.csv", "lock"],
)
@pytest.mark.parametrize("there", [True, False])
def test_a_link_leads_no_writer_out_of_the_folder(names, there, run, tmp_path, capsys):
    victims = {name: tmp_path / name for name in names.split()}
    for name, victim in victims.items():
        if there:
            victim.write_text(SECRET, encoding="utf-8")
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(victim)
    codes = [
        told(words.format(run), capsys)[0]
        for words in ("evaluate {} --episodes 1", "plot {}", "resume {} --total-steps 4000")
    ]
    assert len(victims) == 1 or codes == [0, 0, 0]
    for victim in victims.values():
        assert (victim.read_text(encoding="utf-8") == SECRET) if there else not victim.exists()


def test_checkpoints_elsewhere_are_refused(run, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere"
    (run / "checkpoints").rename(elsewhere)
    (run / "checkpoints").symlink_to(elsewhere)
    before = sorted(elsewhere.iterdir())
    for words in (f"resume {run} --total-steps 4000", f"evaluate {run}"):
        code, err = told(words, capsys)
        assert (code, err) == (2, f"trpo: {run}/checkpoints is a link: expected a folder\n")
    assert sorted(elsewhere.iterdir()) == before


def test_videos_elsewhere_are_refused(run, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (run / "videos").symlink_to(tmp_path / "elsewhere")
    config = (run / "config.json").read_bytes()
    code, err = told(f"resume {run} --total-steps 4000", capsys)
    assert (code, err) == (2, f"trpo: {run}/videos is a link: expected a folder\n")
    assert (run / "config.json").read_bytes() == config


def test_a_video_takes_the_place_of_a_link(run, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text(SECRET, encoding="utf-8")
    files = [run / "videos" / f"step-0000002772{suffix}" for suffix in (".mp4", ".gif")]
    files[0].parent.mkdir()
    for file in files:
        file.symlink_to(victim)
    opened = Run.open(run)
    filming = Filming(run, options_of(opened, trust=False), 0)
    record = replace(opened.records()[-1], steps=2772)
    assert filming.film(Agent.load(run), record) == files[0]
    assert victim.read_text(encoding="utf-8") == SECRET
    assert not any(file.is_symlink() for file in files)
    assert files[1].read_bytes().startswith(b"GIF8")


def test_a_page_is_made_without_what_is_no_evaluation_and_no_video(run, tmp_path, capsys):
    (run / "evaluation.json").write_text("[" * 100_000, encoding="utf-8")
    (tmp_path / "elsewhere").write_bytes(b"film")
    (run / "newest.mp4").symlink_to(tmp_path / "elsewhere")
    (run / "folder.mp4").mkdir()
    assert told(f"report {run}", capsys) == (0, "")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<h2>Evaluation" not in page
    assert "<video" not in page


@pytest.mark.parametrize("out", [".", "/", ".."])
def test_a_file_to_write_has_a_name(out, run, capsys):
    for command in ("report", "export --to torchscript"):
        code, err = told(f"{command} {run} --out {out}", capsys)
        assert code == 2
        assert err.startswith(f"trpo: cannot write {out}: ")


# Modules


def test_a_module_in_the_run_folder_is_imported_on_trust_only(run, monkeypatch, capsys):
    (run / "strange_world.py").write_text(
        "from pathlib import Path\n"
        "Path(__file__).with_name('ran').touch()\n"
        "import gymnasium as gym\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gym.register('Strange-v0', CartPoleEnv, max_episode_steps=50)\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(run)
    monkeypatch.syspath_prepend(str(run))
    renamed(run, "strange_world:Strange-v0")
    for command in ("evaluate {} --episodes 1", "resume {} --total-steps 4000"):
        code, err = told(command.format(run), capsys)
        assert code == 2
        assert "module 'strange_world' would be imported, and run" in err
        assert "--trust" in err
        assert not (run / "ran").exists()
    for command in ("plot {}", "audit {}"):
        assert told(command.format(run), capsys)[0] in {0, 1}
        assert not (run / "ran").exists()
    assert told(f"evaluate {run} --episodes 1 --trust", capsys)[0] == 0
    assert (run / "ran").exists()
    assert told(f"resume {run} --total-steps 4000", capsys)[0] == 0  # it is registered now


def test_a_wrapper_that_the_run_names_is_imported_on_trust_only(run, monkeypatch, capsys):
    (run / "strange_wrap.py").write_text(
        "from pathlib import Path\n"
        "Path(__file__).with_name('ran').touch()\n"
        "def wrap(env):\n"
        "    return env\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(run))
    content = json.loads((run / "config.json").read_text(encoding="utf-8"))
    content["environment"] |= {"engine": "gymnasium", "wrapper": ["strange_wrap:wrap"]}
    (run / "config.json").write_text(json.dumps(content), encoding="utf-8")
    for command in ("evaluate {} --episodes 1", "resume {} --total-steps 4000"):
        code, err = told(command.format(run), capsys)
        assert code == 2
        assert "wraps its environments in strange_wrap:wrap, which would be imported" in err
        assert not (run / "ran").exists()
    assert told(f"evaluate {run} --episodes 1 --trust", capsys)[0] == 0
    assert (run / "ran").exists()


def test_a_module_that_is_imported_already_is_not_the_run_folder_s(run, monkeypatch, capsys):
    for name in ("json.py", "tests/strange.py"):  # the package is imported, this part of it is not
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("raise RuntimeError('it ran')", encoding="utf-8")
    monkeypatch.chdir(run)
    monkeypatch.syspath_prepend(str(run))
    code, err = told(f"evaluate {renamed(run, 'json:Elsewhere-v0')}", capsys)
    assert code == 2
    assert err.startswith("trpo: unknown environment 'json:Elsewhere-v0'")
    code, err = told(f"evaluate {renamed(run, 'tests.strange:Elsewhere-v0')}", capsys)
    assert code == 2
    assert "module 'tests.strange' would be imported, and run" in err
    words = f"evaluate {renamed(run, 'tests.environments:TestWorthless-v0')} --episodes 1"
    code, err = told(words, capsys)  # trusted; its spaces are others
    assert code == 2
    assert "tests.environments:TestWorthless-v0 has space" in err


@pytest.mark.parametrize("env_id", [".:x", "../../etc:passwd", ":", "a.b.c:Env-v0", "os:Env-v0"])
def test_ids_of_no_module(env_id, run, capsys):
    for words in (f"evaluate {renamed(run, env_id)} --trust", f"train {env_id}"):
        code, err = told(words, capsys)
        assert code == 2
        assert "package" not in err  # in the words of Python's import


# Evaluation


def answer(observation=0.0, reward=1.0):
    return lambda self, action: (np.full(3, observation, np.float32), reward, False, False, {})


def raises(self, action):
    raise RuntimeError("the simulator is\nunstable")


FAULTS = {
    "raised RuntimeError: the simulator is": raises,
    "raised SystemExit: 0": lambda self, action: sys.exit(0),
    "returned a reward that is not finite": answer(reward=np.nan),
    "returned an observation that is not finite": answer(observation=np.nan),
}


@pytest.fixture(scope="module")
def worthless(tmp_path_factory) -> Path:
    """A run of an environment of our own."""
    runs = tmp_path_factory.mktemp("runs")
    words = f"train tests.environments:TestWorthless-v0 {SMALL} --runs {runs} --name x"
    assert __main__.main(words.split()) == 0
    return runs / "tests.environments-TestWorthless-v0" / "x"


@pytest.mark.filterwarnings("ignore")  # Gymnasium's own, of what is not finite
@pytest.mark.parametrize("said", FAULTS)
def test_an_environment_that_fails_in_an_evaluation(said, worthless, capsys, monkeypatch):
    monkeypatch.setattr(tests.environments.RandomEnvironment, "step", FAULTS[said])
    code, err = told(f"evaluate {worthless} --episodes 2", capsys)
    assert code == 1
    assert err == f"trpo: tests.environments:TestWorthless-v0 {said}\n"
    assert not (worthless / "evaluation.json").exists()


@pytest.mark.filterwarnings("ignore")  # Gymnasium's own, of what is not finite
@pytest.mark.parametrize("said", FAULTS)
def test_an_environment_that_fails_in_a_comparison(said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tests.environments.RandomEnvironment, "step", FAULTS[said])
    words = "compare tests.environments:TestWorthless-v0 --methods trpo --step-sizes 1 --seeds 1"
    code, err = told(f"{words} --out {tmp_path / 'out'}", capsys)
    assert code in {1, 2}
    assert said in err


def test_an_episode_without_end_is_cut_off_and_said_so(worthless, tmp_path, capsys, monkeypatch):
    run = Path(shutil.copytree(worthless, tmp_path / "run"))
    monkeypatch.setattr(tests.environments.RandomEnvironment, "step", answer())
    words = ["evaluate", str(run), "--episodes", "2", "--max-steps", "50"]
    assert __main__.main(words) == 0
    assert re.search(r"cut off +2 episodes, after 50 steps", capsys.readouterr().out)
    result = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert (result["cut_off"], result["mean_length"], result["returns"]) == (2, 50, [50, 50])


def test_a_result_that_cannot_be_written_is_printed(run, capsys, monkeypatch):
    def read_only(path, content):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("trpo.agents.runs.run.replace_file", read_only)
    assert __main__.main(["evaluate", str(run), "--episodes", "1"]) == 1
    said = capsys.readouterr()
    assert "return  " in said.out
    assert said.err == f"trpo: {run}/evaluation.json: Read-only file system\n"


def test_networks_that_do_not_fit_the_environment(run, capsys):
    code, err = told(f"evaluate {renamed(run, 'Acrobot-v1')} --episodes 1", capsys)
    assert code == 2
    assert re.match(r"trpo: Acrobot-v1 has space Box.*, the run's agent Box", err)


# Checkpoints and tables


def _with_hidden(state: dict, hidden: list[int]) -> dict:
    agent = state["agent"]
    return state | {"agent": agent | {"policy": agent["policy"] | {"hidden": hidden}}}


def test_a_checkpoint_of_hostile_content(run, capsys):
    """Its checksum is valid, and what it holds is not what training would have written."""
    path = sorted((run / "checkpoints").glob("update-*"))[-1]
    good = load_checkpoint(path)
    name = next(iter(good.tensors))
    hostile = {
        "no tensors": ({}, good.state),
        "a tensor of another shape": (good.tensors | {name: torch.zeros(3)}, good.state),
        "of another type": (good.tensors | {name: good.tensors[name].double()}, good.state),
        "one more": (good.tensors | {"agent.x": torch.zeros(3)}, good.state),
        "an optimizer": (good.tensors | {"value_fit.0.exp_avg": torch.zeros(3)}, good.state),
        "an optimizer of strange names": (
            good.tensors | {"value_fit.x": torch.zeros(3)},
            good.state,
        ),
        "a state of words": (good.tensors, good.state | {"steps": "many"}),
        "an agent of any size": (good.tensors, _with_hidden(good.state, [10**9, 10**9])),
        "another update": (good.tensors, good.state | {"update": 10**30}),
    }
    for tensors, state in hostile.values():
        for file in (run / "checkpoints").iterdir():
            save_checkpoint(file, tensors, state)
        for words in (f"evaluate {run} --episodes 1", f"resume {run} --total-steps 4000"):
            code, _ = told(words, capsys)
            assert code in {0, 2}


@contextlib.contextmanager
def memory_for(bytes_more: int) -> Iterator[None]:
    """Let this process take no more memory than it has, and a little."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + bytes_more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


BOX = {"type": "Box", "low": 0, "high": 255, "dtype": "uint8"}
HUGE = {
    "a vector": BOX | {"shape": [2**27]},
    "a longer one": BOX | {"shape": [2**40]},
    "many": {"type": "Tuple", "spaces": [BOX | {"shape": [2**23]}] * 99},
    "an image": BOX | {"shape": [4096, 4096]},
    "choices": {"type": "Discrete", "n": 2**27, "start": 0, "dtype": "int64"},
    "more choices": {"type": "Discrete", "n": 2**40, "start": 0, "dtype": "int64"},
}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", HUGE)
def test_a_space_of_any_size_is_refused_before_it_takes_memory(name, run, capsys):
    path = sorted((run / "checkpoints").glob("update-*"))[-1]
    good = load_checkpoint(path)
    agent = good.state["agent"] | {"observation_space": HUGE[name]}
    save_checkpoint(path, good.tensors, good.state | {"agent": agent})
    with memory_for(2**29):
        code, err = told(f"evaluate {run} --episodes 1", capsys)
    assert code == 2
    assert re.search(
        "numbers are too many|is too large|networks are not those of the configuration", err
    ), err


TABLES = {
    "no header": b"1,2,ACCEPTED\n",
    "zeros": b"update,steps,status\n\0\0\0\n",
    "no text": b"update,steps,status\n\xff\xfe,1,ACCEPTED\n",
    "a bad number": b"update,steps,status,trust_region/mean_kl\n1,2,ACCEPTED,abc\n",
    "a number of 400 digits": b"update,steps,status,update/mean_kl\n1,2,ACCEPTED,1%0400d\n" % 0,
    "steps of 400 digits": b"update,steps,status\n1,1%0400d,ACCEPTED\n" % 0,
    "a bad status": b"update,steps,status\n1,2,PERFECT\n",
    "too few fields": b"update,steps,status,trust_region/mean_kl\n1,2\n",
    "too many fields": b"update,steps,status\n1,2,ACCEPTED,3,4\n",
    "a field of 200 KiB": b"update,steps,status\n1,2," + b"x" * 200_000 + b"\n",
    "an open quote": b'update,steps,status\n"1,2,ACCEPTED\n',
    "empty": b"",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_named(name, run, capsys):
    (run / "metrics.csv").write_bytes(TABLES[name])
    config = (run / "config.json").read_bytes()
    for words in (f"plot {run}", f"audit {run}", f"resume {run} --total-steps 4000"):
        code = __main__.main(words.split())
        said = capsys.readouterr()
        assert code == 2
        assert "metrics.csv" in said.err or "no updates yet" in said.err
        assert "going on" not in said.out
    assert (run / "config.json").read_bytes() == config


def test_json_has_no_infinity_and_older_runs_may(run, capsys):
    path = run / "config.json"
    text = path.read_text(encoding="utf-8")
    assert "Infinity" not in text
    assert '"inf"' in text  # a limit that is none
    path.write_text(text.replace('"inf"', "Infinity"), encoding="utf-8")
    assert told(f"evaluate {run} --episodes 1", capsys) == (0, "")
    path.write_text(text.replace('"gamma": 0.99', '"gamma": "0.99"'), encoding="utf-8")
    code, err = told(f"evaluate {run} --episodes 1", capsys)
    assert code == 2
    assert "learner.trainer.gamma is '0.99': expected 0.99" in err


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "nan", '"\\ud800"', "\0"])
def test_a_config_of_hostile_text(text, run, capsys):
    (run / "config.json").write_text(text, encoding="utf-8")
    for command in ("evaluate", "resume", "plot", "audit"):
        code, err = told(f"{command} {run}", capsys)
        assert code == 2
        assert "config.json cannot be read" in err


# Sizes, exit codes, provenance


@pytest.mark.parametrize(
    "words",
    [
        "--num-envs 1000000000",
        "--num-envs 1000000000 --batch-size 1000000000000",
        "--num-envs 1000000 --batch-size 1000000 --engine gymnasium-async",
        "--hidden 1000000000 1000000000",
        "--value.hidden 1000000000 9",
        "--threads 100000000000000000000",
        "--threads 4096",
        "--total-steps 1000000000000000000000000",
        "--total-steps 1e30",
        "--value.minibatch-size 100000000000000000000",
        "--seed 10000000000000000000000000",
    ],
)
def test_sizes_that_cannot_be_are_refused(words, tmp_path, capsys):
    code, err = told(f"train CartPole-v1 {words} --runs {tmp_path}", capsys)
    assert code == 2
    assert re.search(r"is out of range|GiB of memory or more", err)
    assert not list(tmp_path.iterdir())


def test_a_play_of_more_environments_than_fit_is_refused(run, capsys):
    code, err = told(f"evaluate {run} --episodes 1000000000", capsys)
    assert code == 2
    assert re.match(r"trpo: episodes = 1000000000 would take [\d,]+ GiB of memory or more: ", err)


@pytest.mark.filterwarnings("ignore")
def test_a_process_that_dies_as_it_is_made_is_worth_another_try(tmp_path, capsys):
    words = f"train tests.environments:TestDiesYoung-v0 {SMALL} --engine gymnasium-async"
    code, err = told(f"{words} --runs {tmp_path} --name x", capsys)
    assert code == 1
    assert "could not be made: the process of an environment died as it was made" in err


def test_training_needs_no_git_and_no_home(tmp_path):
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(HOME)}
    words = f"train CartPole-v1 {SMALL} --runs {tmp_path} --name x".split()
    command = [sys.executable, "-m", "trpo.scripts", *words]
    process = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, check=False)
    assert (process.returncode, process.stderr) == (0, b"")
    config = json.loads(
        (tmp_path / "CartPole-v1" / "x" / "config.json").read_text(encoding="utf-8")
    )
    assert config["git_commit"] is None


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_the_commit_is_of_this_project_not_of_the_user_s(tmp_path, monkeypatch):
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", provenance.git_commit())
    repository = tmp_path / "mine"
    installed = repository / ".venv" / "provenance.py"
    installed.parent.mkdir(parents=True)
    installed.touch()
    (repository / "own.py").touch()
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@x"]
    for words in ("init -q", "add own.py", "commit -qm mine"):
        subprocess.run([*git, *words.split()], check=True)
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.git_commit() is None
    # results that are added to are no change of the code that makes them
    (repository / "runs").mkdir()
    (repository / "runs" / "results.csv").touch()
    for words in ("add -f .", "commit -qm all"):
        subprocess.run([*git, *words.split()], check=True)
    (repository / "runs" / "results.csv").write_text("a row")
    assert re.fullmatch("[0-9a-f]{40}", provenance.git_commit())
    (repository / "own.py").write_text("a change")
    assert provenance.git_commit().endswith("-dirty")


def documented_loop() -> str:
    page = (HOME / "scripts" / "README.md").read_text(encoding="utf-8")
    (loop,) = re.findall(r"```sh\n(for try .*?)```", page, re.DOTALL)
    return loop


def test_the_documented_loop_finishes_a_training_that_was_killed(tmp_path):
    env = f"tests.environments:TestKilledOnce-v0 --engine gymnasium {SMALL} --runs ."
    trpo = f'trpo() {{ {sys.executable} -m trpo.scripts "$@"; code=$?; echo $code >> codes; '
    script = f"{trpo} return $code; }}; {documented_loop().replace('MyEnv-v0', env)}"
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True)
    codes = (tmp_path / "codes").read_text(encoding="utf-8").split()
    assert codes == [str(128 + signal.SIGKILL), "0"]
    assert updates_of(tmp_path / "tests.environments-TestKilledOnce-v0" / "x") >= UPDATES - 1


@pytest.mark.parametrize(
    ("codes", "tries"),
    [
        ("137 1 139 0", 4),
        ("1 2", 2),
        ("2", 1),
        ("129", 1),
        ("130", 1),
        ("143 0", 1),
        ("1 " * 30, 10),
    ],
)
def test_the_documented_loop_tries_again_what_may_go_well(codes, tries, tmp_path):
    loop = documented_loop()
    (tmp_path / "codes").write_text(codes.replace(" ", "\n") + "\n", encoding="utf-8")
    trpo = 'trpo() { echo >> tries; return "$(sed -n "$(wc -l < tries)p" codes)"; }'
    subprocess.run(["bash", "-c", f"{trpo}; {loop}"], cwd=tmp_path, check=False, timeout=10)
    assert (tmp_path / "tries").read_text(encoding="utf-8").count("\n") == tries
