"""The compared methods as options of `trpo train`, with the option for their step size."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """An update rule whose step size is varied.

    Args:
        options: of `trpo train`, that choose it.
        step_option: the option that takes its step size.
        usual: its default step size, on which grids are centred.
        scale: the meaning and unit of its step sizes.
    """

    options: str
    step_option: str
    usual: float
    scale: str


def _first_order(optimizer: str, usual: float) -> Method:
    return Method(
        f"--algorithm vpg --vpg.optimizer {optimizer}",
        "--vpg.learning-rate",
        usual,
        "learning rate",
    )


METHODS = {
    # as published: a step of the same δ at every update: a step size that never binds, no annealing
    "trpo": Method(
        "--algorithm trpo --step-size 1e9 --anneal-to 1 --memory 0", "--max-kl", 0.02, "δ, nats"
    ),
    "npg": Method("--algorithm npg", "--npg.target-kl", 0.02, "target KL, nats"),
    "npg-fixed": Method("--algorithm npg --npg.scaling fixed", "--npg.step-size", 1.0, "step size"),
    "ppo": Method("--algorithm ppo", "--ppo.learning-rate", 3e-4, "learning rate"),
    "vpg-sgd": _first_order("sgd", 1.0),
    "vpg-momentum": _first_order("momentum", 0.1),
    "vpg-adagrad": _first_order("adagrad", 0.03),
    "vpg-rmsprop": _first_order("rmsprop", 0.003),
    "vpg-adam": _first_order("adam", 0.01),
}
