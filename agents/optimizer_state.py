"""A torch optimizer's state as named tensors, so that a checkpoint holds it without pickle."""

from torch import Tensor
from torch.optim import Optimizer


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
    """Take over what `state_tensors` returned.

    Args:
        optimizer: of the same kind, for the same parameters.
        tensors: by the same names.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
