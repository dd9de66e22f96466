"""Names of tensors in a checkpoint: a prefix says whose they are."""

from torch import Tensor


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors, their names prefixed.

    Args:
        prefix: to put before each name.
        tensors: by name.
    """
    return {prefix + name: tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by the rest of their names.

    Args:
        prefix: of the names to keep.
        tensors: by name.
    """
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
