"""Imports run one way: scripts → agents → trpo, and scripts → envs. Read from the code."""

import ast
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.helpers import HOME

PACKAGES = {"trpo", "agents", "envs", "scripts"}
OURS = {"trpo": {"trpo"}, "agents": {"agents", "trpo"}, "envs": {"envs"}, "scripts": PACKAGES}
THEIRS = {
    "trpo": {"torch"},
    "agents": {
        "torch",
        "numpy",
        "gymnasium",
        "safetensors",
        "tensorboard",
        "msgspec",
        "wandb",
        "mlflow",
    },
    "envs": {"numpy", "gymnasium", "envpool"},
    "scripts": {
        "torch",
        "msgspec",
        "optuna",
        "numpy",
        "gymnasium",
        "tyro",
        "rich",
        "scipy",
        "matplotlib",
        "minatar",
        "mkdocs",
        "moviepy",
        "PIL",
        "sb3_contrib",
        "sklearn",
        "stable_baselines3",
    },
}


def imported(path: Path) -> set[str]:
    """The packages that a file imports; ours by their folders."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            modules.add(str(node.module))
    subpackages = "|".join(PACKAGES - {"trpo"})
    folders = {re.sub(rf"^trpo\.(?=({subpackages})\b)", "", module) for module in modules}
    return {folder.split(".")[0] for folder in folders} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_run_one_way(package):
    files = list((HOME / package).rglob("*.py"))
    assert len(files) > 2
    for path in files:
        assert imported(path) <= OURS[package] | THEIRS[package], path


@pytest.mark.parametrize("end", ["conjugate_gradient", "fisher"])
def test_from_the_command_to_conjugate_gradient_and_to_its_product_in_five_hops(end):
    """Each file of the tour imports the next."""
    tour = [
        "scripts/train.py",
        "agents/trainer.py",
        "agents/algorithms.py",
        "agents/trpo.py",
        "trpo/trust_region.py",
    ]
    tour.append(f"trpo/{end}.py")
    for here, there in pairwise(tour):
        module = (
            f"trpo/{there}".replace("trpo/trpo/", "trpo/").removesuffix(".py").replace("/", ".")
        )
        assert f"from {module} import" in (HOME / here).read_text(encoding="utf-8"), (here, there)


def test_training_imports_nothing_of_the_reference_curvature():
    for folder in ("trpo", "agents", "envs"):
        for path in (HOME / folder).glob("*.py"):
            assert "trpo.reference" not in path.read_text(encoding="utf-8"), path
