"""Checkpoints: one safetensors file with every tensor of the run, its counters as JSON inside. Loading one runs no code."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one line, fit to print to a user."""


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint: whole or not at all.

    Args:
        path: the file; its folder exists.
        tensors: by name.
        state: everything else, as JSON can hold it.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    content = save(contiguous, metadata={"format": str(FORMAT), "state": json.dumps(state)})
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint.

    Args:
        path: the file.

    Returns:
        Its tensors by name, and its state.

    Raises:
        CheckpointError: if the file is damaged, or of a format that this version does not know.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    if metadata.get("format") != str(FORMAT):
        raise CheckpointError(f"{path} has format {metadata.get('format')!r}: this version reads format {FORMAT!r}")
    return tensors, json.loads(metadata["state"])


def latest_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint of a run.

    Args:
        folder: the run's `checkpoints/`.

    Returns:
        Its path.

    Raises:
        CheckpointError: if there is none.
    """
    found = sorted(folder.glob("update-*.safetensors"))
    if not found:
        raise CheckpointError(f"{folder} holds no checkpoint")
    return found[-1]
