"""`trpo presets`: tuned settings, as options that `trpo train ENV` starts from."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from trpo.scripts.cli.command import parse
from trpo.scripts.cli.presets import PRESETS
from trpo.scripts.cli.tables import table_console


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
    table_console().print(table)
    return 0
