"""`agents` and `envs` are names that other distributions install too: ours are found, and others' are told of."""

import importlib
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("package", ["trpo", "agents", "envs", "scripts"])
def test_packages_resolve_inside_the_checkout(package, tmp_path):
    code = f"import {package}; print({package}.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).resolve() == HOME / package / "__init__.py"


def test_the_console_command_is_declared():
    (command,) = [point for point in entry_points(group="console_scripts") if point.name == "trpo"]
    assert command.load() is importlib.import_module("scripts.__main__").main


@pytest.mark.parametrize("package", ["agents", "envs", "trpo"])
def test_a_clash_is_told_in_one_line(package, tmp_path):
    foreign = tmp_path / package
    foreign.mkdir()
    (foreign / "__init__.py").write_text("")
    code = "import sys; from scripts.__main__ import main; sys.exit(main(['presets']))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert f"package {package!r} is found at {foreign}" in result.stderr
    assert str(HOME) in result.stderr
