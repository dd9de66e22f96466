"""`trpo presets`: what is tuned, as the options that it stands for; `trpo train ENV` starts from them."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from trpo.scripts.command import parse

PRESETS: dict[str, str] = {
    "CartPole-v1": "--total-steps 100000",
    "Acrobot-v1": "--total-steps 300000 --num-envs 64",
    "Pendulum-v1": "--total-steps 300000 --num-envs 16 --gamma 0.9 --max-kl 0.01",
    "LunarLander-v3": "--total-steps 1000000",
    "HalfCheetah-v5": "--total-steps 1000000",
    "Hopper-v5": "--total-steps 1000000",
}
"""Environment id to options of `trpo train`; every other environment gets the options' own
defaults."""


@dataclass(frozen=True)
class PresetsOptions:
    """List the environments with tuned settings."""


def main(arguments: Sequence[str]) -> int:
    """Print the table of presets.

    Args:
        arguments: none.

    Returns:
        0.
    """
    parse(PresetsOptions, arguments, "presets")
    table = Table(
        "environment",
        "options that trpo train starts from",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for env_id, options in PRESETS.items():
        table.add_row(env_id, options)
    Console().print(table)
    return 0
