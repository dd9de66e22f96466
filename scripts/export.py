"""`trpo export RUN`: the deterministic policy as one file, for use in other programs."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np

from trpo.agents.agent import Agent
from trpo.agents.export import ACTION, NEXT_STATE, STATE, to_onnx, to_torchscript
from trpo.agents.networks.recurrence import RecurrentFeatures
from trpo.agents.observations import named_leaves
from trpo.agents.runs import Run
from trpo.agents.storage.files import replace_file
from trpo.envs.errors import INSTALL
from trpo.scripts.cli.command import RunFolder, UsageError, parse
from trpo.scripts.cli.display import print_facts
from trpo.scripts.cli.playing import folder_of, trained

Format = Literal["onnx", "torchscript"]
SUFFIX: dict[Format, str] = {"onnx": ".onnx", "torchscript": ".pt"}
PACKAGES = {"onnx": ("onnx", "onnxscript"), "torchscript": ()}


@dataclass(frozen=True)
class ExportOptions:
    """Write the deterministic policy to one file, including normalisation and action scaling."""

    run: RunFolder
    """Folder of the run, as trpo train leaves it, or one of its checkpoints."""
    to: Format = "onnx"
    """Format: ONNX, or TorchScript for torch.jit.load in Python and C++."""
    best: bool = False
    """Export the best checkpoint instead of the newest."""
    out: Path | None = None
    """File to write. Default: RUN/policy.onnx or RUN/policy.pt."""


def main(arguments: Sequence[str]) -> int:
    """Export, as the options say.

    Args:
        arguments: the words after `trpo export`.

    Returns:
        0.

    Raises:
        UsageError: if a package is missing, or the file cannot be written.
    """
    options = parse(ExportOptions, arguments, "export")
    if not all(importlib.util.find_spec(package) for package in PACKAGES[options.to]):
        install = INSTALL.format(extra="export")
        raise UsageError(f"--to {options.to} needs packages that are not installed: run {install}")
    run = Run.open(folder_of(options.run))
    agent = Agent.of_checkpoint(trained(run, options.run, options.best))
    out = options.out or run.folder / f"policy{SUFFIX[options.to]}"
    content = to_onnx(agent) if options.to == "onnx" else to_torchscript(agent)
    try:
        replace_file(out, content)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error
    inputs = named_leaves(agent.observation_space)
    outputs = named_leaves(agent.action_space, ACTION)
    features = agent.policy.network.features
    remembers = isinstance(features, RecurrentFeatures)
    memory = f"float32 (N, {features.memory_size})" if remembers else ""
    print_facts(
        {"policy": f"{out}, deterministic, of any number N of observations"}
        | {f"input {name}": _described(leaf, "float32") for name, leaf in inputs.items()}
        | ({f"input {STATE}": f"{memory}, zeros where an episode begins"} if memory else {})
        | {f"output {name}": _described(leaf) for name, leaf in outputs.items()}
        | ({f"output {NEXT_STATE}": f"{memory}, for the next step"} if memory else {})
    )
    return 0


def _described(space: gym.Space, floats: str | None = None) -> str:
    """Return dtype and shape of N of a space's elements, as a policy takes or returns them."""
    dtype = np.dtype(space.dtype)
    name = floats if floats and dtype.kind == "f" else dtype.name
    return f"{name} ({', '.join(map(str, ('N', *(space.shape or ()))))})"
