"""One import name: others' `agents`, and users' own `envs/`, neither break ours nor are broken."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.helpers import HOME
from trpo.scripts.__main__ import main

FOLDERS = ("agents", "envs", "scripts")


def run(code: str, cwd: Path, *paths: Path) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A wheel of this checkout, unpacked as an installer would."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in ("trpo", *FOLDERS):  # without what earlier builds left behind
        shutil.copytree(HOME / name, source / name, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HOME / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir"]
    subprocess.run(
        [*build, str(wheels), "--no-build-isolation", str(source)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (wheel,) = wheels.glob("*.whl")
    folder = tmp_path_factory.mktemp("site-packages")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_subpackages_are_the_folders_beside_the_mathematics(folder, tmp_path):
    assert (HOME / "trpo" / folder).resolve() == HOME / folder
    found = run(f"import trpo.{folder} as it; print(it.__file__)", tmp_path)
    assert Path(found).resolve() == HOME / folder / "__init__.py"


def test_no_module_has_two_names():
    """`import agents` would load a second copy of what `trpo.agents` is."""
    for path in [
        *HOME.glob("tests/**/*.py"),
        *(p for f in FOLDERS for p in HOME.glob(f"{f}/**/*.py")),
    ]:
        source = path.read_text(encoding="utf-8")
        assert not re.search(rf"^\s*(from|import) ({'|'.join(FOLDERS)})\b", source, re.MULTILINE), (
            path
        )


def test_the_console_command_is_declared():
    (command,) = [point for point in entry_points(group="console_scripts") if point.name == "trpo"]
    assert command.load() is main


def test_a_wheel_brings_one_package(installed):
    names = {path.name for path in installed.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"trpo"}
    assert (installed / "trpo" / "py.typed").exists()
    for folder in FOLDERS:
        ours = {path.relative_to(HOME / folder) for path in (HOME / folder).rglob("*.py")}
        ours -= {path for path in ours if path.parts[0] == "docs"}  # the site's, of a checkout
        theirs = installed / "trpo" / folder
        assert ours == {path.relative_to(theirs) for path in theirs.rglob("*.py")}, folder


def test_an_installed_wheel_works_beside_a_foreign_package(installed, tmp_path):
    """Of the names that our folders have, in site-packages and in the user's own project."""
    foreign, project = tmp_path / "site-packages", tmp_path / "project"
    for package in (foreign / "agents", foreign / "scripts", project / "envs"):
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("OWNER = 'somebody else'\n", encoding="utf-8")
    (project / "envs" / "corridor.py").write_text(
        "import gymnasium as gym\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gym.register('Corridor-v0', CartPoleEnv, max_episode_steps=50)\n",
        encoding="utf-8",
    )
    words = [
        "train",
        "envs.corridor:Corridor-v0",
        "--total-steps",
        "256",
        "--batch-size",
        "128",
        "--name",
        "x",
    ]
    code = (
        "import sys, agents, envs, scripts, trpo.agents\n"
        "from trpo.scripts.__main__ import main\n"
        "assert agents.OWNER == envs.OWNER == scripts.OWNER\n"
        f"assert main({words!r}) == 0\n"
        "print(trpo.agents.__file__)"
    )
    said = run(code, project, project, foreign, installed)
    assert said.splitlines()[-1] == str(installed / "trpo" / "agents" / "__init__.py")
    assert list(project.glob("runs/*/x/checkpoints/*.safetensors"))
