"""A unique name for a run that the user did not name, even with concurrent commands."""

from dataclasses import replace
from itertools import count

from trpo.agents.runs import RunError
from trpo.scripts.cli.options import TrainOptions


def claim_name(options: TrainOptions, name: str, behind: str = "") -> str:
    """Claim a name, or the next free one, such as name-2.

    Args:
        options: determine the run's folder.
        name: the preferred name.
        behind: suffix of the folder created to claim the name.

    Returns:
        The name, without `behind`.

    Raises:
        RunError: if the folder cannot be created.
    """
    for number in count(1):
        free = name if number == 1 else f"{name}-{number}"
        folder = replace(options, name=free + behind).folder
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            if folder.exists():
                continue
            raise RunError(f"cannot make run folder {folder}: {error.strerror}") from error
        break
    return free
