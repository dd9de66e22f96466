"""Checkpoints: one safetensors file of tensors, counters as JSON, and a checksum. No code runs."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trpo.agents.storage.errors import CheckpointError
from trpo.agents.storage.files import read_file, replace_file

# Since 2, policies act in [-1, 1], and checkpoints say what agent they are of; 3 renames a counter,
# 4 and 5 tensors.
FORMAT = 5
RENAMED = {  # the names up to 3 and 4, and since
    "agent.policy.log_std": "agent.policy.family.log_std",
    "agent.preprocessor._nested.": "agent.preprocessor.leaves.0.",
}
NO_CHECKSUM = "0" * 64  # placeholder in the file while its checksum is computed


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Args:
        tensors: by name.
        state: everything else.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: the file; its folder exists.
        tensors: by name.
        state: everything else, as JSON content.

    Raises:
        CheckpointError: if a tensor is not finite.
    """
    _check_finite(path, tensors)  # otherwise it would displace a usable one
    replace_file(path, encode(tensors, state))


def encode(tensors: dict[str, Tensor], state: dict[str, Any]) -> bytes:
    """Return a checkpoint as bytes.

    Args:
        tensors: by name.
        state: everything else, as JSON content.

    Returns:
        The content of a checkpoint's file.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    content = save(
        contiguous,
        metadata={"format": str(FORMAT), "state": json.dumps(state), "sha256": NO_CHECKSUM},
    )
    checksum = hashlib.sha256(content).hexdigest()
    return content.replace(NO_CHECKSUM.encode(), checksum.encode(), 1)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: the file.

    Returns:
        Its tensors, and its state.

    Raises:
        CheckpointError: if the file is damaged, or its format unknown to this version.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    return decode(content, path)


def decode(content: bytes, path: Path) -> Checkpoint:
    """Read a checkpoint from bytes.

    Args:
        content: of a checkpoint's file.
        path: the file, for messages.

    Returns:
        Its tensors, and its state.

    Raises:
        CheckpointError: if the content is damaged, or its format unknown to this version.
    """
    try:
        metadata = _metadata(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    if metadata.get("format") not in {str(number) for number in range(2, FORMAT + 1)}:
        raise CheckpointError(
            f"{path} has format {metadata.get('format')!r}: this version reads 2 to {FORMAT}"
        )
    checksum = str(metadata.get("sha256"))
    if (
        hashlib.sha256(content.replace(checksum.encode(), NO_CHECKSUM.encode(), 1)).hexdigest()
        != checksum
    ):
        raise CheckpointError(f"{path} is damaged: its content does not match its checksum")
    try:
        state = _state(metadata)
        tensors = {_today(name): tensor for name, tensor in load(content).items()}
        checkpoint = Checkpoint(tensors, state)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    try:
        _check_finite(path, checkpoint.tensors)
    except NotImplementedError as error:  # PyTorch has no data type for some of safetensors'
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    return checkpoint


def _state(metadata: dict[str, Any]) -> dict[str, Any]:
    state = json.loads(metadata["state"])
    if not isinstance(state, dict):
        raise TypeError("its state is no JSON object")
    if metadata["format"] != "2":
        return state
    return {"at_resume_point" if key == "at_boundary" else key: x for key, x in state.items()}


def _today(name: str) -> str:
    for old, new in RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _check_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {name} is not finite")


def _metadata(content: bytes) -> dict[str, Any]:
    # safetensors: the header's length in 8 bytes, the header in JSON, the tensors' bytes
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    return metadata if isinstance(metadata, dict) else {}
