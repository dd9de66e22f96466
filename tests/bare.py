"""Runs the tests as on a bare machine: ASCII, no git, no HOME, and standard output closed.

`make test-bare` runs all of them; `python tests/bare.py PATH …` some.
"""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
# pytest cannot do without a standard output of its own
PYTEST = "import sys; sys.stdout = sys.stderr; import pytest; sys.exit(pytest.main(sys.argv[1:]))"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Close standard output in the processes that run tests, and so in those that they start."""
    if hasattr(config, "workerinput"):
        sys.stdout = io.StringIO()  # for pytest, whose own words nobody reads there
        os.close(1)


def link_programs(folder: Path) -> None:
    """Link to every program that there is, but for git."""
    for place in os.get_exec_path():
        for program in Path(place).glob("*"):
            link = folder / program.name
            if not program.name.startswith("git") and not link.is_symlink():
                link.symlink_to(program)


def main(words: Sequence[str]) -> int:
    """Run the tests, or those of PATHS; return pytest's exit code."""
    with tempfile.TemporaryDirectory() as programs:
        link_programs(Path(programs))
        bare = {"PATH": programs, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(HOME)}
        bare["PYTEST_PLUGINS"] = "tests.bare"
        command = [sys.executable, "-c", PYTEST, "-n", "2", "--capture=sys", *words]
        closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
        return subprocess.run(closed, cwd=HOME, env=bare, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
