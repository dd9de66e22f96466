"""Puts known faults into a copy of the code, one at a time, and sees whether a test fails.

`make faults` tries them all; `python tests/faults.py WORDS` only those whose titles hold the words.
A fault is a patch in tests/faults/, headed by its title and by the tests that must notice it. A
fault that no test notices is printed, and the exit code is 1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Fault:
    """A patch that makes the code wrong.

    Args:
        patch: a unified diff with two lines above it: the title, and `Tests: PATH …`.
        title: the fault in words.
        tests: files or folders, of which at least one test must fail.
    """

    patch: Path
    title: str
    tests: list[str]


def copy_code(tree: Path) -> None:
    """Copy the source tree, but for what was made from it."""
    made = shutil.ignore_patterns("*.egg-info", "__pycache__")
    aside = {".git", ".venv", "runs"}  # of the root: agents/ has a folder runs, too
    shutil.copytree(
        HOME,
        tree,
        symlinks=True,
        ignore=lambda folder, names: (
            made(folder, names) | (aside & set(names) if Path(folder) == HOME else set())
        ),
    )
    (tree / "runs").symlink_to(HOME / "runs")  # tests read the reference results


def read_faults() -> list[Fault]:
    """Return all known faults, by the names of their files."""
    faults = []
    for patch in sorted((HOME / "tests" / "faults").glob("*.patch")):
        title, tests, *_ = patch.read_text(encoding="utf-8").splitlines()
        faults.append(Fault(patch, title, tests.removeprefix("Tests: ").split()))
    return faults


def apply(fault: Fault, tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Apply a fault's patch to a source tree.

    Args:
        fault: to put in.
        tree: its root.
        options: for `git apply`.

    Returns:
        What `git apply` answered: code 0 if the patch fits, and its complaints.
    """
    return subprocess.run(
        ["git", "apply", "--whitespace=nowarn", *options, fault.patch],
        cwd=tree,
        env=os.environ | {"GIT_DIR": os.devnull},  # the tree may be a repository, or within one
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def failing_test(tree: Path, tests: Sequence[str]) -> str | None:
    """Run tests up to the first that fails.

    Args:
        tree: root of the source tree whose code is tested.
        tests: files or folders.

    Returns:
        The test that failed, or `None`.

    Raises:
        RuntimeError: if the tests could not be run.
    """
    pytest = ["-m", "pytest", "-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [sys.executable, *pytest, *tests],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if result.returncode not in {0, 1}:
        raise RuntimeError(f"{tests}: {result.stdout}{result.stderr}")
    failed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split()[1] if result.returncode else None


def noticed_by(fault: Fault, clean: Path) -> str | None:
    """Return the first test that fails with the fault in; `None` if all pass.

    Args:
        fault: to put in.
        clean: a source tree without it, which stays as it is.

    Raises:
        RuntimeError: if the patch does not apply.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(clean, tree, symlinks=True)
        applied = apply(fault, tree)
        if applied.returncode:
            raise RuntimeError(f"{fault.title}: {applied.stderr}")
        return failing_test(tree, fault.tests)


def main(words: Sequence[str]) -> int:
    """Try the faults whose titles hold the words; first, that their tests pass without a fault."""
    faults = [fault for fault in read_faults() if " ".join(words) in fault.title]
    if not faults:
        raise SystemExit(f"no fault's title holds {' '.join(words)!r}")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        clean = Path(folder) / "clean"
        copy_code(clean)
        tests = sorted({test for fault in faults for test in fault.tests})
        if failed := failing_test(clean, tests):
            raise RuntimeError(f"{failed} fails without any fault")
        unnoticed = 0
        noticed = pool.map(partial(noticed_by, clean=clean), faults)
        for fault, test in zip(faults, noticed, strict=True):
            print(f"{fault.title}: {test or 'UNNOTICED'}", flush=True)
            unnoticed += test is None
    print(f"{len(faults) - unnoticed} of {len(faults)} faults noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
