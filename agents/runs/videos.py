"""A run's videos: one .mp4 each, with a small animation next to it."""

import re
from collections.abc import Iterator
from pathlib import Path

VIDEOS = "videos"
NAME = re.compile(r"step-(\d+)\.gif")


def file_of(steps: int) -> Path:
    """Return a video's file, in the run's folder.

    Args:
        steps: environment steps taken by the run.

    Returns:
        A path; names sort by steps.
    """
    return Path(VIDEOS) / f"step-{steps:010d}.mp4"


def animations(folder: Path, steps: int) -> Iterator[tuple[int, Path]]:
    """Find the animations of a run's videos.

    Args:
        folder: the run's.
        steps: environment steps up to which to return them.

    Yields:
        Environment steps, and a file.
    """
    for path in sorted((folder / VIDEOS).glob("*.gif")):
        if (found := NAME.fullmatch(path.name)) and int(found[1]) <= steps:
            yield int(found[1]), path
