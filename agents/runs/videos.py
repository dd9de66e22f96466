"""Where a run's videos are: an .mp4 each, and a small animation of it beside."""

import re
from collections.abc import Iterator
from pathlib import Path

VIDEOS = "videos"
NAME = re.compile(r"step-(\d+)\.gif")


def file_of(steps: int) -> Path:
    """Return a video's file, in the run's folder.

    Args:
        steps: environment steps that the run had taken.

    Returns:
        A path whose names sort by steps.
    """
    return Path(VIDEOS) / f"step-{steps:010d}.mp4"


def animations(folder: Path, steps: int) -> Iterator[tuple[int, Path]]:
    """Find the animations of a run's videos.

    Args:
        folder: the run's.
        steps: environment steps, up to which they are asked for.

    Yields:
        Environment steps, and a file.
    """
    for path in sorted((folder / VIDEOS).glob("*.gif")):
        if (found := NAME.fullmatch(path.name)) and int(found[1]) <= steps:
            yield int(found[1]), path
