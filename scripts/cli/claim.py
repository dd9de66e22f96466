"""A name for a run that the user did not name, which no other command takes at the same time."""

from dataclasses import replace
from itertools import count

from trpo.agents.runs import RunError
from trpo.scripts.cli.options import TrainOptions


def claim_name(options: TrainOptions, name: str, behind: str = "") -> str:
    """Take a name, or the next that is free, such as name-2.

    Args:
        options: say where its folder is.
        name: that is wanted.
        behind: added to the name, for the folder that is made to claim it.

    Returns:
        The name, without `behind`.

    Raises:
        RunError: if the folder cannot be made.
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
