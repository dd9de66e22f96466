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
WITHIN_AGENTS = [
    {
        "actions",
        "errors",
        "metrics",
        "normalization",
        "observations",
        "order",
        "randomness",
        "stopwatch",
    },
    {"storage"},
    {"distributions"},
    {"networks"},
    {"policies", "value_function"},
    {"updates"},
    {"config"},
    {"agent", "algorithms"},
    {"export", "rollouts"},
    {"trainer"},
    {"runs"},
]  # each imports itself and those above it
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


def parts_of_agents(path: Path) -> set[str]:
    """The files and folders of agents/ that a file of it imports, but for annotations."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    annotations = [
        imported
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for imported in block.body
    ]
    modules = [
        str(node.module).split(".")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node not in annotations
    ]
    return {names[2] for names in modules if names[:2] == ["trpo", "agents"]}


@pytest.mark.parametrize("layer", range(len(WITHIN_AGENTS)))
def test_imports_within_agents_run_one_way(layer):
    below = set.union(*WITHIN_AGENTS[: layer + 1])
    for name in WITHIN_AGENTS[layer]:
        folder = HOME / "agents" / name
        files = list(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
        assert files
        for path in files:
            assert parts_of_agents(path) <= below, path


def test_every_part_of_agents_has_its_layer():
    found = {path.stem for path in (HOME / "agents").iterdir() if path.suffix in {"", ".py"}}
    assert found - {"__init__", "__pycache__"} == set.union(*WITHIN_AGENTS)


@pytest.mark.parametrize("end", ["conjugate_gradient", "fisher"])
def test_from_the_command_to_conjugate_gradient_and_to_its_product_in_five_hops(end):
    """Each file of the tour imports the next."""
    tour = [
        "scripts/train.py",
        "agents/trainer.py",
        "agents/algorithms.py",
        "agents/updates/trpo.py",
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
        for path in (HOME / folder).rglob("*.py"):
            assert "trpo.reference" not in path.read_text(encoding="utf-8"), path
