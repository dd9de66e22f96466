"""A torch optimizer's state: as named tensors for checkpoints, and as snapshots to restore."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

from trpo.parameters import assign, flatten
from trpo.validation import ConfigError


def state_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's moments and step counts.

    Args:
        optimizer: any of torch.optim's whose state is tensors.

    Returns:
        By parameter number and name; nothing before the first step.
    """
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value
        for number, part in state.items()
        for name, value in part.items()
        if isinstance(value, Tensor)
    }


def load_state_tensors(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load what `state_tensors` returned.

    Args:
        optimizer: of the same kind, for the same parameters.
        tensors: by the same names.

    Raises:
        ConfigError: if they are of another optimizer, or of other parameters.
    """
    if tensors and _shapes(tensors) != _shapes(_after_a_step(optimizer)):
        raise ConfigError("the checkpoint's optimizer is not that of the configuration")
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _after_a_step(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer like this one after one step."""
    twins = [
        parameter.detach().clone().requires_grad_()
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    for twin in twins:
        twin.grad = torch.zeros_like(twin)
    like = type(optimizer)(twins, **optimizer.defaults)
    like.step()
    return state_tensors(like)


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


class Snapshot:
    """A snapshot of parameters and of their optimizer.

    Args:
        parameters: θ.
        optimizer: theirs, if it carries state.
    """

    def __init__(self, parameters: Sequence[Tensor], optimizer: Optimizer | None) -> None:
        self.parameters = parameters
        self.theta = flatten(parameters).detach()  # (P,), a copy
        self.optimizer = optimizer
        self.state = copy.deepcopy(optimizer.state_dict()) if optimizer else {}

    def restore(self) -> None:
        """Restore both, bit for bit."""
        assign(self.parameters, self.theta)
        if self.optimizer:
            self.optimizer.load_state_dict(self.state)

    @contextmanager
    def restored_on_error(self) -> Iterator[None]:
        """Restore both if an exception or interrupt is raised inside; then re-raise."""
        try:
            yield
        except BaseException:
            self.restore()
            raise
