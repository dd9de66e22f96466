"""Provenance of results: versions of packages, and the commit of this project's checkout."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("trpo", "torch", "gymnasium", "envpool", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect results."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of this project's checkout; `None` elsewhere.

    It is marked *dirty* if files outside runs/ have changes. (runs/ contains results, which a
    command changes while it runs.)
    """
    this = Path(__file__).resolve()
    # when installed inside another project's repository, it is not tracked there
    if _git(this.parent, "ls-files", this.name) is None:
        return None
    commit = _git(this.parent, "rev-parse", "HEAD")
    changes = _git(this.parent, "diff", "--stat", "HEAD", "--", ":/", ":(top,exclude)runs")
    return f"{commit}-dirty" if commit and changes else commit


def _git(folder: Path, *words: str) -> str | None:
    try:
        process = subprocess.run(
            ["git", "-C", folder, *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # git's output may contain any path
            check=False,
        )
    except OSError:  # git is not installed
        return None
    return process.stdout.strip() or None
