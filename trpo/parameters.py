"""A model's parameters as one flat vector θ ∈ ℝᴾ, and back."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors into one vector.

    Args:
        tensors: any shapes, one dtype and device; P numbers in all.

    Returns:
        A new (P,) tensor.
    """
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut a vector into views shaped like the given tensors: the inverse of `flatten`.

    Args:
        vector: (P,).
        like: tensors whose shapes to take; P numbers in all.

    Returns:
        Views of `vector`, one per tensor of `like`.
    """
    pieces = vector.split([tensor.numel() for tensor in like])
    return [piece.view_as(tensor) for piece, tensor in zip(pieces, like, strict=True)]


def norm(vector: Tensor) -> float:
    """Return ‖v‖, squared and summed in float64."""
    return vector.norm(dtype=torch.float64).item()


@torch.no_grad()
def assign(parameters: Sequence[Tensor], vector: Tensor) -> None:
    """Copy a vector into parameters, in place and bit for bit.

    Args:
        parameters: tensors to overwrite; P numbers in all.
        vector: (P,), of the parameters' dtype.
    """
    for parameter, piece in zip(parameters, unflatten(vector, parameters), strict=True):
        parameter.copy_(piece)


def checksum(tensors: Iterable[Tensor]) -> int:
    """Return a number that, for all practical purposes, differs whenever any of their bits does.

    Args:
        tensors: of any shapes; their order matters.

    Returns:
        8 bytes of SHA-256, as a signed integer.
    """
    digest = hashlib.sha256()
    for tensor in tensors:
        content = tensor.detach().cpu().flatten().contiguous().view(torch.uint8)
        digest.update(content.numpy().tobytes())
    return int.from_bytes(digest.digest()[:8], "big", signed=True)


@contextmanager
def restore_on_error(parameters: Sequence[Tensor]) -> Iterator[Tensor]:
    """Restore θ, bit for bit, if an exception or interrupt is raised inside; then re-raise.

    Args:
        parameters: θ.

    Yields:
        A copy of θ on entry, (P,).
    """
    theta_old = flatten(parameters).detach()
    try:
        yield theta_old
    except BaseException:
        assign(parameters, theta_old)
        raise
